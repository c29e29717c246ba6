"""What the machine is told and what it asks for: the whole border between decisions and the world.

Events come in, effects go out. A token is made by the shell and means nothing here; the answer to it
carries it back. Every effect that reaches a model server or the store belongs to the term in it.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from sax_common.errors import SaxError
    from sax_common.names import ModelName

    from sax_admin.core.cell import ModelSpec, Record, ServerAddress, ServerOffer, Term
    from sax_admin.core.commands import Mutation
    from sax_admin.core.servers import Order, Report

Token = int


# ---- Events -------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class StateFound:
    """The newest state record, with its checksum; or none, and the models of an original's state file."""

    record: Record | None
    crc: int
    imported: tuple[ModelSpec, ...]
    unix_ms: int


@dataclass(frozen=True, slots=True)
class SlotWritten:
    """A create-once write succeeded."""

    sequence: int
    crc: int


@dataclass(frozen=True, slots=True)
class SlotRefused:
    """A create-once write was surely not applied; `is_taken` when the number was taken."""

    sequence: int
    is_taken: bool
    error: SaxError


@dataclass(frozen=True, slots=True)
class SlotUnknown:
    """Nobody knows whether a create-once write was applied."""

    sequence: int
    reason: str


@dataclass(frozen=True, slots=True)
class SlotRead:
    """What a number holds now; None when nothing."""

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
    StateFound
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
class CreateSlot:
    """Write this record under its number unless the number is taken; wait `delay_ms` first."""

    record: Record
    delay_ms: int = 0


@dataclass(frozen=True, slots=True)
class ReadSlot:
    """Read what this number holds; keep trying until there is an answer; wait `delay_ms` first."""

    sequence: int
    delay_ms: int = 0


@dataclass(frozen=True, slots=True)
class CollectSlots:
    """Delete all records with lower numbers than this."""

    below: int


@dataclass(frozen=True, slots=True)
class Lead:
    """The claim is durable: publish the address and serve."""

    term: Term


@dataclass(frozen=True, slots=True)
class StepDown:
    """Somebody else leads: stop acting."""

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


Effect = CreateSlot | ReadSlot | CollectSlots | Lead | StepDown | Poll | Send | Forget | Answer | Wake | Note
