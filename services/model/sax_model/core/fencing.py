"""Which orders of an admin are obeyed.

Every order carries the term of the leader that sent it and the identity of the process run it was meant
for (DESIGN D6). A leader that lost its lease does not know it yet: its orders carry a lower term than one
seen before and are refused. A server that was restarted at the same address must not obey what was meant
for the run before it. Original admins send neither; they are obeyed until a term has been seen.
"""

from dataclasses import dataclass

from sax_common.errors import FailedPrecondition


@dataclass(frozen=True, slots=True)
class Fence:
    """What this process run has seen: its own identity and the highest term of any admin."""

    incarnation: str
    highest_term: int = 0

    def seen(self, term: int) -> "Fence":
        """Remember `term` if it is the highest so far. A poll may raise it: only leaders poll."""
        return Fence(self.incarnation, max(self.highest_term, term))

    def check(self, term: int, incarnation: str) -> "Fence":
        """Return the fence after obeying this order; raises FailedPrecondition when it must not be obeyed."""
        if term < self.highest_term:
            who = f"of term {term}" if term else "without a term"
            raise FailedPrecondition(
                f"an order {who} is stale: a leader of term {self.highest_term} has been seen here"
            )
        if incarnation and incarnation != self.incarnation:
            raise FailedPrecondition(
                f"this order is for process run {incarnation}, but this is run {self.incarnation}; "
                "poll GetStatus first"
            )
        return self.seen(term)
