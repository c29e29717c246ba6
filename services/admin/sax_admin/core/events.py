"""What the machine is told and what it asks for: the whole border between decisions and the world.

Events come in, effects go out. A token is made by the shell and means nothing here; the answer to it
carries it back. Every effect that reaches a model server or a state record belongs to the term in it, and
the event that ends it brings the term back: what belongs to another term is dropped. Calls for the lease
carry an attempt number instead, for they make the term.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from sax_common.errors import SaxError
    from sax_common.names import ModelName

    from sax_admin.core.cell import ModelSpec, Record, ServerAddress, ServerOffer, Term
    from sax_admin.core.commands import Mutation
    from sax_admin.core.lease import Lease
    from sax_admin.core.servers import Order, Report

Token = int


# ---- Events -------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class LeaseRead:
    """What the lease object holds now; None and an empty generation when there is none."""

    attempt: int
    lease: Lease | None
    generation: str


@dataclass(frozen=True, slots=True)
class LeaseWritten:
    """The lease was changed from the generation it had; `generation` is the new one."""

    attempt: int
    generation: str


@dataclass(frozen=True, slots=True)
class LeaseConflict:
    """The lease was not changed: it no longer has the generation that was named."""

    attempt: int


@dataclass(frozen=True, slots=True)
class LeaseUnknown:
    """Nobody knows whether the lease was changed."""

    attempt: int
    reason: str


@dataclass(frozen=True, slots=True)
class LeaseUnavailable:
    """The store did not answer a read of the lease, or surely did not change it."""

    attempt: int
    reason: str


@dataclass(frozen=True, slots=True)
class End:
    """This process shall end: finish what is being written, give up the lease."""


@dataclass(frozen=True, slots=True)
class StateFound:
    """The newest state record, with its checksum; or none, and the models of an original's state file."""

    term: Term
    record: Record | None
    crc: int
    imported: tuple[ModelSpec, ...]
    unix_ms: int


@dataclass(frozen=True, slots=True)
class StateUnreadable:
    """The newest state record is damaged, or the store refuses us: a person must decide."""

    term: Term
    error: SaxError


@dataclass(frozen=True, slots=True)
class SlotWritten:
    """A create-once write succeeded."""

    term: Term
    sequence: int
    crc: int


@dataclass(frozen=True, slots=True)
class SlotRefused:
    """A create-once write was surely not applied; `is_taken` when the number was taken."""

    term: Term
    sequence: int
    is_taken: bool
    error: SaxError


@dataclass(frozen=True, slots=True)
class SlotUnknown:
    """Nobody knows whether a create-once write was applied."""

    term: Term
    sequence: int
    reason: str


@dataclass(frozen=True, slots=True)
class SlotRead:
    """What a number holds now; None when nothing."""

    term: Term
    sequence: int
    record: Record | None
    crc: int


@dataclass(frozen=True, slots=True)
class Mutate:
    """A caller wants something changed."""

    token: Token
    mutation: Mutation


@dataclass(frozen=True, slots=True, kw_only=True)
class Join:
    """A model server says that it is there. The answer waits until the server has answered a poll."""

    token: Token
    address: ServerAddress
    data_address: str
    debug_address: str
    offer: ServerOffer
    incarnation: str
    highest_term: int


@dataclass(frozen=True, slots=True)
class PollAnswered:
    """A server answered GetStatus."""

    address: ServerAddress
    term: Term
    orders_changed: int
    report: Report


@dataclass(frozen=True, slots=True)
class PollFailed:
    """A server did not answer GetStatus."""

    address: ServerAddress
    term: Term
    reason: str


@dataclass(frozen=True, slots=True)
class OrderDone:
    """An order came to its end; `error` is the server's text, or None when it went well."""

    order: Order
    error: str | None


@dataclass(frozen=True, slots=True)
class ConfigRead:
    """The cell's config was read again."""

    admin_acl: str


@dataclass(frozen=True, slots=True)
class Tick:
    """Time has passed. `unix_ms` goes into records, for people only."""

    unix_ms: int


Event = (
    LeaseRead
    | LeaseWritten
    | LeaseConflict
    | LeaseUnknown
    | LeaseUnavailable
    | End
    | StateFound
    | StateUnreadable
    | SlotWritten
    | SlotRefused
    | SlotUnknown
    | SlotRead
    | Mutate
    | Join
    | PollAnswered
    | PollFailed
    | OrderDone
    | ConfigRead
    | Tick
)


# ---- Effects ------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class ReadLease:
    """Read the lease object."""

    attempt: int


@dataclass(frozen=True, slots=True)
class WriteLease:
    """Change the lease object if it still has `generation`; None: make it if there is none."""

    attempt: int
    lease: Lease
    generation: str | None


@dataclass(frozen=True, slots=True)
class Released:
    """The lease is given up, or was not ours: the process may end."""


@dataclass(frozen=True, slots=True)
class FindState:
    """Find the newest state record; keep trying while the store is away.

    Records from `hint_sequence` on were there lately, so the search may begin there.
    """

    term: Term
    hint_sequence: int


@dataclass(frozen=True, slots=True)
class CreateSlot:
    """Write this record under its number unless the number is taken; wait `delay_ms` first.

    `term` is the one under which the write was decided: a claim's own.
    """

    term: Term
    record: Record
    delay_ms: int = 0


@dataclass(frozen=True, slots=True)
class ReadSlot:
    """Read what this number holds; keep trying until there is an answer; wait `delay_ms` first."""

    term: Term
    sequence: int
    delay_ms: int = 0


@dataclass(frozen=True, slots=True)
class CollectSlots:
    """Delete all records with lower numbers than this."""

    term: Term
    below: int


@dataclass(frozen=True, slots=True)
class Lead:
    """The claim is durable: publish the address and serve."""

    term: Term


@dataclass(frozen=True, slots=True)
class StepDown:
    """Stop acting at once; `leader_address` is who leads now, empty when that is not known."""

    leader_address: str
    term: Term


@dataclass(frozen=True, slots=True)
class Poll:
    """Ask a server for its status."""

    address: ServerAddress
    term: Term
    orders_changed: int
    is_original: bool


@dataclass(frozen=True, slots=True)
class Send:
    """Give a server an order."""

    order: Order


@dataclass(frozen=True, slots=True)
class WakeUp:
    """Tell a dormant server that it is missed."""

    address: ServerAddress
    term: Term
    incarnation: str


@dataclass(frozen=True, slots=True)
class Forget:
    """Close the connection to a server."""

    address: ServerAddress


@dataclass(frozen=True, slots=True)
class Answer:
    """Answer a caller: a record number (mutation), a term (join), or an error."""

    token: Token
    result: int | SaxError


@dataclass(frozen=True, slots=True)
class Wake:
    """Readers that wait on these models look again."""

    models: frozenset[ModelName]


@dataclass(frozen=True, slots=True)
class Note:
    """Something that a person may want to read in the log."""

    text: str
    is_warning: bool = False


Effect = (
    ReadLease
    | WriteLease
    | Released
    | FindState
    | CreateSlot
    | ReadSlot
    | CollectSlots
    | Lead
    | StepDown
    | Poll
    | Send
    | WakeUp
    | Forget
    | Answer
    | Wake
    | Note
)
