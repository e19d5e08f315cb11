"""`credential.stack`: every rule that a pile must keep, each by its refusal and its nearest allowed case."""

from collections.abc import Sequence

import msgspec
import pytest

from node import codec
from node.chain.pathway_evaluation import months_after
from node.chain.reading import Impairment, stack_finding
from node.chain.records.common import Credits, Level
from node.chain.records.credential import Batch, Origin, ReasonCode, StatusListEntry, batch_id
from node.chain.records.institution import UNLIMITED_SCOPE, Counters, Role, Scope, Standing
from node.chain.records.pathway import (
    Cascade,
    Consent,
    Exclusivity,
    PathwayContent,
    Requirement,
    RequirementKind,
    Selector,
    Stack,
    StackedComponent,
    Use,
    Uses,
)
from node.chain.rules.catalogue import DefinitionRetire, PathwayPublish, PathwayRetire
from node.chain.rules.credentials import StatusChange, StatusEntry
from node.chain.rules.framework import Event
from node.chain.rules.stacking import HolderConsent, StackPayload, consent_digest
from node.crypto.hashing import Tag, sha256, tagged
from node.crypto.signing import Ed25519Signer
from node.errors import Reason
from node.limits import STACK_LEAVES_MAX
from node.state import keys
from tests.unit.chain.rules.harness import (
    CALZADO,
    CORTE,
    DAY_MS,
    EMPLEO,
    HEIGHT,
    ITLEON,
    NETWORK,
    PESPUNTE,
    ROUTE,
    RULES,
    SEG,
    TIME_MS,
    UGTO,
    Held,
    World,
    all_of,
    definition_content,
    held_result,
    holder,
    institution_signer,
    issue,
    later,
    make_leaf,
    pathway_content,
    stack_payload,
)

ANA, BETO = holder("ana"), holder("beto")
GOOD = [institution_signer(UGTO, 1)]
THREE = (PESPUNTE, CORTE, EMPLEO)


def piled_world(**changes: object) -> World:
    """Return a world with four definitions and the pathway, changed in some fields."""
    world = World()
    world.publish(*THREE, CALZADO)
    publish(world, pathway_content(**changes))
    return world


def publish(world: World, content: PathwayContent) -> None:
    """Publish a pathway."""
    world.run("pathway.publish", PathwayPublish(content), content.id.partition("/")[0])


def credentials_of(world: World, who: Ed25519Signer = ANA, *, seed: str = "", **changes: object) -> list[Held]:
    """Issue the three components to one holder."""
    return [issue(world, definition, who, seed=seed, **changes)[0] for definition in THREE]


def refusal(world: World, components: Sequence[Held], **changes: object) -> tuple[Reason, str]:
    """Return why a stack of these components is refused."""
    return world.refusal("credential.stack", stack_payload(world, components, **changes), UGTO)  # type: ignore[arg-type]  # the test names the fields


def pile(world: World, components: Sequence[Held], **changes: object) -> StackPayload:
    """Stack these components and return the payload that did it."""
    payload = stack_payload(world, components, **changes)  # type: ignore[arg-type]  # the test names the fields
    world.run("credential.stack", payload, UGTO)
    return payload


@pytest.fixture
def world() -> World:
    """Return a world with the pathway of three definitions."""
    return piled_world()


@pytest.fixture
def three(world: World) -> list[Held]:
    """Return Ana's three credentials, each the first of a batch of three."""
    return credentials_of(world)


def stacked(held: Held) -> StackedComponent:
    """Return what a stack records of a component."""
    return StackedComponent(held.id, held.batch_id, held.leaf.issuer, held.leaf.definition, held.leaf.status_key)


def of_stack(content: PathwayContent, *changes: Requirement) -> PathwayContent:
    """Return a pathway with other requirements."""
    return msgspec.structs.replace(content, requirements=changes)


# --- what a stack records ---


def test_stack_records_components_uses_and_the_results_batch(world: World, three: list[Held]) -> None:
    """The stack stands under the result's id, each component knows its use, the result is a batch of one."""
    world.height += 1
    payload = stack_payload(world, three)
    result_id = payload.result.credential_id()
    plain_key = keys.batch(batch_id(UGTO, CALZADO, result_id, 1))
    assert world.run("credential.stack", payload, UGTO) == (Event("credential", "stack", plain_key),)
    act = world.act(UGTO)
    components = tuple(stacked(held) for held in three)
    assert world.state.get(keys.stack(result_id), Stack) == Stack(
        ROUTE, Cascade.REVOKE, Consent.ONE_KEY, False, components, act
    )
    assert world.state.get(plain_key, Batch) == Batch(UGTO, CALZADO, result_id, 1, Origin.STACK, act)
    for held in three:
        uses = world.state.get(keys.use(held.id), Uses)
        assert uses == Uses((Use(ROUTE, Exclusivity.NONE, result_id),))
    assert world.state.get(keys.counters(UGTO), Counters) == Counters(7, 3, 0, 3, 1, 0)


def test_the_consent_digest_is_what_the_domain_says() -> None:
    """Ids and keys are sorted, so their order in the transaction makes no difference; each field counts."""
    ids, holders = [b"b" * 32, b"a" * 32], [b"2" * 32, b"1" * 32]
    arguments = {
        "awarding": UGTO,
        "pathway": ROUTE,
        "component_ids": ids,
        "holder_keys": holders,
        "result_id": b"r" * 32,
        "valid_until_height": 110,
    }
    expected = tagged(
        Tag.STACK_CONSENT,
        codec.encode(
            (
                NETWORK.chain_id,
                NETWORK.genesis_hash,
                3,
                UGTO,
                ROUTE,
                (b"a" * 32, b"b" * 32),
                (b"1" * 32, b"2" * 32),
                b"r" * 32,
                110,
            )
        ),
    )
    assert consent_digest(NETWORK, 3, **arguments) == expected  # type: ignore[arg-type]  # one dictionary, many types
    assert consent_digest(NETWORK, 4, **arguments) != expected  # type: ignore[arg-type]  # see above
    other = {**arguments, "component_ids": [*ids, b"c" * 32]}
    assert consent_digest(NETWORK, 3, **other) != expected  # type: ignore[arg-type]  # see above


