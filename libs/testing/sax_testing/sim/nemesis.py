"""Carries out the faults of a schedule, and heals everything at its end.

Faults overlap; whatever is counted (cuts) is counted, so that the end of one does not heal another.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from sax_testing.sim.params import FAULTS_MS, Fault, Kind

if TYPE_CHECKING:
    from collections.abc import Callable

    from sax_testing.sim.cell import Cell

SWIZZLE_STEP_MS = 700


class Nemesis:
    """Owned by the world; acts on the cell from outside, as an operator's worst day does."""

    def __init__(self, cell: Cell) -> None:
        """Plan all faults of the cell's schedule and the heal."""
        self._cell = cell
        self._chance = cell.chance("nemesis")
        self._undo: list[Callable[[], None]] = []
        for fault in cell.params.faults:
            cell.world.after(fault.at_ms, None, self._strike, fault)
        cell.world.after(FAULTS_MS, None, self.heal)

    def _strike(self, fault: Fault) -> None:  # noqa: C901  # A flat table: one line per kind.
        cell = self._cell
        target = fault.target
        if target == "leader":
            leader = cell.leader()
            target = leader.host.name if leader is not None else self._chance.choice(cell.admin_names)
            cell.oracle.seen[f"{fault.kind.value} the leader"] += leader is not None
            if leader is not None and leader.machine.journal.under_way is not None:
                cell.oracle.seen["leader hit during a write"] += 1
        elif target not in cell.names:
            return  # A planted bug's weather has fewer servers than were drawn.
        cell.oracle.note("fault", fault.kind.value, target)
        match fault.kind:
            case Kind.PAUSE:
                self._pause(target, fault.duration_ms)
            case Kind.CRASH:
                self._crash(target, fault.duration_ms)
            case Kind.END:
                self._end(target, fault.duration_ms)
            case Kind.CUT_STORE:
                self._cut_store(target, fault.duration_ms)
            case Kind.CUT_LINKS:
                self._cut(target, fault.duration_ms, out=True, back=True)
            case Kind.CUT_ONE_WAY:
                self._cut(target, fault.duration_ms, out=True, back=False)
            case Kind.SWIZZLE:
                self._swizzle()
            case Kind.WALL_JUMP:
                cell.host(target).wall_jump_ms += fault.duration_ms
            case Kind.STORE_DOWN:
                self._store_down(fault.duration_ms)

    def _later(self, delay_ms: float, undo: Callable[[], None]) -> None:
        """Undo a fault after a while, or at the heal, once."""

        def once() -> None:
            if once in self._undo:
                self._undo.remove(once)
                undo()

        self._undo.append(once)
        self._cell.world.after(delay_ms, None, once)

    def heal(self) -> None:
        """End all faults, for good."""
        cell = self._cell
        for undo in list(self._undo):
            undo()
        cell.store_faults.refused = cell.store_faults.lost_reply = 0.0
        cell.store_faults.late = cell.store_faults.slow = 0.0
        cell.net_faults.lost = cell.net_faults.slow = cell.net_faults.copied = 0.0
        for server in cell.servers.values():
            server.does_load_fail = 0.0
        cell.truth.land_all()
        cell.oracle.disturbed()

    # ---- Faults ----

    def _pause(self, name: str, duration_ms: float) -> None:
        host = self._cell.host(name)
        if not host.is_alive or host.is_paused:
            return
        host.pause()
        since_ms = self._cell.world.now_ms

        def resume() -> None:
            if name in self._cell.server_names:
                self._cell.oracle.disturbed()
            self._cell.oracle.disturbed(self._cell.world.now_ms - since_ms)
            host.resume()

        if name in self._cell.server_names:
            self._cell.oracle.disturbed()
        self._later(duration_ms, resume)

    def _crash(self, name: str, down_ms: float) -> None:
        host = self._cell.host(name)
        if not host.is_alive:
            return
        host.crash()
        if name in self._cell.server_names:
            self._cell.oracle.disturbed()
        self._later(down_ms, lambda: self._restart(name))

    def _restart(self, name: str) -> None:
        if not self._cell.host(name).is_alive:
            self._cell.start(name)
            if name in self._cell.server_names:
                self._cell.oracle.disturbed()

    def _end(self, name: str, down_ms: float) -> None:
        admin = self._cell.admins[name]
        if admin.host.is_alive and not admin.host.is_paused:
            admin.host.start(admin.end())
            self._later(8_000 + down_ms, lambda: self._restart(name))

    def _cut_store(self, name: str, duration_ms: float) -> None:
        cuts, stores = self._cell.store_cuts, self._cell.stores

        def change(by: int) -> None:
            cuts[name] = cuts.get(name, 0) + by
            stores[name].is_cut = cuts[name] > 0

        change(1)
        self._later(duration_ms, lambda: change(-1))

    def _cut(self, name: str, duration_ms: float, *, out: bool, back: bool) -> None:
        """Cut a process off from the other processes, or from one of them."""
        others = [other for other in self._cell.names if other != name]
        if self._chance.random() < 0.5:  # noqa: PLR2004
            others = [self._chance.choice(others)]
        links = [(name, other) for other in others if out] + [(other, name) for other in others if back]
        self._change_links(links, 1)
        self._later(duration_ms, lambda: self._change_links(links, -1))

    def _change_links(self, links: list[tuple[str, str]], by: int) -> None:
        cuts = self._cell.network.cuts
        for link in links:
            cuts[link] = cuts.get(link, 0) + by
        self._cell.oracle.disturbed()

    def _swizzle(self) -> None:
        """Cut a random half of all processes one by one, and join them again in another order."""
        names = self._chance.sample(self._cell.names, (len(self._cell.names) + 1) // 2)
        back = self._chance.sample(names, len(names))
        for number, name in enumerate(names):
            links = [link for other in self._cell.names for link in ((name, other), (other, name))]
            until_ms = (len(names) + back.index(name)) * SWIZZLE_STEP_MS
            self._cell.world.after(number * SWIZZLE_STEP_MS, None, self._change_links, links, 1)
            self._cell.world.after(until_ms, None, self._change_links, links, -1)

    def _store_down(self, duration_ms: float) -> None:
        faults, was = self._cell.store_faults, self._cell.store_faults.refused
        faults.refused = 1.0

        def up() -> None:
            faults.refused = was

        self._later(duration_ms, up)
