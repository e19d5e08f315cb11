"""Which keys of which keystores sign a transaction of a kind."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import msgspec

from node.chain.records.institution import Purpose
from node.errors import ConfigError
from node.keystore import InstitutionSigner, Keystore
from node.primitives import Height
from tools.console import open_keystore
from tools.node_client import NodeClient


def keys_in_force(client: NodeClient, keystore: Keystore) -> list[InstitutionSigner]:
    """Return the keystore's transaction keys that the chain takes now."""
    listed = client.call("institution_get", id=keystore.institution)["keys"]
    in_force = {key["key_id"] for key in listed if key["state"] == "good" and key["purpose"] == Purpose.TRANSACTION}
    return [signer for signer in keystore.institution_signers() if signer.key_id.hex() in in_force]


def gather(
    client: NodeClient, kind: str, keystore: Keystore, cosigners: Sequence[Keystore] = ()
) -> list[InstitutionSigner]:
    """Return exactly the keys that sign: as many of the signer's own as it asks for, and of each co-signer's.

    Raises: ConfigError when the keystores given hold too few.
    """
    chosen: list[InstitutionSigner] = []
    by_institution: dict[str, list[InstitutionSigner]] = {}
    for store in (keystore, *cosigners):
        by_institution.setdefault(store.institution, []).extend(keys_in_force(client, store))
    for institution, available in by_institution.items():
        needed = client.required_signatures(institution, kind)
        if len(available) < needed:
            raise ConfigError(
                f"{institution} asks for {needed} signatures on {kind}; the keystores given hold "
                f"{len(available)} of its keys in force (add more with --cosign FILE)"
            )
        chosen.extend(available[:needed])
    return chosen


def send(
    client: NodeClient,
    kind: str,
    payload: msgspec.Struct,
    keystore: Keystore,
    cosign: Sequence[Path] = (),
    *,
    valid_until_height: Height | None = None,
) -> dict[str, Any]:
    """Sign a transaction with the keystores given, submit it and wait for its block."""
    signers = gather(client, kind, keystore, [open_keystore(path) for path in cosign])
    return client.transact(
        signer=keystore.institution,
        kind=kind,
        payload=payload,
        signers=signers,
        valid_until_height=valid_until_height,
    )
