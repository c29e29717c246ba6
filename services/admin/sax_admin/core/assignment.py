"""Which server gets which model: one deterministic rule for both of the original's assigners.

Called with all that is wanted and all servers that may hold something; returns where every replica
belongs. Equal inputs give equal placements, whatever order they come in.

    keep   a replica stays where it is LOADED, LOADING or already placed, best first, up to the wanted number
    fill   then every model in turn takes one more server until all have enough or nothing fits, so that
           one greedy model cannot starve the others

A server *may* take a model when it offers the model's path (exact text), has every tag that the override
`constraints` names, and has room. Room is counted in bytes:

    capacity   reported memory less what the process uses outside its models; else by chip (see `chips`)
    charge     the override `ram<cores>` or `ram`; else what the model was measured to take; else, on a
               server that reports memory, a quarter of it; else the whole server

So without any figures a server holds one model, as in the original's default assigner; with `ram` it
holds as many as fit, as in its experimental one; and a server that reports memory shares it, but an idle
server is always taken first. Among equals: fewer failed loads, idle, more room, lower address.

Never places a model twice on one server, and never takes a loaded replica away to make room.
"""

from __future__ import annotations

from collections import defaultdict
from dataclasses import dataclass, field
from enum import IntEnum
from functools import lru_cache, partial
from typing import TYPE_CHECKING

from sax_admin.core import chips

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

    from sax_common.names import ModelName

    from sax_admin.core.cell import ModelSpec, Pairs, ServerAddress, ServerOffer

Placement = dict["ModelName", tuple["ServerAddress", ...]]

_UNMEASURED_SHARE = 4


class Hold(IntEnum):
    """How firmly a server holds a model; smaller is kept first."""

    LOADED = 0
    LOADING = 1
    PLACED = 2
    FAILED = 3


@dataclass(frozen=True, slots=True)
class Held:
    """One model on one server as it is seen: how firmly, in how many bytes, after how many failed loads."""

    hold: Hold
    memory_bytes: int = 0
    failed_loads: int = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class Room:
    """A server as the assigner sees it. `total_bytes` 0 means that it does not report memory.

    `is_open` is false for a server that may keep what it holds but takes nothing new (it has missed polls).
    """

    offer: ServerOffer
    is_open: bool = True
    total_bytes: int = 0
    used_bytes: int = 0
    held: Mapping[ModelName, Held] = field(default_factory=dict)

    def capacity(self) -> int:
        """Return the bytes that models may take here."""
        if not self.total_bytes:
            return chips.memory_bytes(self.offer.chip_type, self.offer.chip_topology)
        outside = self.used_bytes - sum(held.memory_bytes for held in self.held.values())
        return self.total_bytes - max(0, outside)


@lru_cache(maxsize=8192)
def declared_bytes(overrides: Pairs, cores: int) -> int | None:
    """Return the memory that `ram` overrides declare for a server of `cores`; None when there are none.

    Entries that are no decimal number are ignored, as in the original.
    """
    needs: dict[int, int] = {}
    for key, value in overrides:
        count = key.removeprefix("ram") if key.startswith("ram") else "?"
        if (count == "" or count.isdecimal()) and value.strip().isdecimal():
            needs[int(count or 1)] = int(value)
    if not needs:
        return None
    return needs.get(cores, needs.get(1, 0))


@lru_cache(maxsize=8192)
def constraints(overrides: Pairs) -> frozenset[str]:
    """Return the tags that a server must have, from the override `constraints`."""
    text = dict(overrides).get("constraints", "").strip().strip('"')
    return frozenset(part.strip() for part in text.split(",") if part.strip())


def suits(spec: ModelSpec, offer: ServerOffer) -> bool:
    """Tell whether a server offers the model's path and has the tags that it asks for."""
    return spec.model_path in offer.model_paths and constraints(spec.overrides).issubset(offer.tags)


def charge(spec: ModelSpec, room: Room, measured: Mapping[ModelName, int]) -> int:
    """Return the bytes that one replica of `spec` is counted for on this server."""
    declared = declared_bytes(spec.overrides, chips.cores(room.offer.chip_topology))
    if declared is not None:
        return declared
    if not room.total_bytes:
        return room.capacity()
    here = room.held.get(spec.name)
    known = (here.memory_bytes if here else 0) or measured.get(spec.name, 0)
    return known or room.total_bytes // _UNMEASURED_SHARE


