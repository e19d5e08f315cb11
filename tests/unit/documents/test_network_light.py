"""What the `network` light says of its anchor, of checkpoints and of recoveries."""

from dataclasses import replace

from node.chain.checkpoint import Checkpoint, checkpoint_of
from node.crypto.hashing import sha256
from node.documents.answer import Answer, Light, LightName
from node.documents.bundle import refreshed, write_bundle
from node.documents.verifier import verify_bundle
from tests.unit.documents.small_chain import GENESIS_TIME_MS, UGTO, SmallChain, person

HOUR_MS = 3_600_000
DEFINITION = f"{UGTO}/primer-empleo/1"


def network(answer: Answer) -> Light:
    """Return the light."""
    found = answer.light(LightName.NETWORK)
    assert found is not None
    return found


def issued() -> tuple[SmallChain, bytes]:
    """Return a chain and a bundle under its block 2."""
    chain = SmallChain()
    (credential,) = chain.issue(chain.publish(DEFINITION), [person(1)])
    return chain, write_bundle(chain.bundle(credential))


def checkpoint(chain: SmallChain, height: int) -> Checkpoint:
    """Return a true checkpoint."""
    header = chain.ledger.header_at(height)
    assert header is not None
    return checkpoint_of(header, chain.genesis_hash)


def test_genesis_is_named_with_its_age() -> None:
    """In hours at first, in days from two days on; a clock that is a little behind makes no negative age."""
    chain, data = issued()
    ages = {
        GENESIS_TIME_MS + HOUR_MS: ("hace 1 hora", "1 hour ago"),
        GENESIS_TIME_MS + 47 * HOUR_MS: ("hace 47 horas", "47 hours ago"),
        GENESIS_TIME_MS + 48 * HOUR_MS: ("hace 2 días", "2 days ago"),
        GENESIS_TIME_MS - 60_000: ("hace 0 horas", "0 hours ago"),
    }
    for now_ms, (es, en) in ages.items():
        light = network(verify_bundle(data, genesis_hash=chain.genesis_hash, now_ms=now_ms))
        assert light.ok
        assert light.text.es.endswith(f"La confianza parte del génesis de la red, del 2026-09-21 ({es}).")
        assert light.text.en.endswith(f"Trust rests on the network's genesis, of 2026-09-21 ({en}).")


def test_newest_checkpoint_takes_the_place_of_the_genesis() -> None:
    """With its height and its age; the detail names its block."""
    chain, data = issued()
    known = [checkpoint(chain, 1), checkpoint(chain, 2)]
    answer = verify_bundle(
        data, genesis_hash=chain.genesis_hash, now_ms=known[1].time_ms + 72 * HOUR_MS, checkpoints=known
    )
    light = network(answer)
    assert answer.verified
    assert light.text.es.endswith("La confianza parte del punto de control del bloque 2, del 2026-09-21 (hace 3 días).")
    assert light.text.en.endswith("Trust rests on the checkpoint of block 2, of 2026-09-21 (3 days ago).")
    assert light.detail.endswith(f"checkpoint of height 2, block {known[1].block_hash.hex()}")


def test_bundle_that_contradicts_a_checkpoint_is_red() -> None:
    """In every light that rests on the chain."""
    chain, data = issued()
    false = replace(checkpoint(chain, 2), block_hash=sha256(b"x"))
    answer = verify_bundle(data, genesis_hash=chain.genesis_hash, now_ms=false.time_ms, checkpoints=[false])
    assert [light.name.value for light in answer.checks if light.ok] == []
    light = network(answer)
    assert light.text.en.startswith("The file contradicts a known checkpoint")
    assert light.text.es.startswith("El archivo contradice un punto de control conocido")
    assert light.detail.startswith("contradicts_checkpoint: block 2 is ")


def test_recovery_on_the_way_says_who_signed() -> None:
    """A bundle from before is as it was; a refreshed one leads over the recovery and names the signers."""
    chain = SmallChain()
    (credential,) = chain.issue(chain.publish(DEFINITION), [person(1)])
    held = chain.bundle(credential)
    signers = chain.recover("a drill")
    for bundle, is_recovered in ((held, False), (refreshed(held, chain.proof(credential)), True)):
        answer = verify_bundle(
            write_bundle(bundle), genesis_hash=chain.genesis_hash, now_ms=chain.ledger.head.timestamp_ms
        )
        light = network(answer)
        assert answer.verified
        names = ", ".join(signers)
        assert (f"En el bloque 2 la gobernanza recuperó la red: {names}." in light.text.es) is is_recovered
        assert (f"At block 2 governance recovered the network: {names}." in light.text.en) is is_recovered
        recovered = f"recovery to epoch 1 above height 2, signed by {names}: a drill"
        assert light.detail.endswith(recovered) is is_recovered
