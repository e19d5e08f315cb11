"""Other people's verifiers as functions: each takes JSON that we wrote and says what the program said.

They take values, not nodes, so that they judge fixtures and the answers of a running node alike.
"""

import json
import shutil
import subprocess
from pathlib import Path
from tempfile import TemporaryDirectory

from tests.conftest import require

HERE = Path(__file__).resolve().parent


def run_script(script: str, *values: object) -> list[dict[str, object]]:
    """Run one of the .mjs scripts over JSON values; returns its answer for each."""
    node = shutil.which("node")
    require(node is not None, "Node.js is missing: `make interop` installs it")
    require((HERE / "node_modules").is_dir(), "the Node.js packages are missing: `make interop` installs them")
    with TemporaryDirectory() as folder:
        files = []
        for number, value in enumerate(values):
            file = Path(folder) / f"{number}.json"
            file.write_text(json.dumps(value), encoding="utf-8")
            files.append(str(file))
        done = subprocess.run(
            [str(node), script, *files], cwd=HERE, capture_output=True, text=True, timeout=120, check=False
        )
    assert done.returncode == 0, done.stderr
    answers = [json.loads(line) for line in done.stdout.splitlines() if line.startswith("{")]
    assert len(answers) == len(values), done.stdout + done.stderr
    return answers


def digitalbazaar_verdicts(*documents: object) -> list[bool]:
    """Return what @digitalbazaar/vc says of Open Badges documents (signature, form, dates)."""
    return [answer["verified"] is True for answer in run_script("verify_digitalbazaar.mjs", *documents)]


def wallet_checks(*documents: object) -> list[dict[str, object]]:
    """Return the named checks of @digitalcredentials/verifier-core, which wallets use; offline."""
    answers = run_script("verify_core.mjs", *documents)
    return [dict(checks) if isinstance(checks := answer["checks"], dict) else {} for answer in answers]


def ics23_verdicts(*answers: object) -> list[bool]:
    """Return what @confio/ics23 (TendermintSpec) says of answers of the RPC method `state_proof`."""
    return [answer["verified"] is True for answer in run_script("verify_ics23.mjs", *answers)]


def openbadgeslib_verdict(document: dict[str, object]) -> bool:
    """Return what openbadgeslib says of an Open Badges document."""
    from openbadgeslib.ob3 import OB3LdpVerifier, OB3VerificationError

    issuer = document["issuer"]
    assert isinstance(issuer, dict)
    try:
        OB3LdpVerifier(issuer_did=issuer["id"]).verify(json.dumps(document))
    except OB3VerificationError:
        return False
    return True


def openvc_verdict(document: dict[str, object], contexts: dict[str, object]) -> bool:
    """Return what openvc-core says of an Open Badges document; `contexts` by URL."""
    import openvc

    policy = openvc.VerificationPolicy(require_status=False, require_not_revoked=False)
    try:
        openvc.verify_credential(document, policy=policy, extra_contexts=contexts)
    except openvc.OpenvcError:
        return False
    return True
