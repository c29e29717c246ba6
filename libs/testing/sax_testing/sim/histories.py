"""What clients did and what became of each model: plain values that the oracle compares.

A `ModelHistory` is the list of all generations that a model ever had, in the order of the records, 0 where it
was not published. `floor` is the newest position that anybody outside has been told of: whoever asks from
then on must be told this or something newer. That makes linearizability a comparison of positions.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from sax_common.names import ModelName


@dataclass(slots=True, kw_only=True)
class Operation:
    """One change that a client wants, with all its retries. `position` is -1 until it is in a record."""

    operation_id: str
    kind: str
    model: ModelName
    expected_generation: int = 0
    attempts: int = 0
    floor: int = 0
    position: int = -1
    is_refused: bool = False

    def __str__(self) -> str:
        """Tell a person."""
        return f"{self.kind} {self.operation_id} of {self.model}"


@dataclass(slots=True)
class ModelHistory:
    """All generations of one model, and how far the world knows them."""

    generations: list[int] = field(default_factory=lambda: [0])
    floor: int = 0

    def add(self, generation: int) -> int:
        """Take in the next generation and return its position."""
        self.generations.append(generation)
        return len(self.generations) - 1

    def know(self, position: int) -> None:
        """Somebody was told of a position."""
        self.floor = max(self.floor, position)

    def position_of(self, generation: int, floor: int) -> int | None:
        """Return the first position from `floor` on with this generation."""
        for position in range(floor, len(self.generations)):
            if self.generations[position] == generation:
                return position
        return None

    def explains(self, operation: Operation, kind: str) -> bool:
        """Tell whether a refusal was right at some moment since the operation was sent."""
        rest = self.generations[operation.floor :]
        match kind:
            case "AlreadyExists":
                return any(rest)
            case "NotFound":
                return not all(rest)
            case "Aborted":
                return any(each and each != operation.expected_generation for each in rest)
            case _:
                return True
