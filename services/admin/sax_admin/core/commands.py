"""What a mutation does to the state: validate, decide, remember.

`decide` is called twice in spirit and once in fact: the machine runs it on the state as it will be when
all mutations before this one are durable, and answers the caller only after the record that holds the
result is. An operation id that is already remembered is not applied again; its caller gets the first
answer (reference/reliability.md 2.2; without it about one faulty schedule in 400 resurrects a model).

Status codes are the intended ones of reference/control_plane.md 2.12.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from sax_common import names
from sax_common.access import ALL, NOBODY, Access
from sax_common.errors import (
    Aborted,
    AlreadyExists,
    FailedPrecondition,
    InvalidArgument,
    NotFound,
    PermissionDenied,
    ResourceExhausted,
    Unimplemented,
)

from sax_admin.core.cell import (
    MAX_OPERATIONS,
    AppliedOperation,
    CellState,
    ModelSpec,
    Pairs,
)

if TYPE_CHECKING:
    from sax_common.names import CellName, ModelName

    from sax_admin.core.cell import ServerAddress

# Access control lists that everybody is on: the default of sax-admin-config, and none at all.
OPEN_ACLS = ("", ALL)

# reference/reliability.md 5.4.
MODELS_MAX = 10_000
OVERRIDES_MAX = 64
# Every mark is in every record; ten times the servers that a cell is designed for (DESIGN 8).
DRAINING_MAX = 10_000
OVERRIDE_BYTES_MAX = 4096


@dataclass(frozen=True, slots=True, kw_only=True)
class ModelDraft:
    """A model as a caller wrote it: nothing is checked yet."""

    model_id: str
    model_path: str = ""
    checkpoint_path: str = ""
    replicas: int = 0
    acls: Pairs = ()
    admin_acl: str = ""
    overrides: Pairs = ()
    unknown: bytes = b""


@dataclass(frozen=True, slots=True)
class Publish:
    """Make a model wanted."""

    draft: ModelDraft


@dataclass(frozen=True, slots=True)
class Update:
    """Replace a model's whole spec; `expected_generation` 0 means whatever it is now.

    `allow_downtime` accepts that nobody serves the model while its only replica reloads.
    """

    draft: ModelDraft
    expected_generation: int = 0
    allow_downtime: bool = False


@dataclass(frozen=True, slots=True)
class Unpublish:
    """Make a model unwanted."""

    model_id: str


@dataclass(frozen=True, slots=True)
class Drain:
    """Want a server to be empty."""

    server: ServerAddress


@dataclass(frozen=True, slots=True)
class Undrain:
    """Give a server models again."""

    server: ServerAddress


Command = Publish | Update | Unpublish | Drain | Undrain


@dataclass(frozen=True, slots=True, kw_only=True)
class Mutation:
    """A command with its envelope.

    `fresh` are 16 random bytes: the uuid of a new model, and the operation id of a caller that sent none.
    `access` is the caller before the access lists of the moment of the call.
    """

    command: Command
    fresh: bytes
    operation_id: str = ""
    last_seen_sequence: int = 0
    client: str = ""
    access: Access = NOBODY


@dataclass(frozen=True, slots=True)
class Rules:
    """What commands are judged by besides the state: which cell this is and who may change it."""

    cell: CellName
    admin_acl: str = ""


@dataclass(frozen=True, slots=True)
class Decision:
    """A mutation's outcome: the state after it, the record that holds it, and whether that is news."""

    state: CellState
    sequence: int
    is_new: bool
    note: str = ""


def model_of_cell(text: str, cell: CellName) -> ModelName:
    """Parse a full model name and insist on this cell.

    Raises InvalidArgument when the text is malformed or names another cell.
    """
    name = names.parse_model(text)
    if names.cell_of(name) != cell:
        raise InvalidArgument(f"model {text!r} belongs to another cell; this admin serves {cell}")
    return name