def test_the_same_stack_is_refused_for_ever(world: World, three: list[Held]) -> None:
    """A repeat of the transaction is refused by the result's id; another result of the same pieces is not."""
    payload = pile(world, three)
    the_id = payload.result.credential_id().hex()
    assert world.refusal("credential.stack", payload, UGTO) == (
        Reason.ALREADY_EXISTS,
        f"credential {the_id} was stacked before",
    )
    pile(world, three, seed="another")


def test_a_result_whose_batch_exists_is_refused(world: World, three: list[Held]) -> None:
    """A batch that already carries the result's id as its root blocks the stack."""
    payload = stack_payload(world, three)
    result_id = payload.result.credential_id()
    the_batch = batch_id(UGTO, CALZADO, result_id, 1)
    world.state.put(keys.batch(the_batch), Batch(UGTO, CALZADO, result_id, 1, Origin.ISSUE, world.act(UGTO)))
    assert world.refusal("credential.stack", payload, UGTO) == (
        Reason.ALREADY_EXISTS,
        f"batch {the_batch.hex()} was issued before",
    )


# --- pathway and award ---


def test_a_pathway_is_there_and_not_retired(world: World, three: list[Held]) -> None:
    """An unknown or retired pathway stacks nothing."""
    assert refusal(world, three, pathway=f"{UGTO}/otra/1") == (
        Reason.NOT_FOUND,
        f"pathway {UGTO}/otra/1 is not on the chain",
    )
    world.run("pathway.retire", PathwayRetire(ROUTE), UGTO)
    assert refusal(world, three) == (Reason.WRONG_STATE, f"pathway {ROUTE} is retired")


def test_the_awarded_definition_is_not_retired(world: World, three: list[Held]) -> None:
    """A pathway cannot award what is issued no more."""
    world.run("definition.retire", DefinitionRetire(CALZADO), UGTO)
    assert refusal(world, three) == (Reason.WRONG_STATE, f"definition {CALZADO} is retired")


def test_a_retired_component_definition_keeps_its_credentials(world: World, three: list[Held]) -> None:
    """What was issued before a definition was retired can still be stacked."""
    world.run("definition.retire", DefinitionRetire(PESPUNTE), UGTO)
    pile(world, three)


def test_only_the_awarding_institution_stacks(world: World, three: list[Held]) -> None:
    """Another institution cannot award along somebody's pathway."""
    payload = stack_payload(world, three)
    assert world.refusal("credential.stack", payload, ITLEON) == (
        Reason.NOT_PERMITTED,
        f"{ROUTE} is of {UGTO}, not of {ITLEON}",
    )


def test_the_awarding_institution_is_accredited_in_scope_now(world: World, three: list[Held]) -> None:
    """Accreditation, role and scope are asked as for issuing."""
    world.height += 1
    world.add_step(UGTO, scope=Scope((), 300, 0, (), (), ""))
    assert refusal(world, three) == (Reason.OUT_OF_SCOPE, f"{UGTO}: 2.5 credits, at least 3")
    world.add_step(UGTO, standing=Standing.SUSPENDED)
    assert refusal(world, three) == (Reason.NOT_ACCREDITED, f"{UGTO} is not accredited now")


# --- the result ---


def result_of(world: World, **changes: object) -> dict[str, object]:
    """Return a result leaf for Ana that differs in some fields."""
    fields: dict[str, object] = {"origin": Origin.STACK, "valid_from_ms": TIME_MS, **changes}
    return {"result": make_leaf(CALZADO, ANA, "result", **fields)}


@pytest.mark.parametrize(
    "changes,detail",
    [
        ({"version": 2}, "result: leaf version 2 instead of 1"),
        (
            {"genesis_hash": b"\1" * 32},
            f"result: genesis {'01' * 32} instead of {NETWORK.genesis_hash.hex()}",
        ),
        ({"issuer": ITLEON}, f"result: {ITLEON} {CALZADO} stack instead of {UGTO} {CALZADO} stack"),
        ({"definition": CORTE}, f"result: {UGTO} {CORTE} stack instead of {UGTO} {CALZADO} stack"),
        ({"origin": Origin.ISSUE}, f"result: {UGTO} {CALZADO} issue instead of {UGTO} {CALZADO} stack"),
    ],
)
def test_a_result_is_what_the_pathway_awards(
    world: World, three: list[Held], changes: dict[str, object], detail: str
) -> None:
    """Version, chain, issuer, definition and origin of the result are given."""
    assert refusal(world, three, **result_of(world, **changes)) == (Reason.BAD_OPENING, detail)


def test_a_result_is_opened_to_its_holder(world: World, three: list[Held]) -> None:
    """The result's commitment opens to the key and salt given."""
    payload = stack_payload(world, three, result_holder_salt=bytes(32))
    reason, detail = world.refusal("credential.stack", payload, UGTO)
    assert reason is Reason.BAD_OPENING
    commitment = payload.result.holder_commitment.hex()
    assert detail.startswith(f"result: holder commitment {commitment}, key and salt give ")


LIMIT_MS = months_after(TIME_MS, 36)


