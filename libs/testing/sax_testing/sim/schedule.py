"""One schedule from its seed to its verdict.

    faults and work (safety is checked at every effect) -> heal -> work ends -> the cell must converge

Converged means (reference/reliability.md I8): one admin leads; what it knows is what the newest record
says; every model is ready on as many servers as were asked for and there are, nothing else is loaded
anywhere, and every watcher knows exactly the ready addresses. A schedule that does not get there in time
is as much a failure as a breach.

Everything is decided by the seed. What production code takes from the machine it runs on (random bytes, the
time of a metric) is given to it from the seed as well, see `determined`.
"""

from __future__ import annotations

import gc
import random
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import TYPE_CHECKING
from unittest import mock

from sax_admin import record as codec
from sax_admin import service
from sax_admin.core.cell import digest_of
from sax_admin.core.machine import RECORDS_KEPT
from sax_common import roots
from sax_model.core.lifecycle import State

from sax_testing.sim.cell import CELL, Cell
from sax_testing.sim.nemesis import Nemesis
from sax_testing.sim.params import CONVERGE_MS, FAULTS_MS

if TYPE_CHECKING:
    from collections import Counter
    from collections.abc import Iterator, Mapping

    from sax_admin.core.cell import ModelSpec
    from sax_common.names import ModelName

    from sax_testing.sim.params import Params
    from sax_testing.sim.world import World

LOOK_MS = 1_000
# Reading all records back costs as much as the rest of a schedule.
READ_ALL_EVERY = 50


@dataclass(slots=True)
class Verdict:
    """What came of a schedule. `breaches` is empty when all is well."""

    seed: int
    breaches: list[str]
    seen: Counter[str]
    virtual_ms: float
    trace: list[tuple[object, ...]] = field(repr=False, default_factory=list)


class _VirtualTime:
    """Stands for the module `time` where production code asks it directly."""

    def __init__(self, world: World) -> None:
        self._world = world

    def monotonic(self) -> float:
        """Return virtual seconds."""
        return self._world.now_ms / 1000

    def perf_counter(self) -> float:
        """Return virtual seconds."""
        return self._world.now_ms / 1000


@contextmanager
def determined(world: World, seed: int) -> Iterator[None]:
    """Give the admin service virtual time and random bytes from the seed; collect no garbage meanwhile.

    The collector runs whenever it likes, and closing an abandoned coroutine runs its `finally`: two runs of a
    seed would differ (reference/reliability.md 3.2, reading 6).
    """
    chance = random.Random(f"fresh/{seed}")  # noqa: S311  # Not a secret.
    was_enabled = gc.isenabled()
    gc.disable()
    try:
        with (
            mock.patch.object(service, "fresh_bytes", lambda: chance.randbytes(16)),
            mock.patch.object(service, "time", _VirtualTime(world)),
        ):
            yield
    finally:
        if was_enabled:
            gc.enable()


def run(params: Params) -> Verdict:
    """Run one schedule."""
    cell = Cell(params)
    Nemesis(cell)
    with determined(cell.world, params.seed):
        cell.world.run(FAULTS_MS)
        for client in cell.clients:
            client.is_stopped = True
        _converge(cell)
    _check_records(cell)
    breaches = [*cell.oracle.breaches, *cell.world.faults]
    cell.oracle.seen["late writes that counted"] += cell.truth.late_landed
    return Verdict(params.seed, breaches, cell.oracle.seen, cell.world.now_ms, cell.oracle.trace)


def _converge(cell: Cell) -> None:
    until_ms = cell.world.now_ms + CONVERGE_MS
    missing = ["nothing was looked at"]
    while missing and cell.world.now_ms < until_ms and not cell.oracle.breaches:
        cell.world.run(cell.world.now_ms + LOOK_MS)
        missing = list(_missing(cell))
    if missing and not cell.oracle.breaches:
        cell.oracle.breach("I8", f"not converged {CONVERGE_MS} ms after the heal: {'; '.join(missing)}")


def _missing(cell: Cell) -> Iterator[str]:
    """Say what still keeps the cell from rest."""
    leading = [admin for admin in cell.admins.values() if admin.is_leading]
    if len(leading) != 1:
        yield f"{len(leading)} admins lead"
        return
    if not all(client.is_idle for client in cell.clients):
        yield "clients still work"
        return
    leader, last = leading[0], cell.oracle.last
    if last is None or leader.machine.journal.sequence != last.sequence:
        known = leader.machine.journal.sequence
        yield f"the leader knows record {known}, the newest is {last and last.sequence}"
        return
    specs = {spec.name: spec for spec in cell.oracle.specs()}
    yield from _misplaced(cell, specs)
    for watcher in cell.watchers:
        spec = specs.get(watcher.model)
        ready = frozenset(_ready_on(cell, spec)) if spec is not None else frozenset()
        if spec is not None and watcher.state.addresses != ready:
            yield f"{watcher.host.name} knows {sorted(watcher.state.addresses)}, ready are {sorted(ready)}"


def _misplaced(cell: Cell, wanted: Mapping[ModelName, ModelSpec]) -> Iterator[str]:
    for spec in wanted.values():
        ready, asked = _ready_on(cell, spec), min(spec.replicas, len(cell.servers))
        if len(ready) != asked:
            yield f"{spec.name} is ready on {ready}, asked for on {asked}"
        held = [name for name, server in sorted(cell.servers.items()) if spec.name in server.models]
        if held != ready:
            yield f"{spec.name} is held by {held}, ready as wanted on {ready}"
    for name, server in cell.servers.items():
        strays = sorted(model for model in server.models if model not in wanted)
        if strays:
            yield f"{name} holds {strays}, which nobody wants"


def _ready_on(cell: Cell, spec: ModelSpec) -> list[str]:
    digest = digest_of(spec)
    return [
        name
        for name, server in sorted(cell.servers.items())
        if (held := server.models.get(spec.name)) is not None
        and held.state == State.LOADED
        and held.digest == digest
    ]


def _check_records(cell: Cell) -> None:
    """Read all records again as the next admin would: each is whole and follows the one before."""
    numbers = {roots.slot_of(name): name for name in cell.truth.names(roots.state_prefix(CELL), "")}
    newest = cell.oracle.last.sequence if cell.oracle.last else 0
    first = max(1, newest - (RECORDS_KEPT if cell.params.seed % READ_ALL_EVERY == 0 else 1) + 1)
    crc = None
    for number in range(first, newest + 1):
        if number not in numbers:
            cell.oracle.breach("I1", f"record {number} is not there")
            continue
        record, found_crc = codec.decode(cell.truth.objects[numbers[number]].data)
        if crc is not None and record.previous_crc != crc:
            cell.oracle.breach("I1", f"record {number} does not name the checksum of the record before it")
        crc = found_crc