def check_admin(rules: Rules, access: Access, what: str, *, model_acl: str = "") -> None:
    """Raise PermissionDenied unless the caller is on the cell's admin ACL or on `model_acl`.

    With access control off nobody is known: a cell ACL other than `acl/all` has no members then, and the
    answer is no, not a warning. An empty list is inherited and never lets everybody in, as the original did
    (reference/reliability.md 0.1, row 11).
    """
    if access.is_on:
        if not access.administers(rules.admin_acl, model_acl):
            lists = " or ".join(repr(acl) for acl in (rules.admin_acl, model_acl) if acl) or "role operator"
            raise PermissionDenied(f"{what} needs {lists}, which {access.who} does not have")
    elif rules.admin_acl not in OPEN_ACLS:
        raise PermissionDenied(
            f"{what} needs membership in the cell's admin ACL {rules.admin_acl!r}, which has no known "
            "members without --acl_file; write acl/all into the cell's config to open it"
        )


def decide(state: CellState, mutation: Mutation, rules: Rules, *, sequence: int, unix_ms: int) -> Decision:
    """Say what `mutation` makes of `state` if it becomes part of record `sequence`.

    Raises the error that the caller must see; `state` is untouched then.
    """
    known = state.operations.get(mutation.operation_id) if mutation.operation_id else None
    if known is not None:
        return Decision(state, known.sequence, is_new=False)
    _check_window(state, mutation)
    name: ModelName | None = None
    server: ServerAddress | None = None
    match mutation.command:
        case Drain(server) | Undrain(server):
            is_wanted = isinstance(mutation.command, Drain)
            kind, after = _mark(state, server, rules, mutation.access, is_wanted=is_wanted)
        case Publish(draft):
            kind, after, name = "publish", *_publish(state, draft, rules, mutation, sequence)
        case Update() as update:
            kind, after, name = "update", *_update(state, update, rules, mutation.access, sequence)
        case Unpublish(model_id):
            kind, after, name = "unpublish", *_unpublish(state, model_id, rules, mutation.access)
    operation = AppliedOperation(
        operation_id=mutation.operation_id or f"server-{mutation.fresh.hex()}",
        sequence=sequence,
        kind=kind,
        model=name,
        client=mutation.client,
        unix_ms=unix_ms,
        server=server,
    )
    note = _note(kind, name, after) if name else f"{kind} of server {server}"
    return Decision(after.with_operation(operation), sequence, is_new=True, note=note)


def _check_window(state: CellState, mutation: Mutation) -> None:
    """Refuse a retry that may be older than what is remembered: it could be applied twice."""
    if not mutation.operation_id or not mutation.last_seen_sequence or len(state.operations) < MAX_OPERATIONS:
        return
    oldest = next(iter(state.operations.values())).sequence
    if mutation.last_seen_sequence < oldest:
        raise FailedPrecondition(
            f"this operation was made at record {mutation.last_seen_sequence}, operations are kept from "
            f"record {oldest} on: read the model again and decide anew"
        )


def _checked(draft: ModelDraft, cell: CellName, access: Access) -> ModelSpec:
    name = model_of_cell(draft.model_id, cell)
    names.check_model_path(draft.model_path)
    names.check_checkpoint_path(draft.checkpoint_path)
    if draft.replicas < 0:
        raise InvalidArgument(f"requested_num_replicas is {draft.replicas}; it must be 0 or more")
    for method, acl in draft.acls:
        names.check_data_method(method)
        _check_acl(acl, access)
    _check_acl(draft.admin_acl, access)
    _check_overrides(draft.overrides)
    return ModelSpec(
        name=name,
        model_path=draft.model_path,
        checkpoint_path=draft.checkpoint_path,
        replicas=draft.replicas,
        acls=draft.acls,
        admin_acl=draft.admin_acl,
        overrides=draft.overrides,
        unknown=draft.unknown,
    )


def _check_acl(acl: str, access: Access) -> None:
    """Refuse a list that could not have members: it would be a promise that nobody keeps."""
    names.check_acl_name(acl)
    if acl in OPEN_ACLS:
        return
    if access.table is None:
        raise Unimplemented(
            f"no access control list named {acl!r} is defined: access control is off (--acl_file)"
        )
    if not access.table.knows(acl):
        known = ", ".join(sorted((ALL, *access.table.lists)))
        raise InvalidArgument(f"no access control list named {acl!r} is defined; there are {known}")


def _check_overrides(overrides: Pairs) -> None:
    if len(overrides) > OVERRIDES_MAX:
        raise InvalidArgument(f"{len(overrides)} overrides are more than {OVERRIDES_MAX}")
    for key, value in overrides:
        if len(key.encode()) + len(value.encode()) > OVERRIDE_BYTES_MAX:
            raise InvalidArgument(
                f"the override {names.shown(key)} is longer than {OVERRIDE_BYTES_MAX} bytes with its value"
            )