@pytest.mark.parametrize(
    "start_ms,end_ms,detail",
    [
        (TIME_MS, TIME_MS, f"result: valid from {TIME_MS} ms until {TIME_MS} ms"),
        (TIME_MS - 9, TIME_MS, f"result: valid until {TIME_MS} ms, block time is {TIME_MS} ms"),
        (TIME_MS, LIMIT_MS + 1, f"result: valid until {LIMIT_MS + 1} ms, 36 months end at {LIMIT_MS} ms"),
    ],
)
def test_a_result_has_sane_dates(world: World, three: list[Held], start_ms: int, end_ms: int, detail: str) -> None:
    """A result begins before it ends, is not over at once, and lasts no longer than its definition says."""
    leaf = result_of(world, valid_from_ms=start_ms, valid_until_ms=end_ms)
    assert refusal(world, three, **leaf) == (Reason.INVALID_VALUE, detail)


@pytest.mark.parametrize("start_ms,end_ms", [(TIME_MS - 9, TIME_MS + 1), (TIME_MS, LIMIT_MS), (TIME_MS + 9, LIMIT_MS)])
def test_dates_at_the_edge_are_taken(world: World, three: list[Held], start_ms: int, end_ms: int) -> None:
    """One millisecond of validity left, and exactly the months of the definition, are fine."""
    pile(world, three, **result_of(world, valid_from_ms=start_ms, valid_until_ms=end_ms))


# --- openings ---


def altered(held: Held, **changes: object) -> Held:
    """Return a credential with a changed leaf."""
    return later(held, leaf=msgspec.structs.replace(held.leaf, **changes))


def test_a_leaf_is_of_this_chain_and_version(world: World, three: list[Held]) -> None:
    """A leaf of another version or chain opens nothing here."""
    first, *rest = three
    assert refusal(world, [altered(first, version=2), *rest]) == (
        Reason.BAD_OPENING,
        "components[0]: leaf version 2 instead of 1",
    )
    assert refusal(world, [*rest, altered(first, genesis_hash=b"\1" * 32)]) == (
        Reason.BAD_OPENING,
        f"components[2]: genesis {'01' * 32} instead of {NETWORK.genesis_hash.hex()}",
    )


def test_the_batch_is_on_the_chain(world: World, three: list[Held]) -> None:
    """A batch id that no record stands under is named."""
    first, *rest = three
    assert refusal(world, [later(first, batch_id=bytes(32)), *rest]) == (
        Reason.BAD_OPENING,
        f"components[0]: batch {'00' * 32} is not on the chain",
    )


def test_the_index_lies_in_the_batch(world: World, three: list[Held]) -> None:
    """Index 3 of a batch of three does not exist; index 2 is the last."""
    first, *rest = three
    assert refusal(world, [later(first, index=3), *rest]) == (
        Reason.BAD_OPENING,
        "components[0]: index 3 in a batch of 3",
    )


@pytest.mark.parametrize("index,steps", [(0, 1), (0, 3), (2, 2)])  # right are 2 steps at index 0, 1 at index 2
def test_the_path_has_exactly_its_steps(world: World, three: list[Held], index: int, steps: int) -> None:
    """A path that is too short or too long proves nothing."""
    first, *rest = three
    wrong = later(first, index=index, path=(bytes(32),) * steps)
    assert refusal(world, [wrong, *rest]) == (
        Reason.BAD_OPENING,
        f"components[0]: a path of {steps} steps instead of {2 if index == 0 else 1}",
    )


def test_the_path_leads_to_the_root(world: World, three: list[Held]) -> None:
    """A changed leaf, or the right path at another index, leads elsewhere."""
    first, *rest = three
    batch = world.state.get(keys.batch(first.batch_id), Batch)
    assert batch is not None
    for wrong in (altered(first, claim_count=13), later(first, index=1)):
        reason, detail = refusal(world, [wrong, *rest])
        assert reason is Reason.BAD_OPENING
        assert detail.startswith("components[0]: the path leads to ")
        assert detail.endswith(f", the batch's root is {batch.root.hex()}")


@pytest.mark.parametrize(
    "changes,mine",
    [
        ({"issuer": ITLEON}, f"{ITLEON} {PESPUNTE} issue"),
        ({"definition": CORTE}, f"{UGTO} {CORTE} issue"),
        ({"origin": Origin.STACK}, f"{UGTO} {PESPUNTE} stack"),
    ],
)
def test_leaf_and_batch_say_the_same(world: World, three: list[Held], changes: dict[str, object], mine: str) -> None:
    """Issuer, definition and origin of a leaf equal its batch's, though the batch's maker chose the leaf."""
    _, *rest = three
    (odd,) = issue(world, PESPUNTE, ANA, seed="odd", **changes)
    assert refusal(world, [odd, *rest]) == (
        Reason.BAD_OPENING,
        f"components[0]: {mine} in a batch of {UGTO} {PESPUNTE} issue",
    )


def test_the_holder_is_opened(world: World, three: list[Held]) -> None:
    """Another key or salt than the leaf's holder's opens nothing."""
    first, *rest = three
    for wrong in (later(first, holder=BETO), later(first, holder_salt=bytes(32))):
        reason, detail = refusal(world, [*rest, wrong], attested=True)
        assert reason is Reason.BAD_OPENING
        commitment = first.leaf.holder_commitment.hex()
        assert detail.startswith(f"components[2]: holder commitment {commitment}, key and salt give ")


# --- each component stands ---


