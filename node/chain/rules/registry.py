"""Every kind of transaction and its rule: the one place where the families meet."""

from types import MappingProxyType
from typing import Any, Final

from node.chain.rules import catalogue, credentials, governance, institutions, joining, keys, stacking
from node.chain.rules.framework import Rule
from node.errors import Reason, Rejected

# Each rule is generic in its own payload; here they stand together, so the parameter is open.
_ALL: Final[tuple[Rule[Any], ...]] = (
    *institutions.RULES,
    *keys.RULES,
    *catalogue.RULES,
    *credentials.RULES,
    *stacking.RULES,
    *governance.RULES,
    *joining.RULES,
)
RULES: Final = MappingProxyType({rule.kind: rule for rule in _ALL})
assert len(RULES) == len(_ALL)


def rule_of(kind: str) -> Rule[Any]:
    """Return the rule of a kind. Raises: Rejected(UNKNOWN_KIND)."""
    rule = RULES.get(kind)
    if rule is None:
        raise Rejected(Reason.UNKNOWN_KIND, f"{kind} is no kind of transaction")
    return rule