def _publish(
    state: CellState, draft: ModelDraft, rules: Rules, mutation: Mutation, sequence: int
) -> tuple[CellState, ModelName]:
    check_admin(rules, mutation.access, "Publish")
    spec = _checked(draft, rules.cell, mutation.access)
    if (old := state.models.get(spec.name)) is not None:
        raise AlreadyExists(
            f"model {spec.name} is already published (generation {old.generation}); use update"
        )
    if len(state.models) >= MODELS_MAX:
        raise ResourceExhausted(f"the cell {rules.cell} has {MODELS_MAX} models and takes no more")
    return state.with_model(replace(spec, uuid=mutation.fresh, generation=sequence)), spec.name


def _update(
    state: CellState, update: Update, rules: Rules, access: Access, sequence: int
) -> tuple[CellState, ModelName]:
    draft, expected = update.draft, update.expected_generation
    name = model_of_cell(draft.model_id, rules.cell)
    check_admin(rules, access, "Update", model_acl=_admin_acl(state, name))
    spec = _checked(draft, rules.cell, access)
    old = published(state, spec.name)
    if spec.model_path != old.model_path:
        raise InvalidArgument(
            f"model {spec.name} has path {old.model_path!r} and an update may not change it to "
            f"{spec.model_path!r}; unpublish it and publish again"
        )
    if expected and expected != old.generation:
        raise Aborted(
            f"model {spec.name} is at generation {old.generation}, not {expected}: somebody else changed it; "
            "read it again"
        )
    kept = old.unknown if not spec.unknown else spec.unknown
    return state.with_model(replace(spec, uuid=old.uuid, generation=sequence, unknown=kept)), spec.name


def _unpublish(state: CellState, model_id: str, rules: Rules, access: Access) -> tuple[CellState, ModelName]:
    name = model_of_cell(model_id, rules.cell)
    check_admin(rules, access, "Unpublish", model_acl=_admin_acl(state, name))
    published(state, name)
    return state.without_model(name), name


def _mark(
    state: CellState, server: ServerAddress, rules: Rules, access: Access, *, is_wanted: bool
) -> tuple[str, CellState]:
    """Mark a server as draining or take the mark away; saying it twice is fine."""
    kind = "drain" if is_wanted else "undrain"
    check_admin(rules, access, kind.capitalize())
    draining = state.draining | {server} if is_wanted else state.draining - {server}
    if len(draining) > DRAINING_MAX:
        raise ResourceExhausted(f"{DRAINING_MAX} servers are marked as draining already; undrain some")
    return kind, replace(state, draining=draining)


def _admin_acl(state: CellState, name: ModelName) -> str:
    """The model's own admin list; empty for a model that is not there, about which only the cell's learn."""
    spec = state.models.get(name)
    return spec.admin_acl if spec is not None else ""


def spec_after(state: CellState, update: Update) -> tuple[ModelSpec | None, ModelSpec]:
    """Return what is wanted of a model now (None: it is not published) and what an update would make of it.

    Nothing is checked; `decide` does that.
    """
    draft = update.draft
    name = names.ModelName(draft.model_id)
    old = state.models.get(name)
    new = ModelSpec(
        name=name,
        model_path=draft.model_path,
        checkpoint_path=draft.checkpoint_path,
        replicas=draft.replicas,
        overrides=draft.overrides,
        uuid=old.uuid if old is not None else b"",
    )
    return old, new


def published(state: CellState, name: ModelName) -> ModelSpec:
    """Return the spec of `name`; raises NotFound when it is not published."""
    spec = state.models.get(name)
    if spec is None:
        raise NotFound(f"model {name} is not published")
    return spec


def _note(kind: str, name: ModelName, after: CellState) -> str:
    if kind == "unpublish":
        return f"Unpublished model {name}"
    spec = after.models[name]
    verb = "Published" if kind == "publish" else "Updated"
    return (
        f"{verb} model {name} path {spec.model_path} checkpoint {spec.checkpoint_path} "
        f"replicas {spec.replicas} generation {spec.generation}"
    )
