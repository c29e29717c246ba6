"""What one schedule is like: everything is drawn from its seed, once, before it begins.

Swarm testing: each schedule switches most faults off and a few on, at rates of its own, so that no fault
hides behind another. The numbers follow reference/reliability.md 1.4, 2.1 and 3.2.

    0 ------------- faults, clients change and read ------------- heal --- converge, at most CONVERGE_MS --->
"""

from __future__ import annotations

import random
from dataclasses import dataclass, field, replace
from enum import Enum

FAULTS_MS = 22_000
# After the heal: the promise is 30 s (reliability I8); loads and the wait after a failed one come on top.
CONVERGE_MS = 75_000
MODELS = ("m0", "m1", "m2", "m3")


class Kind(Enum):
    """What may be done to a cell at a moment."""

    PAUSE = "pause"
    CRASH = "crash"
    END = "end"
    CUT_STORE = "cut the store off from"
    CUT_LINKS = "cut the links of"
    CUT_ONE_WAY = "cut what comes from"
    SWIZZLE = "swizzle"
    WALL_JUMP = "move the wall clock of"
    STORE_DOWN = "refuse all store calls, seen by"


@dataclass(frozen=True, slots=True, order=True)
class Fault:
    """One fault. `target` is an address, or "leader": whoever leads when its time comes."""

    at_ms: int
    kind: Kind = field(compare=False)
    target: str = field(compare=False)
    duration_ms: int = field(compare=False, default=0)

    def __str__(self) -> str:
        """Tell a person."""
        return f"at {self.at_ms} ms {self.kind.value} {self.target} for {self.duration_ms} ms"


@dataclass(frozen=True, slots=True, kw_only=True)
class Params:
    """One schedule before it runs. Rates are per call, times in true milliseconds."""

    seed: int
    admins: int = 3
    servers: int = 2
    clients: int = 3
    watchers: int = 1
    grain_ms: int = 400
    think_ms: int = 300
    give_up: float = 0.0
    reads: float = 0.2
    drift: float = 0.0
    store_hop_ms: float = 15.0
    store_refused: float = 0.0
    store_lost: float = 0.0
    store_late: float = 0.0
    store_slow: float = 0.0
    store_slow_ms: float = 20_000.0
    net_hop_ms: float = 2.0
    net_lost: float = 0.0
    net_slow: float = 0.0
    net_copied: float = 0.0
    load_ms: int = 800
    load_failures: float = 0.0
    orphans: int = 0
    faults: tuple[Fault, ...] = ()
    times: tuple[int, int, int] = (6_000, 4_000, 1_200)


def draw(seed: int) -> Params:
    """Draw the parameters of a schedule."""
    chance = random.Random(f"params/{seed}")  # noqa: S311  # Not a secret.

    def rare(share: float, low: float, high: float) -> float:
        return chance.uniform(low, high) if chance.random() < share else 0.0

    params = Params(
        seed=seed,
        admins=chance.choice((2, 3, 3)),
        # Half without servers: the rules of the store need the most seeds and are then twice as fast.
        servers=chance.choice((0, 0, 0, 1, 2, 3)),
        clients=chance.choice((2, 3, 4)),
        watchers=chance.choice((0, 1, 2)),
        grain_ms=chance.choice((100, 300, 600, 600)),
        think_ms=chance.choice((250, 500, 900)),
        give_up=rare(0.3, 0.2, 0.6),
        drift=rare(0.5, 0.02, 0.2),
        store_hop_ms=chance.choice((2.0, 15.0, 50.0)),
        store_refused=rare(0.4, 0.01, 0.1),
        store_lost=rare(0.5, 0.01, 0.1),
        store_late=rare(0.4, 0.01, 0.06),
        store_slow=rare(0.2, 0.005, 0.03),
        net_lost=rare(0.3, 0.002, 0.05),
        net_slow=rare(0.3, 0.005, 0.05),
        net_copied=rare(0.3, 0.02, 0.2),
        load_ms=chance.choice((200, 800, 3_000)),
        load_failures=rare(0.3, 0.05, 0.4),
        times=chance.choice(((6_000, 4_000, 1_200), (6_000, 4_000, 1_200), (3_000, 2_000, 600))),
    )
    return replace(params, faults=_faults(chance, params))


def _faults(chance: random.Random, params: Params) -> tuple[Fault, ...]:
    """Draw which faults happen when; leaders are hit on purpose more often than others."""
    kinds = chance.sample(list(Kind), chance.randint(2, 5))
    faults = [_fault(chance, params, chance.choice(kinds)) for _ in range(chance.randint(2, 7))]
    # Every schedule sees a leader die: a schedule without an election proves little.
    at_ms = chance.randint(3_000, FAULTS_MS - 9_000)
    faults.append(Fault(at_ms, Kind.CRASH, "leader", chance.randint(500, 20_000)))
    return tuple(sorted(faults))


def _fault(chance: random.Random, params: Params, kind: Kind) -> Fault:
    admins = [f"admin{number}" for number in range(params.admins)]
    servers = [f"server{number}" for number in range(params.servers)]
    only_admins = kind in (Kind.END, Kind.CUT_STORE, Kind.STORE_DOWN)
    if chance.random() < 0.5:  # noqa: PLR2004
        target = "leader"
    else:
        target = chance.choice(admins if only_admins or not servers else admins + servers)
    most_ms = {Kind.PAUSE: 45_000, Kind.CUT_STORE: 40_000, Kind.STORE_DOWN: 15_000}.get(kind, 25_000)
    # Short ones too: a pause below the lease must do no harm, one between deadline and lease is the hard one.
    duration_ms = int(chance.choice((chance.uniform(500, 8_000), chance.uniform(500, most_ms))))
    if kind == Kind.WALL_JUMP:
        duration_ms = chance.choice((-86_400_000, -3_600_000, -30_000, 30_000, 3_600_000))
    return Fault(chance.randint(1_000, FAULTS_MS - 3_000), kind, target, duration_ms)