def test_a_void_batch_carries_nothing(world: World, three: list[Held]) -> None:
    """A key that was bad at the batch's height makes it void; one that turned bad later does not."""
    world.height += 1
    world.compromise(ITLEON, HEIGHT + 1)
    pile(world, three)
    world.compromise(ITLEON, HEIGHT)
    assert refusal(world, three, seed="again") == (
        Reason.COMPONENT_NOT_VALID,
        "components[2]: its batch is void, keys that signed it turned bad",
    )


def add_earlier_step(world: World, **changes: object) -> None:
    """Change the standing of itleon.edu.mx in the block below, as if it had been so when the batch was issued."""
    world.height -= 1
    world.add_step(ITLEON, **changes)
    world.height += 1


def test_the_issuer_was_accredited_at_the_batchs_height(world: World, three: list[Held]) -> None:
    """Then counts, not now: a suspension in the component's own block or later leaves it good; one before does not."""
    world.add_step(ITLEON, standing=Standing.SUSPENDED)
    world.height += 1
    pile(world, three)
    other = piled_world()
    components = credentials_of(other)
    add_earlier_step(other, standing=Standing.SUSPENDED)
    assert refusal(other, components) == (
        Reason.COMPONENT_NOT_VALID,
        f"components[2]: {ITLEON} was not accredited at height {HEIGHT}",
    )


@pytest.mark.parametrize(
    "step,fault",
    [
        ({"roles": (Role.ENDORSER,)}, "no role issuer or certifier"),
        ({"scope": Scope((Level("MNC", 4),), 0, 0, (), (), "")}, "level MNC 3 is none of MNC 4"),
        (
            {"roles": (Role.CERTIFIER,), "scope": Scope((), 0, 0, ("ECTS",), (), "")},
            "credit framework SATCA is none of ECTS",
        ),
    ],
)
def test_the_issuer_was_accredited_for_this(
    world: World, three: list[Held], step: dict[str, object], fault: str
) -> None:
    """Role and scope of that height must have covered the definition."""
    add_earlier_step(world, **step)
    assert refusal(world, three) == (
        Reason.COMPONENT_NOT_VALID,
        f"components[2]: {ITLEON} was not accredited for it at height {HEIGHT}: {fault}",
    )


def test_an_accreditation_that_turned_out_void_never_was(world: World) -> None:
    """An accreditation by a bad key leaves what stood before: here a scope that does not cover it."""
    world.height -= 1
    narrow = Scope((Level("MNC", 4),), 0, 0, (), (), "")
    record = world.institution(ITLEON)
    first = msgspec.structs.replace(record.history[0], scope=narrow)
    world.state.put(keys.accreditation(ITLEON), msgspec.structs.replace(record, history=(first,)))
    world.add_step(ITLEON, scope=UNLIMITED_SCOPE)
    world.height += 1
    components = [
        *(issue(world, definition, ANA)[0] for definition in (PESPUNTE, CORTE)),
        issue(world, EMPLEO, ANA)[0],
    ]
    world.compromise(SEG, world.height - 1)
    assert refusal(world, components) == (
        Reason.COMPONENT_NOT_VALID,
        f"components[2]: {ITLEON} was not accredited for it at height {HEIGHT}: level MNC 3 is none of MNC 4",
    )


def status(world: World, held: Held, action: str, signer: str) -> None:
    """Change one credential's status."""
    place = StatusListEntry(0, held.index)
    entry = StatusEntry(held.leaf.status_key, ReasonCode.OTHER, place)
    world.run(f"credential.{action}", StatusChange(held.leaf.issuer, (entry,)), signer)


@pytest.mark.parametrize(
    "action,signer,state",
    [
        ("suspend", ITLEON, "suspended"),
        ("suspend", SEG, "suspended"),
        ("revoke", ITLEON, "revoked"),
        ("supersede", ITLEON, "superseded"),
    ],
)
def test_a_component_is_active_now(world: World, three: list[Held], action: str, signer: str, state: str) -> None:
    """What is suspended, revoked or superseded cannot be stacked; what was reinstated can."""
    status(world, three[2], action, signer)
    assert refusal(world, three) == (Reason.COMPONENT_NOT_VALID, f"components[2]: is {state}")
    if action == "suspend":
        status(world, three[2], "reinstate", signer)
        pile(world, three)


@pytest.mark.parametrize("start_ms,end_ms", [(TIME_MS + 1, TIME_MS + 2), (TIME_MS - 5, TIME_MS)])
def test_a_component_is_valid_at_block_time(world: World, start_ms: int, end_ms: int) -> None:
    """Not yet valid, or over at exactly block time."""
    components = credentials_of(world, valid_from_ms=start_ms, valid_until_ms=end_ms)
    assert refusal(world, components) == (
        Reason.COMPONENT_NOT_VALID,
        f"components[0]: valid from {start_ms} ms until {end_ms} ms, block time is {TIME_MS} ms",
    )


def test_a_component_is_valid_from_its_first_to_its_last_millisecond(world: World) -> None:
    """valid_from ≤ block time < valid_until."""
    pile(world, credentials_of(world, valid_from_ms=TIME_MS, valid_until_ms=TIME_MS + 1))


# --- consent ---


def test_every_holder_key_consents(world: World) -> None:
    """A component whose key did not sign is named."""
    components = [issue(world, definition, who)[0] for definition, who in zip(THREE, (ANA, BETO, ANA), strict=True)]
    payload = stack_payload(world, components, attested=True)
    without = tuple(consent for consent in payload.consents if consent.holder_key != BETO.public_key)
    assert world.refusal("credential.stack", msgspec.structs.replace(payload, consents=without), UGTO) == (
        Reason.CONSENT_MISSING,
        f"components[1]: no consent of {BETO.public_key.hex()}",
    )


