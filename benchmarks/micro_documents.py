"""What documents cost: signing, checking, a whole credential, a bundle read and verified.

    .venv/bin/python -m benchmarks.micro_documents [--repeat 200]

CPU time of the calling thread, best and median; beside it one SHA-256 of 64 bytes as the measure of the
machine. Bundles are of a real ledger over memory with four validators; a stacked one has three
components. A state of a million keys makes each proof about 14 steps longer: see the last line.
"""

import argparse
import hashlib
import statistics
import time
from collections.abc import Callable

from benchmarks.report import save
from node.chain.records.pathway import Cascade
from node.chain.rules.catalogue import PathwayPublish
from node.crypto.merkle import inner_hash
from node.documents.bundle import Bundle, read_bundle, write_bundle
from node.documents.data_integrity import check_signature, sign_document
from node.documents.did import verification_method
from node.documents.jcs import canonical
from node.documents.verifier import verify_bundle
from tests.unit.documents.small_chain import (
    ITLEON,
    NOW_MS,
    UGTO,
    SmallChain,
    assertion_signer,
    pathway_content,
    person,
    stack,
)

FIGURES: dict[str, str] = {}


def measure(name: str, work: Callable[[], object], repeat: int) -> None:
    """Print and keep best and median CPU time of one call."""
    work()
    spent = []
    for _ in range(repeat):
        before = time.thread_time()
        work()
        spent.append((time.thread_time() - before) * 1_000)
    median = statistics.median(spent)
    FIGURES[name] = f"best {min(spent):.3f} ms, median {median:.3f} ms"


def main() -> None:
    """Measure one thing after the other."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--repeat", type=int, default=200)
    repeat: int = parser.parse_args().repeat
    chain = SmallChain()
    content = chain.publish(f"{UGTO}/primer-empleo/1")
    credential = chain.issue(content, [person(number) for number in range(100)])[42]
    signer = assertion_signer(UGTO)
    unsigned = {name: value for name, value in credential.document.items() if name != "proof"}
    method = verification_method(str(chain.institution(UGTO).did), signer.public_key)
    data = write_bundle(chain.bundle(credential))
    FIGURES["document"] = f"{len(canonical(credential.document))} bytes"
    FIGURES["bundle"] = f"{len(data)} bytes"
    measure("SHA-256 of 64 bytes, 1,000 times", lambda: [hashlib.sha256(bytes(64)).digest() for _ in range(1_000)], 20)
    measure(
        "sign a document",
        lambda: sign_document(unsigned, signer, method=method, created="2026-11-23T00:00:00Z"),
        repeat,
    )
    measure("check a document's signature", lambda: check_signature(credential.document, signer.public_key), repeat)
    measure("prepare a credential (document, claims, leaf)", lambda: chain.prepare(content, person(42)), repeat)
    measure("prove a credential (credential_proof)", lambda: chain.proof(credential), repeat)
    measure("read a bundle", lambda: read_bundle(data), repeat)
    measure("verify a bundle", lambda: check(chain, data), repeat)
    stacked = write_bundle(stacked_bundle(chain))
    FIGURES["bundle of a stack of three"] = f"{len(stacked)} bytes"
    measure("verify a bundle of a stack of three", lambda: check(chain, stacked), repeat)
    steps = 14 * 2 * len(read_bundle(data).chain.records)
    measure(f"{steps} more proof steps", lambda: [inner_hash(bytes(32), bytes(32)) for _ in range(steps)], repeat)
    save("micro_documents", "python -m benchmarks.micro_documents", FIGURES)


def check(chain: SmallChain, data: bytes) -> None:
    """Verify a bundle that must be good."""
    answer = verify_bundle(data, genesis_hash=chain.genesis_hash, now_ms=NOW_MS + 86_400_000)
    assert answer.verified, answer


def stacked_bundle(chain: SmallChain) -> Bundle:
    """Return the bundle of a credential made of three."""
    names = (f"{UGTO}/uno/1", f"{UGTO}/dos/1", f"{ITLEON}/tres/1")
    contents = [chain.publish(name, name) for name in names]
    award = chain.publish(f"{UGTO}/empleabilidad/1", "Empleabilidad")
    pathway = pathway_content(f"{UGTO}/ruta/1", award.id, names, Cascade.REVOKE)
    chain.run(UGTO, "pathway.publish", PathwayPublish(pathway))
    components = [chain.issue(content, [person(7)])[0] for content in contents]
    return chain.bundle(stack(chain, pathway.id, award, components, person(7)))


if __name__ == "__main__":
    main()