class Ledger:
    """What is placed so far and what room is left. Owned by one `assign` call, dropped after it."""

    def __init__(self, servers: Mapping[ServerAddress, Room]) -> None:
        """Start with nothing placed."""
        self.servers = servers
        self.free = {address: room.capacity() for address, room in servers.items()}
        self.count: dict[ServerAddress, int] = defaultdict(int)
        self.placed: dict[ModelName, list[ServerAddress]] = defaultdict(list)
        self.measured = _measured(servers.values())

    def fits(self, spec: ModelSpec, address: ServerAddress) -> bool:
        """Tell whether there is room for one more replica.

        An idle server may try whatever declares no need and was not measured to be too large: it can
        refuse, and a guess must not keep a model from the only server there is.
        """
        room = self.servers[address]
        is_guess = declared_bytes(spec.overrides, chips.cores(room.offer.chip_topology)) is None
        if is_guess and not self.count[address]:
            return not room.total_bytes or self.measured.get(spec.name, 0) <= room.total_bytes
        return charge(spec, self.servers[address], self.measured) <= self.free[address]

    def place(self, spec: ModelSpec, address: ServerAddress) -> None:
        """Put a replica down and count its bytes."""
        self.free[address] -= charge(spec, self.servers[address], self.measured)
        self.count[address] += 1
        self.placed[spec.name].append(address)


def assign(
    models: Iterable[ModelSpec],
    servers: Mapping[ServerAddress, Room],
    previous: Mapping[ModelName, Sequence[ServerAddress]],
) -> Placement:
    """Say where every replica belongs; `previous`, the last answer, stays where nothing speaks against it."""
    ledger = Ledger(servers)
    ordered = sorted(models, key=_by_need)
    holders = _holders(servers, previous)
    for spec in ordered:
        _keep(spec, holders.get(spec.name, ()), ledger)
    _fill(ordered, ledger)
    return {spec.name: tuple(sorted(ledger.placed[spec.name])) for spec in ordered}


def _by_need(spec: ModelSpec) -> tuple[float, str]:
    need = declared_bytes(spec.overrides, 1)
    return (-need if need is not None else float("-inf"), spec.name)


def _measured(rooms: Iterable[Room]) -> dict[ModelName, int]:
    most: dict[ModelName, int] = {}
    for room in rooms:
        for name, held in room.held.items():
            most[name] = max(most.get(name, 0), held.memory_bytes)
    return most


def _holders(
    servers: Mapping[ServerAddress, Room], previous: Mapping[ModelName, Sequence[ServerAddress]]
) -> dict[ModelName, list[ServerAddress]]:
    """Return per model the servers that hold it or were given it, best first."""
    found: dict[ModelName, set[ServerAddress]] = defaultdict(set)
    for address, room in servers.items():
        for name in room.held:
            found[name].add(address)
    for name, addresses in previous.items():
        found[name].update(address for address in addresses if address in servers)

    def rank(name: ModelName, address: ServerAddress) -> tuple[int, bool, ServerAddress]:
        room = servers[address]
        held = room.held.get(name)
        return (held.hold if held else Hold.PLACED, not room.is_open, address)

    return {name: sorted(addresses, key=partial(rank, name)) for name, addresses in found.items()}


def _keep(spec: ModelSpec, holders: Sequence[ServerAddress], ledger: Ledger) -> None:
    """Keep the firmest replicas of one model. Failed ones are left to `_fill`: it may know a better place."""
    for address in holders:
        if len(ledger.placed[spec.name]) >= spec.replicas:
            return
        room = ledger.servers[address]
        held = room.held.get(spec.name)
        hold = held.hold if held else Hold.PLACED
        # Measured bytes never evict what is loaded; declared ones do, for the publisher said so.
        declared = declared_bytes(spec.overrides, chips.cores(room.offer.chip_topology)) is not None
        has_room = ledger.fits(spec, address) or (hold <= Hold.LOADING and not declared)
        # A hinted server has not said yet what it offers; what it has loaded speaks for itself.
        is_known = bool(room.offer.model_paths)
        is_suited = suits(spec, room.offer) if is_known else hold <= Hold.LOADING
        if (
            hold <= Hold.PLACED
            and has_room
            and is_suited
            and not (held and held.failed_loads and hold == Hold.PLACED)
        ):
            ledger.place(spec, address)


def _fill(ordered: Sequence[ModelSpec], ledger: Ledger) -> None:
    offering: dict[str, list[ServerAddress]] = defaultdict(list)
    for address, room in ledger.servers.items():
        if room.is_open:
            for path in room.offer.model_paths:
                offering[path].append(address)
    short = [spec for spec in ordered if len(ledger.placed[spec.name]) < spec.replicas]
    while short:
        short = [
            spec
            for spec in short
            if _take_one(spec, offering.get(spec.model_path, ()), ledger)
            and len(ledger.placed[spec.name]) < spec.replicas
        ]


def _take_one(spec: ModelSpec, candidates: Iterable[ServerAddress], ledger: Ledger) -> bool:
    """Place one more replica on the best candidate; false when none fits."""
    taken = set(ledger.placed[spec.name])

    def preference(address: ServerAddress) -> tuple[int, bool, int, ServerAddress]:
        held = ledger.servers[address].held.get(spec.name)
        return (held.failed_loads if held else 0, ledger.count[address] > 0, -ledger.free[address], address)

    fitting = [
        address
        for address in candidates
        if address not in taken and suits(spec, ledger.servers[address].offer) and ledger.fits(spec, address)
    ]
    if not fitting:
        return False
    ledger.place(spec, min(fitting, key=preference))
    return True