def test_nobody_else_consents(world: World, three: list[Held]) -> None:
    """A consent of a key that holds nothing is refused, as is the result in somebody else's hand."""
    payload = stack_payload(world, three, attested=True)
    extra = HolderConsent(BETO.public_key, False, bytes(64))
    both = tuple(sorted((*payload.consents, extra), key=lambda consent: consent.holder_key))
    assert world.refusal("credential.stack", msgspec.structs.replace(payload, consents=both), UGTO) == (
        Reason.CONSENT_MISSING,
        f"consent of {BETO.public_key.hex()}, which holds no component",
    )
    result = make_leaf(CALZADO, BETO, "result", origin=Origin.STACK, valid_from_ms=TIME_MS)
    stolen = stack_payload(world, three, result=result, result_holder_key=BETO.public_key)
    assert world.refusal("credential.stack", stolen, UGTO) == (
        Reason.CONSENT_MISSING,
        f"result: no consent of its holder {BETO.public_key.hex()}",
    )


def test_consents_have_one_order(world: World) -> None:
    """Ascending by key, no key twice."""
    components = [issue(world, definition, who)[0] for definition, who in zip(THREE, (ANA, BETO, ANA), strict=True)]
    payload = stack_payload(world, components, attested=True)
    for consents in (payload.consents[::-1], (payload.consents[0], *payload.consents)):
        wrong = msgspec.structs.replace(payload, consents=consents)
        assert world.refusal("credential.stack", wrong, UGTO) == (
            Reason.INVALID_VALUE,
            "consents: not ascending by key, none twice",
        )


def signed(world: World, payload: StackPayload, **changes: object) -> StackPayload:
    """Return the payload with Ana's consent to a digest that differs in some fields."""
    arguments: dict[str, object] = {
        "awarding": UGTO,
        "pathway": ROUTE,
        "component_ids": [component.leaf.credential_id() for component in payload.components],
        "holder_keys": [ANA.public_key],
        "result_id": payload.result.credential_id(),
        "valid_until_height": world.height + 100,
    }
    digest = consent_digest(NETWORK, 0, **{**arguments, **changes})  # type: ignore[arg-type]  # see above
    return msgspec.structs.replace(payload, consents=(HolderConsent(ANA.public_key, False, ANA.sign(digest)),))


@pytest.mark.parametrize(
    "changes",
    [
        {"awarding": ITLEON},
        {"pathway": f"{UGTO}/ruta-calzado/2"},
        {"component_ids": []},
        {"holder_keys": []},
        {"result_id": bytes(32)},
        {"valid_until_height": HEIGHT + 101},
    ],
)
def test_a_consent_is_to_exactly_this_stack(world: World, three: list[Held], changes: dict[str, object]) -> None:
    """A consent to anything else, be it one field, is no consent."""
    payload = stack_payload(world, three)
    world.refusal("credential.stack", signed(world, payload, **changes), UGTO)
    reason, detail = world.refusal("credential.stack", signed(world, payload, **changes), UGTO)
    assert reason is Reason.BAD_SIGNATURE
    assert detail.startswith(f"consent of {ANA.public_key.hex()} is not over ")
    world.run("credential.stack", signed(world, payload), UGTO)


def test_several_keys_need_an_attestation(world: World) -> None:
    """Somebody must say that two keys are one person's; the stack records that it was so."""
    components = [issue(world, definition, who)[0] for definition, who in zip(THREE, (ANA, BETO, ANA), strict=True)]
    assert refusal(world, components) == (
        Reason.CONSENT_MISSING,
        "2 holder keys, nobody attests that they are one person's",
    )
    payload = pile(world, components, attested=True)
    record = world.state.get(keys.stack(payload.result.credential_id()), Stack)
    assert record is not None
    assert (record.consent, record.custodial) == (Consent.ATTESTED, False)


def test_a_pathway_may_forbid_several_keys() -> None:
    """Where only one key is allowed, an attestation does not help; one key does."""
    world = piled_world(attested_allowed=False)
    components = [issue(world, definition, who)[0] for definition, who in zip(THREE, (ANA, BETO, ANA), strict=True)]
    assert refusal(world, components, attested=True) == (
        Reason.NOT_PERMITTED,
        f"2 holder keys, {ROUTE} allows one only",
    )
    payload = pile(world, credentials_of(world, seed="one"), attested=True)
    record = world.state.get(keys.stack(payload.result.credential_id()), Stack)
    assert record is not None
    assert record.consent is Consent.ONE_KEY


def test_custodial_keys_are_recorded_or_forbidden() -> None:
    """A key that an institution keeps is named as such, and a pathway may refuse it."""
    world = piled_world(custodial_allowed=False)
    components = credentials_of(world)
    assert refusal(world, components, custodial=True) == (
        Reason.NOT_PERMITTED,
        f"consent of {ANA.public_key.hex()}: {ROUTE} forbids keys that an institution keeps",
    )
    pile(world, components)
    other = piled_world(custodial_allowed=True)
    payload = pile(other, credentials_of(other), custodial=True)
    record = other.state.get(keys.stack(payload.result.credential_id()), Stack)
    assert record is not None
    assert record.custodial


# --- disjoint components ---


def test_a_credential_counts_once(world: World, three: list[Held]) -> None:
    """The same credential twice is refused."""
    assert refusal(world, [*three, three[0]]) == (
        Reason.NOT_DISJOINT,
        f"credential {three[0].id.hex()} is in the stack twice",
    )


