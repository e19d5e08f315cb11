"""`institution_…`: who may do what, since when, and with which keys."""

from msgspec import Struct, structs

from node.chain.reading import is_void, standing_step
from node.chain.records.institution import (
    NO_COUNTERS,
    Counters,
    InstitutionKey,
    Scope,
    Step,
)
from node.chain.records.institution import Institution as InstitutionRecord
from node.primitives import Height
from node.rpc.services import Services
from node.rpc.shapes import (
    LIMIT_DEFAULT,
    Cursor,
    HeightNumber,
    Hex,
    Institution,
    LevelView,
    Limit,
    Page,
    Texts,
    Time,
    algorithm_name,
    level_view,
    not_found,
    page_of,
    texts,
    time_text,
)
from node.state import keys


class ScopeView(Struct, frozen=True):
    """What an accreditation covers; an empty list or a nil maximum sets no limit."""

    levels: list[LevelView]
    credits_min: float
    credits_max: float | None
    frameworks: list[str]
    fields: list[str]
    jurisdiction: str


class KeyView(Struct, frozen=True):
    """One key of an institution."""

    key_id: Hex
    algorithm: str
    public_key: Hex
    purpose: str
    state: str
    """good, retired (what it signed stays good) or compromised."""
    since_height: HeightNumber
    retired_height: HeightNumber | None
    compromised_since_height: HeightNumber | None


class CountersView(Struct, frozen=True):
    """What an institution has put into the state."""

    credentials: int
    batches: int
    status_keys: int
    definitions: int
    pathways: int
    authority_status_keys: int


class InstitutionSummary(Struct, frozen=True):
    """An institution in a list."""

    id: Institution
    names: Texts
    standing: str
    """applied, accredited, suspended or withdrawn."""
    roles: list[str]
    country: str
    region: str
    municipality: str


class InstitutionView(Struct, frozen=True, kw_only=True):
    """An institution, how it stands, and its keys."""

    id: Institution
    names: Texts
    standing: str
    """applied, accredited, suspended or withdrawn; at the height asked for."""
    accredited: bool
    """Standing and term both say so, at the time of the height asked for."""
    roles: list[str]
    scope: ScopeView
    valid_until: Time | None
    """End of the accreditation; nil = open."""
    country: str
    region: str
    municipality: str
    website: str
    cct: str
    did: str
    required_signatures: dict[str, int]
    """By kind of transaction; a kind not listed needs 1."""
    keys: list[KeyView]
    counters: CountersView
    height: HeightNumber
    """The height that this tells of."""


class StepView(Struct, frozen=True):
    """One change of an institution, and how it stood afterwards."""

    kind: str
    height: HeightNumber
    time: Time
    actor: Institution
    keys: list[str]
    """`<institution>/<key id>` of every key that signed."""
    required: int
    void: bool
    """Fewer than the required keys stay good at its height: it does not count."""
    standing: str
    roles: list[str]
    scope: ScopeView
    valid_until: Time | None
    decision: str
    report_hash: Hex | None


def institution_get(services: Services, id: Institution, height: HeightNumber | None = None) -> InstitutionView:  # noqa: A002 – the parameter's name is a promise
    """Return an institution as it stands now, or as it stood at a height, with all its keys."""
    ledger = services.ledger
    record = _record(services, id)
    head = ledger.head
    wanted = head.height if height is None else height
    header = ledger.header_at(wanted) if wanted <= head.height else None
    if header is None:
        raise not_found(ledger.absence(wanted))
    step = standing_step(services.records, record, wanted)
    if step is None:
        raise not_found(f"{id} was not on the chain at height {wanted}")
    found_keys = [ledger.read(keys.key(id, key_id), InstitutionKey) for key_id in record.keys]
    counters = ledger.read(keys.counters(id), Counters) or NO_COUNTERS
    in_term = not step.valid_until_ms or header.timestamp_ms < step.valid_until_ms
    return InstitutionView(
        id=record.id,
        names=texts(record.names),
        standing=step.standing.value,
        accredited=step.standing.value == "accredited" and in_term,
        roles=[role.value for role in step.roles],
        scope=scope_view(step.scope),
        valid_until=_time_or_none(step.valid_until_ms),
        country=record.country,
        region=record.region,
        municipality=record.municipality,
        website=record.website,
        cct=record.cct,
        did=record.did,
        required_signatures={item.kind: item.count for item in record.required_signatures},
        keys=[
            _key_view(key_id.hex(), key, wanted)
            for key_id, key in zip(record.keys, found_keys, strict=True)
            if key is not None and key.added.height <= wanted
        ],
        counters=CountersView(**structs.asdict(counters)),
        height=wanted,
    )


