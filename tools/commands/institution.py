"""`pila institution …`: apply, review, accredit, suspend, reinstate, withdraw, show, list."""

import hashlib
from datetime import UTC, datetime
from pathlib import Path

import click

from node.chain.records.common import Level, Translation
from node.chain.records.institution import UNLIMITED_SCOPE, Purpose, Role, Scope
from node.chain.rules import institutions as rules
from node.chain.rules.keys import NewKey
from node.errors import ConfigError
from node.keystore import InstitutionSigner, Keystore
from tools.console import (
    command,
    cosign_option,
    keystore_option,
    one_of,
    open_keystore,
    passphrase_option,
    read_bytes,
    rpc_option,
    say,
    table,
)
from tools.node_client import NodeClient
from tools.signing import gather, send

APPLICATION_PURPOSES = (Purpose.TRANSACTION, Purpose.ASSERTION, Purpose.NODE, Purpose.RECOVERY)


@click.group()
def institution() -> None:
    """Institutions: their application, standing and history."""


def new_keys(keystores: tuple[Keystore, ...]) -> tuple[tuple[NewKey, ...], list[InstitutionSigner]]:
    """Return every key of the keystores that an application brings, and the signers that prove them."""
    keys, signers = [], []
    for keystore in keystores:
        for purpose in APPLICATION_PURPOSES:
            for signer in keystore.institution_signers(purpose):
                keys.append(NewKey(int(signer.signer.algorithm), signer.signer.public_key, purpose))
                signers.append(signer)
    return tuple(keys), signers


@command(institution, "apply")
@keystore_option(help_text="Keystore of the institution that applies.")
@keystore_option(name="--recovery", help_text="Its recovery keystore (kept offline afterwards).")
@keystore_option(name="--forwarder", help_text="Keystore of the accredited institution or authority that forwards it.")
@click.option("--name", "name_es", required=True, help="Name in Spanish.")
@click.option("--name-en", default="", help="Name in English.")
@click.option("--role", "roles", multiple=True, type=one_of(Role), default=(Role.ISSUER.value,), show_default=True)
@click.option("--country", default="MX", show_default=True)
@click.option("--region", default="GTO", show_default=True)
@click.option("--municipality", default="")
@click.option("--website", default="")
@click.option("--cct", default="", help="Mexican school code.")
@passphrase_option
@rpc_option
def apply(
    keystore: Path,
    recovery: Path,
    forwarder: Path,
    name_es: str,
    name_en: str,
    roles: tuple[str, ...],
    country: str,
    region: str,
    municipality: str,
    website: str,
    cct: str,
    passphrase_file: Path | None,
    rpc: str,
) -> None:
    """Bring a new institution with its first keys."""
    own = open_keystore(keystore, passphrase_file)
    apart = open_keystore(recovery)
    forwarding = open_keystore(forwarder)
    if own.institution != apart.institution:
        raise ConfigError(f"{keystore} is {own.institution}'s, {recovery} is {apart.institution}'s; they must be one's")
    client = NodeClient(rpc)
    keys, signers = new_keys((own, apart))
    names = [Translation("es", name_es)] + ([Translation("en", name_en)] if name_en else [])
    payload = rules.Apply(
        id=own.institution,
        names=tuple(sorted(names, key=lambda item: item.language)),
        country=country,
        region=region,
        municipality=municipality,
        website=website or f"https://{own.institution}",
        cct=cct,
        did=did_of(client, own),
        roles=tuple(sorted(Role(role) for role in set(roles))),
        required_signatures=(),
        keys=keys,
        forwarder=forwarding.institution,
    )
    kind = "institution.apply"
    result = client.transact(
        signer=own.institution, kind=kind, payload=payload, signers=[*signers, *gather(client, kind, forwarding)]
    )
    say({**result, "institution": own.institution}, f"{own.institution} has applied (block {result['height']}).")


def did_of(client: NodeClient, keystore: Keystore) -> str:
    """Return the issuer id of the institution's documents: did:web where the network has a host, else did:key."""
    from node.documents.did import issuer_did

    host = client.call("chain_params")["did_host"]
    return issuer_did(host, keystore.institution, keystore.ed25519(Purpose.ASSERTION).public_key)


@command(institution, "review")
@click.argument("institution_id")
@click.option("--decision", type=one_of(rules.Decision), required=True)
@click.option(
    "--report",
    type=click.Path(path_type=Path, dir_okay=False),
    required=True,
    metavar="FILE",
    help="The report; only its SHA-256 goes on the chain.",
)
@keystore_option()
@passphrase_option
@cosign_option
@rpc_option
def review(
    institution_id: str,
    decision: str,
    report: Path,
    keystore: Path,
    passphrase_file: Path | None,
    cosign: tuple[Path, ...],
    rpc: str,
) -> None:
    """Record a quality agency's review of an institution."""
    report_hash = hashlib.sha256(read_bytes(report)).digest()
    payload = rules.Review(institution_id, rules.Decision(decision), report_hash)
    result = send(NodeClient(rpc), "institution.review", payload, open_keystore(keystore, passphrase_file), cosign)
    say(
        {**result, "institution": institution_id},
        f"{institution_id}: {decision} review recorded (block {result['height']}).",
    )