def test_a_status_key_counts_once(world: World, three: list[Held]) -> None:
    """Two credentials of one issuer under one status key are one achievement; of two issuers they are two."""
    shared = three[0].leaf.status_key
    (twin,) = issue(world, CORTE, ANA, seed="twin", status_key=shared)
    assert refusal(world, [three[0], twin, three[2]]) == (
        Reason.NOT_DISJOINT,
        f"status key {shared.hex()} of {UGTO} is in the stack twice",
    )
    (foreign,) = issue(world, EMPLEO, ANA, seed="foreign", status_key=shared)
    pile(world, [three[0], three[1], foreign])


def test_the_result_has_a_status_key_of_its_own(world: World, three: list[Held]) -> None:
    """A result that shares a component's status key would fall and stand with it."""
    shared = three[1].leaf.status_key
    assert refusal(world, three, **result_of(world, status_key=shared)) == (
        Reason.NOT_DISJOINT,
        f"status key {shared.hex()} of {UGTO} is in the stack twice",
    )


OFICIO = f"{UGTO}/oficio/1"
UPPER = f"{UGTO}/ruta-oficio/1"


def tower(world: World, **changes: object) -> None:
    """Publish a second pathway: the shoe-making award and one more definition make a trade."""
    world.publish(OFICIO)
    requirements = (
        all_of(CALZADO),
        Requirement(RequirementKind.N_OF, 1, "", 0, (Selector("", "", "manufactura", None),)),
    )
    content = pathway_content(UPPER, awards=OFICIO, requirements=requirements, external_max=9, **changes)
    publish(world, content)


def test_components_of_components_are_disjoint_too(world: World, three: list[Held]) -> None:
    """A piece inside a stacked component cannot be laid beside it; a fresh one can."""
    tower(world)
    inner = held_result(pile(world, three), ANA)
    assert refusal(world, [inner, three[0]], pathway=UPPER, awards=OFICIO, seed="upper") == (
        Reason.NOT_DISJOINT,
        f"credential {three[0].id.hex()} is in the stack twice",
    )
    (fresh,) = issue(world, PESPUNTE, ANA, seed="fresh")
    pile(world, [inner, fresh], pathway=UPPER, awards=OFICIO, seed="upper")


def test_two_stacks_of_the_same_pieces_do_not_meet_again(world: World, three: list[Held]) -> None:
    """Two results of the same pieces are not two achievements."""
    tower(world)
    second = f"{UGTO}/calzado-b/1"
    world.publish(second)
    publish(world, pathway_content(f"{UGTO}/ruta-b/1", awards=second))
    one = held_result(pile(world, three), ANA)
    two = held_result(pile(world, three, pathway=f"{UGTO}/ruta-b/1", awards=second, seed="two"), ANA)
    assert refusal(world, [one, two], pathway=UPPER, awards=OFICIO, seed="upper") == (
        Reason.NOT_DISJOINT,
        f"credential {three[0].id.hex()} is in the stack twice",
    )


# --- stacks of stacks ---


@pytest.mark.parametrize(
    "cascade,impairment,action",
    [
        (Cascade.REVOKE, "revoked", "revoke"),
        (Cascade.REVOKE, "impaired", "suspend"),
        (Cascade.FLAG, "impaired", "revoke"),
    ],
)
def test_a_component_that_its_own_pieces_no_longer_carry(cascade: Cascade, impairment: str, action: str) -> None:
    """A stacked component falls or is impaired with its pieces, although no status of its own says so."""
    world = piled_world(cascade=cascade)
    tower(world)
    three = credentials_of(world)
    inner = held_result(pile(world, three), ANA)
    (fresh,) = issue(world, PESPUNTE, ANA, seed="fresh")
    status(world, three[2], action, ITLEON)
    assert refusal(world, [fresh, inner], pathway=UPPER, awards=OFICIO, seed="upper") == (
        Reason.COMPONENT_NOT_VALID,
        f"components[1]: is {impairment} by what it was stacked from",
    )


def test_without_a_cascade_the_pieces_do_not_matter() -> None:
    """A pathway that says `none` stands by its award whatever becomes of the pieces."""
    world = piled_world(cascade=Cascade.NONE)
    tower(world)
    three = credentials_of(world)
    inner = held_result(pile(world, three), ANA)
    (fresh,) = issue(world, PESPUNTE, ANA, seed="fresh")
    status(world, three[2], "revoke", ITLEON)
    pile(world, [fresh, inner], pathway=UPPER, awards=OFICIO, seed="upper")


def test_stacks_are_piled_four_deep_and_no_deeper() -> None:
    """Four levels of stacks inside stacks can be checked; a fifth is refused."""
    world = World()
    world.publish(*(f"{UGTO}/piso-{floor}/1" for floor in range(6)))
    (below,) = issue(world, f"{UGTO}/piso-0/1", ANA)
    for floor in range(1, 6):
        award, route = f"{UGTO}/piso-{floor}/1", f"{UGTO}/escalera-{floor}/1"
        publish(world, pathway_content(route, awards=award, requirements=(all_of(f"{UGTO}/piso-{floor - 1}/*"),)))
        if floor == 5:
            assert refusal(world, [below], pathway=route, awards=award, seed=f"piso {floor}") == (
                Reason.LIMIT_EXCEEDED,
                "more than 256 components or 4 levels of stacks",
            )
            return
        below = held_result(pile(world, [below], pathway=route, awards=award, seed=f"piso {floor}"), ANA)