def institution_list(
    services: Services, cursor: Cursor | None = None, limit: Limit = LIMIT_DEFAULT
) -> Page[InstitutionSummary]:
    """List the institutions by id."""
    ids, next_cursor = page_of(services.ledger.institutions(cursor or ""), limit)
    return Page([_summary(services, id_) for id_ in ids], next_cursor)


def institution_history(
    services: Services,
    id: Institution,  # noqa: A002 – the parameter's name is a promise
    cursor: Cursor | None = None,
    limit: Limit = LIMIT_DEFAULT,
) -> Page[StepView]:
    """List what happened to an institution, oldest first; each step names actor and keys."""
    record = _record(services, id)
    numbers = (f"{index:06d}" for index in range(len(record.history)))
    chosen, next_cursor = page_of((number for number in numbers if number > (cursor or "")), limit)
    return Page([_step_view(services, record.history[int(number)]) for number in chosen], next_cursor)


def _record(services: Services, institution: str) -> InstitutionRecord:
    found = services.ledger.read(keys.accreditation(institution), InstitutionRecord)
    if found is None:
        raise not_found(f"{institution} is not on the chain")
    return found


def _summary(services: Services, institution: str) -> InstitutionSummary:
    record = _record(services, institution)
    step = standing_step(services.records, record)
    return InstitutionSummary(
        record.id,
        texts(record.names),
        "applied" if step is None else step.standing.value,
        [] if step is None else [role.value for role in step.roles],
        record.country,
        record.region,
        record.municipality,
    )


def _step_view(services: Services, step: Step) -> StepView:
    return StepView(
        step.kind.value,
        step.act.height,
        time_text(step.act.time_ms),
        step.act.actor,
        [f"{key.institution}/{key.key_id.hex()}" for key in step.act.keys],
        step.act.required,
        is_void(services.records, step.act),
        step.standing.value,
        [role.value for role in step.roles],
        scope_view(step.scope),
        _time_or_none(step.valid_until_ms),
        step.decision,
        None if step.report_hash is None else step.report_hash.hex(),
    )


def _key_view(key_id: str, key: InstitutionKey, height: Height) -> KeyView:
    compromised, retired = key.compromised, key.retired
    state = "good"
    if compromised is not None and compromised.act.height <= height:
        state = "compromised"
    elif retired is not None and retired.height <= height:
        state = "retired"
    return KeyView(
        key_id,
        algorithm_name(key.algorithm),
        key.public_key.hex(),
        key.purpose.value,
        state,
        key.added.height,
        None if retired is None else retired.height,
        None if compromised is None else compromised.since_height,
    )


def scope_view(scope: Scope) -> ScopeView:
    """Return a scope as JSON shows it."""
    return ScopeView(
        [level_view(level) for level in scope.levels],
        scope.credits_min_hundredths / 100,
        scope.credits_max_hundredths / 100 if scope.credits_max_hundredths else None,
        list(scope.frameworks),
        list(scope.fields),
        scope.jurisdiction,
    )


def _time_or_none(time_ms: int) -> str | None:
    return time_text(time_ms) if time_ms else None