@command(institution, "accredit")
@click.argument("institution_id")
@click.option("--role", "roles", multiple=True, type=one_of(Role), default=(Role.ISSUER.value,), show_default=True)
@click.option(
    "--level", "levels", multiple=True, metavar="FRAMEWORK:N", help="Level allowed, such as MNC:5. Default: all."
)
@click.option("--credits-min", type=float, default=0.0)
@click.option("--credits-max", type=float, default=0.0, help="0 = no limit.")
@click.option("--framework", "frameworks", multiple=True, help="Credit framework allowed. Default: all.")
@click.option("--field", "fields", multiple=True, help="Field allowed. Default: all.")
@click.option("--jurisdiction", default="")
@click.option("--valid-until", type=click.DateTime(["%Y-%m-%d"]), help="End of the accreditation (UTC). Default: open.")
@keystore_option()
@passphrase_option
@cosign_option
@rpc_option
def accredit(
    institution_id: str,
    roles: tuple[str, ...],
    levels: tuple[str, ...],
    credits_min: float,
    credits_max: float,
    frameworks: tuple[str, ...],
    fields: tuple[str, ...],
    jurisdiction: str,
    valid_until: datetime | None,
    keystore: Path,
    passphrase_file: Path | None,
    cosign: tuple[Path, ...],
    rpc: str,
) -> None:
    """Accredit an institution that was reviewed favourably, within a scope."""
    scope = UNLIMITED_SCOPE
    if levels or credits_min or credits_max or frameworks or fields or jurisdiction:
        scope = Scope(
            tuple(parse_level(text) for text in levels),
            round(credits_min * 100),
            round(credits_max * 100),
            tuple(sorted(set(frameworks))),
            tuple(sorted(set(fields))),
            jurisdiction,
        )
    until = 0 if valid_until is None else int(valid_until.replace(tzinfo=UTC).timestamp() * 1000)
    payload = rules.Accredit(institution_id, tuple(sorted(Role(role) for role in set(roles))), scope, until)
    result = send(NodeClient(rpc), "institution.accredit", payload, open_keystore(keystore, passphrase_file), cosign)
    say({**result, "institution": institution_id}, f"{institution_id} is accredited (block {result['height']}).")


def parse_level(text: str) -> Level:
    """Read `MNC:5`. Raises: ConfigError."""
    framework, _, value = text.partition(":")
    if not framework or not value.isdigit():
        raise ConfigError(f"--level {text!r}: expected FRAMEWORK:N such as MNC:5")
    return Level(framework, int(value))


def _standing_command(name: str, kind: str, payload: type, past: str) -> None:
    @command(institution, name)
    @click.argument("institution_id")
    @click.option("--reason", required=True, help="Reason code, such as audit_failed; no free text.")
    @keystore_option()
    @passphrase_option
    @cosign_option
    @rpc_option
    def change(
        institution_id: str,
        reason: str,
        keystore: Path,
        passphrase_file: Path | None,
        cosign: tuple[Path, ...],
        rpc: str,
    ) -> None:
        body = payload(institution_id, reason)
        result = send(NodeClient(rpc), kind, body, open_keystore(keystore, passphrase_file), cosign)
        say({**result, "institution": institution_id}, f"{institution_id} is {past} (block {result['height']}).")

    change.help = f"An authority's act: the institution is {past}."


_standing_command("suspend", "institution.suspend", rules.Suspend, "suspended")
_standing_command("reinstate", "institution.reinstate", rules.Reinstate, "reinstated")
_standing_command("withdraw", "institution.withdraw", rules.Withdraw, "withdrawn")


@command(institution, "show")
@click.argument("institution_id")
@rpc_option
def show(institution_id: str, rpc: str) -> None:
    """Show an institution with its keys and history."""
    client = NodeClient(rpc)
    found = client.call("institution_get", id=institution_id)
    history = client.call("institution_history", id=institution_id)["items"]
    lines = [
        f"{found['id']}  {found['names'].get('es', '')}",
        f"  standing  {found['standing']}",
        f"  roles     {', '.join(found['roles'])}",
    ]
    lines += [
        f"  key       {key['key_id']}  {key['purpose']:<11} {key['algorithm']:<7} {key['state']}"
        for key in found["keys"]
    ]
    lines += [f"  block {step['height']:>6}  {step['time']}  {step['kind']} by {step['actor']}" for step in history]
    say({**found, "history": history}, "\n".join(lines))


@command(institution, "list")
@rpc_option
def list_institutions(rpc: str) -> None:
    """List all institutions."""
    items = NodeClient(rpc).call("institution_list", limit=1000)["items"]
    rows = table("institution", "name", "standing", "roles")
    for item in items:
        rows.add_row(item["id"], item["names"].get("es", ""), item["standing"], ", ".join(item["roles"]))
    say({"items": items}, rows)