def test_a_stack_has_at_most_256_pieces_at_any_depth() -> None:
    """Four stacks of 64 would be 260 with themselves: refused; three are not."""
    world = World()
    any_piece = Requirement(RequirementKind.N_OF, 1, "", 0, (Selector("", UGTO, "", None),))
    world.publish(*(f"{UGTO}/pieza-{number}/1" for number in range(64)), OFICIO)
    inner = []
    for tower_number in range(4):
        award, route = f"{UGTO}/torre-{tower_number}/1", f"{UGTO}/ruta-torre-{tower_number}/1"
        world.publish(award)
        publish(world, pathway_content(route, awards=award, requirements=(any_piece,)))
        pieces = [issue(world, f"{UGTO}/pieza-{number}/1", ANA, seed=f"{tower_number}")[0] for number in range(64)]
        payload = pile(world, pieces, pathway=route, awards=award, seed=f"torre {tower_number}")
        inner.append(held_result(payload, ANA))
    publish(world, pathway_content(UPPER, awards=OFICIO, requirements=(any_piece,)))
    assert refusal(world, inner, pathway=UPPER, awards=OFICIO, seed="upper") == (
        Reason.LIMIT_EXCEEDED,
        "more than 256 components or 4 levels of stacks",
    )
    pile(world, inner[:3], pathway=UPPER, awards=OFICIO, seed="upper")


def test_a_stack_of_stacks_costs_what_its_pieces_may_take(world: World, three: list[Held]) -> None:
    """The payload shows one component where the chain walks through up to 256 pieces."""
    tower(world)
    inner = held_result(pile(world, three), ANA)
    nested = stack_payload(world, [inner, three[0]], seed="nested")
    components = [
        msgspec.structs.replace(item, leaf=msgspec.structs.replace(item.leaf, origin=Origin.ISSUE))
        for item in nested.components
    ]
    flat = msgspec.structs.replace(nested, components=tuple(components))
    cost = RULES["credential.stack"].cost
    assert cost(nested) == cost(flat) + 40 * STACK_LEAVES_MAX


def test_the_cascade_reaches_the_result_through_two_floors(world: World, three: list[Held]) -> None:
    """What a piece's revocation does to the uppermost award is derived, not written."""
    tower(world)
    inner = held_result(pile(world, three), ANA)
    (fresh,) = issue(world, PESPUNTE, ANA, seed="fresh")
    upper = pile(world, [inner, fresh], pathway=UPPER, awards=OFICIO, seed="upper")
    record = world.state.get(keys.stack(upper.result.credential_id()), Stack)
    assert record is not None
    assert stack_finding(world.state, record).impairment is Impairment.NONE
    status(world, three[2], "revoke", ITLEON)
    assert stack_finding(world.state, record).impairment is Impairment.REVOKED


def test_an_inner_piece_whose_issuer_was_not_accredited_counts_as_void(world: World, three: list[Held]) -> None:
    """What makes the verifier's components light red keeps an award from being stacked on."""
    tower(world)
    inner = held_result(pile(world, three), ANA)
    (fresh,) = issue(world, PESPUNTE, ANA, seed="fresh")
    add_earlier_step(world, standing=Standing.SUSPENDED)
    assert refusal(world, [fresh, inner], pathway=UPPER, awards=OFICIO, seed="upper") == (
        Reason.COMPONENT_NOT_VALID,
        "components[1]: is revoked by what it was stacked from",
    )


# --- requirements ---


def test_all_requirements_that_fail_are_named(world: World, three: list[Held]) -> None:
    """A refusal says what is missing."""
    assert refusal(world, three[:1]) == (
        Reason.REQUIREMENT_NOT_MET,
        f"requirements[0]: Missing: {CORTE}; {EMPLEO}.",
    )


def test_a_component_serves_a_requirement(world: World, three: list[Held]) -> None:
    """What no requirement asks for may not be carried along."""
    world.publish(f"{UGTO}/otra/1")
    (other,) = issue(world, f"{UGTO}/otra/1", ANA)
    assert refusal(world, [*three, other]) == (
        Reason.REQUIREMENT_NOT_MET,
        f"unneeded: Serve no requirement: {UGTO}/otra/1.",
    )


def test_limits_are_held_against_every_component() -> None:
    """Age, level and number of external components: each at its edge and one beyond."""
    for changes, failing, detail in (
        ({"external_max": 1}, {"external_max": 0}, "external_max: 1 from other institutions; 0 allowed."),
        (
            {"level_min": Level("MNC", 3)},
            {"level_min": Level("MNC", 4)},
            f"level_min: Below level MNC 4: {PESPUNTE}, {CORTE}, {EMPLEO}.",
        ),
        (
            {"age_months_max": 1},
            None,
            "",
        ),
    ):
        world = piled_world(**changes)
        pile(world, credentials_of(world))
        if failing is not None:
            strict = piled_world(**failing)
            assert refusal(strict, credentials_of(strict)) == (Reason.REQUIREMENT_NOT_MET, detail)


def test_an_old_component_is_refused_from_the_millisecond_after_its_age() -> None:
    """One month after valid_from is still young enough; a millisecond later is not."""
    world = piled_world(age_months_max=1)
    components = credentials_of(world, valid_from_ms=TIME_MS - 60 * DAY_MS)
    edge = months_after(TIME_MS - 60 * DAY_MS, 1)
    assert refusal(world, components) == (
        Reason.REQUIREMENT_NOT_MET,
        f"age_months_max: Older than 1 months: {PESPUNTE}, {CORTE}, {EMPLEO}.",
    )
    world.time_ms = edge + 1
    assert refusal(world, components)[0] is Reason.REQUIREMENT_NOT_MET
    world.time_ms = edge
    pile(world, components)


