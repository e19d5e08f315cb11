"""What a network may set its parameters to: judged when it is proposed, and again when it comes into force.

Source: PROTOCOL §5, "Upgrades and parameters".
"""

from node.chain.records.network import Parameters
from node.errors import Reason, Rejected


def check_parameters(present: Parameters, wanted: Parameters) -> None:
    """Refuse parameters that the network cannot have. Numbers were held against their bounds when they were read.

    Raises: Rejected(ALREADY_EXISTS), Rejected(INVALID_VALUE).
    """
    if wanted == present:
        raise Rejected(Reason.ALREADY_EXISTS, "these are the parameters in force")
    if wanted.did_host != present.did_host:
        raise Rejected(
            Reason.INVALID_VALUE,
            f"did_host: {wanted.did_host!r}, it stays {present.did_host!r}: documents name it",
        )
    names = [framework.name for framework in wanted.credit_frameworks]
    if len(set(names)) != len(names):
        raise Rejected(Reason.INVALID_VALUE, "credit_frameworks: one is there twice")
    for framework in wanted.credit_frameworks:
        if not framework.name.strip():
            raise Rejected(Reason.INVALID_VALUE, "credit_frameworks: one has no name")
        if framework.hours_per_credit_hundredths == 0:
            raise Rejected(Reason.INVALID_VALUE, f"credit_frameworks: {framework.name} has no hours")
