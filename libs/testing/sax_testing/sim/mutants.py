"""Planted bugs: each takes one rule out of the production code and must be found by a sweep.

A mutant is a name, what it does to production functions while it is switched on, and the faults that
provoke it: rare bugs need their weather, and waiting for it in a plain sweep would only cost time. The
provoked parameters without the bug must stay clean; `test_sim_mutants` proves both.

The bugs are in `mutants_store` (records, lease, operations) and `mutants_fleet` (servers, watches).
"""

from __future__ import annotations

import random
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any
from unittest import mock

from sax_testing.sim.params import FAULTS_MS, Fault, Kind, Params, draw

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

SEEDS_MAX = 5_000
BACK_MS = -3_600_000


@dataclass(frozen=True, slots=True)
class Patch:
    """Something of the production code and what stands in its place."""

    owner: Any
    name: str
    value: Any


@dataclass(frozen=True, slots=True)
class Mutant:
    """One planted bug. `provoke` turns drawn parameters into the weather in which it shows."""

    name: str
    patches: tuple[Patch, ...]
    provoke: Callable[[Params], Params]

    def params(self, seed: int) -> Params:
        """Draw a schedule in this mutant's weather."""
        return self.provoke(draw(seed))

    @contextmanager
    def planted(self) -> Iterator[None]:
        """Switch the bug on."""
        with ExitStack() as stack:
            for patch in self.patches:
                stack.enter_context(mock.patch.object(patch.owner, patch.name, patch.value))
            yield


def weather(
    *kinds: Kind, target: str = "leader", count: int = 4, at_most_ms: int = 9_000, **changes: Any
) -> Callable[[Params], Params]:
    """Make a provocation: these faults on `target` (and a crash of the leader), these parameters."""

    def provoke(params: Params) -> Params:
        chance = random.Random(f"weather/{params.seed}")  # noqa: S311  # Not a secret.
        faults = []
        for _ in range(count if kinds else 0):
            kind = chance.choice(kinds)
            duration_ms = chance.randint(500, at_most_ms) if kind != Kind.WALL_JUMP else BACK_MS
            faults.append(Fault(chance.randint(2_000, FAULTS_MS - 4_000), kind, target, duration_ms))
        kept = [fault for fault in params.faults if fault.kind == Kind.CRASH and fault.target == "leader"]
        return replace(params, faults=tuple(sorted([*kept[:1], *faults])), **changes)

    return provoke


def as_drawn(params: Params) -> Params:
    """Change nothing."""
    return params