def test_credits_are_added_up_in_their_framework() -> None:
    """Two definitions of 2.5 SATCA credits make 5; ECTS credits do not count towards SATCA."""
    requirement = Requirement(
        RequirementKind.CREDITS_AT_LEAST, 0, "SATCA", 500, (Selector("", "", "manufactura", None),)
    )
    world = piled_world(requirements=(requirement,))
    world.publish(f"{UGTO}/europea/1", credits=Credits("ECTS", 900))
    first, second, _ = credentials_of(world)
    (foreign,) = issue(world, f"{UGTO}/europea/1", ANA)
    detail = (
        "requirements[0]: There are 2.5 of 5 SATCA credits; these count: any microcredential in the field manufactura."
    )
    assert refusal(world, [first]) == (Reason.REQUIREMENT_NOT_MET, detail)
    assert refusal(world, [first, foreign]) == (
        Reason.REQUIREMENT_NOT_MET,
        f"{detail} unneeded: Serve no requirement: {UGTO}/europea/1.",
    )
    pile(world, [first, second])


# --- exclusivity ---

SECOND = f"{UGTO}/ruta-calzado/2"


def exclusive_world(first: Exclusivity, second: Exclusivity, second_route: str) -> tuple[World, list[Held]]:
    """Return a world where three credentials were stacked along a first pathway, and a second one exists."""
    world = piled_world(exclusivity=first)
    publish(world, pathway_content(second_route, exclusivity=second))
    three = credentials_of(world)
    pile(world, three)
    return world, three


OTHER = f"{UGTO}/ruta-otra/1"


@pytest.mark.parametrize(
    "first,second,route,allowed",
    [
        (Exclusivity.NONE, Exclusivity.NONE, SECOND, True),
        (Exclusivity.NONE, Exclusivity.NONE, OTHER, True),
        (Exclusivity.PATHWAY, Exclusivity.NONE, SECOND, False),  # any version of the same pathway
        (Exclusivity.NONE, Exclusivity.PATHWAY, SECOND, False),  # and in the other direction
        (Exclusivity.PATHWAY, Exclusivity.PATHWAY, OTHER, True),
        (Exclusivity.ALL, Exclusivity.NONE, OTHER, False),
        (Exclusivity.NONE, Exclusivity.ALL, OTHER, False),
        (Exclusivity.ALL, Exclusivity.ALL, SECOND, False),
    ],
)
def test_exclusivity_binds_in_both_directions(
    first: Exclusivity, second: Exclusivity, route: str, *, allowed: bool
) -> None:
    """What an earlier pathway claimed, and what the later one claims, both count."""
    world, three = exclusive_world(first, second, route)
    if allowed:
        payload = pile(world, three, pathway=route, seed="second")
        uses = world.state.get(keys.use(three[0].id), Uses)
        assert uses is not None
        assert uses.uses[1] == Use(route, second, payload.result.credential_id())
        return
    assert refusal(world, three, pathway=route, seed="second") == (
        Reason.ALREADY_USED,
        f"credential {three[0].id.hex()} was used for {ROUTE}",
    )


def test_the_same_pathway_twice_is_its_own_exclusivity(world: World) -> None:
    """Exclusive for this pathway: the same version cannot take the piece again either."""
    exclusive, three = exclusive_world(Exclusivity.PATHWAY, Exclusivity.NONE, OTHER)
    assert refusal(exclusive, three, seed="second") == (
        Reason.ALREADY_USED,
        f"credential {three[0].id.hex()} was used for {ROUTE}",
    )
    assert world is not exclusive


def test_a_use_by_a_bad_key_used_up_nothing() -> None:
    """A stack by a key in wrong hands counts for nothing, so its pieces are free again."""
    world, three = exclusive_world(Exclusivity.ALL, Exclusivity.NONE, OTHER)
    world.height += 1
    fresh = [issue(world, definition, ANA, seed="b", by=GOOD)[0] for definition in (PESPUNTE, CORTE)]
    world.compromise(UGTO, HEIGHT)
    payload = stack_payload(world, [*fresh, three[2]], seed="second", pathway=OTHER)
    world.run("credential.stack", payload, UGTO, GOOD)
    uses = world.state.get(keys.use(three[2].id), Uses)
    assert uses == Uses((Use(OTHER, Exclusivity.NONE, payload.result.credential_id()),))


def test_a_credential_is_used_a_bounded_number_of_times(world: World, three: list[Held]) -> None:
    """64 stacks may use one piece; the next is refused."""
    for number in range(64):
        pile(world, three, seed=f"use {number}")
    assert refusal(world, three, seed="one more") == (
        Reason.LIMIT_EXCEEDED,
        f"credential {three[0].id.hex()} was used 64 times, at most 64",
    )


# --- what else a pile of one, and the largest, may be ---


def test_a_stack_of_one_is_a_stack() -> None:
    """One component is enough where the pathway asks for one."""
    world = piled_world(requirements=(all_of(CORTE),))
    (only,) = issue(world, CORTE, ANA)
    pile(world, [only])


def test_the_largest_stack_of_the_format_is_taken() -> None:
    """64 components, each in its own batch, with 64 holders whom the institution attests to be one."""
    ids = [f"{UGTO}/pieza-{number}/1" for number in range(64)]
    world = World()
    world.publish(*ids, CALZADO)
    publish(world, pathway_content(requirements=(all_of(*ids),)))
    holders = [holder(f"key {number}") for number in range(64)]
    components = [issue(world, one, who)[0] for one, who in zip(ids, holders, strict=True)]
    pile(world, components, attested=True)


def test_the_harness_gives_each_credential_its_own_secret() -> None:
    """Two credentials of the harness share neither id nor status key."""
    world = piled_world()
    found = [*credentials_of(world), *credentials_of(world, seed="b")]
    assert len({held.id for held in found}) == len({held.leaf.status_key for held in found}) == 6
    assert definition_content().id == PESPUNTE
    assert sha256(b"genesis") == NETWORK.genesis_hash
