"""What is seen of one model server: its offer, its last answer, and the orders that are under way.

The life of a `ServerView`: made by a Join or by a hint, filled by the first GetStatus answer of this
term, refreshed by every later one, emptied when the process behind the address turns out to be another
run, dropped when nothing has been heard for long. Owned by the machine; nobody else changes it.

A poll that was sent before an order finished shows the world from before that order. It counts as a sign
of life and for nothing else; otherwise a replica would flicker out of routing each time it gets ready.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from enum import Enum, IntEnum
from typing import TYPE_CHECKING

from sax_admin.core.cell import NO_DIGEST, Digest, ServerHint, ServerOffer, Term
from sax_admin.core.liveness import Liveness, liveness
from sax_admin.core.progress import LOOK_AGAIN_MS, EngineWatch

if TYPE_CHECKING:
    from sax_common.names import ModelName

    from sax_admin.core.cell import ModelSpec, Pairs, ServerAddress

# Wait after the first failed attempt; doubled for each further one up to the bound.
RETRY_FIRST_MS = 2_000
RETRY_LAST_MS = 300_000
# What a model takes while it loads, compared with what it takes afterwards; our model server's own figure.
BESIDE_HEADROOM = 1.5


class Status(IntEnum):
    """State of a model on a server, numbered as `sax.ModelStatus`."""

    NONE = 0
    LOADING = 1
    LOADED = 2
    FAILED = 3
    UNLOADING = 4


class OrderKind(Enum):
    """What a server can be told to do with a model."""

    LOAD = "load"
    UNLOAD = "unload"
    UPDATE_ACLS = "update_acls"
    UPDATE_CHECKPOINT = "update_checkpoint"


@dataclass(frozen=True, slots=True, kw_only=True)
class Order:
    """One thing to tell one server. `spec` is None for an unload."""

    kind: OrderKind
    server: ServerAddress
    model: ModelName
    term: Term
    incarnation: str
    spec: ModelSpec | None = None
    digest: Digest = NO_DIGEST
    is_guarded: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Traffic:
    """Calls of one model on one server over the server's last minute: sums and means over its methods.

    `p99_s` is the slowest method's; latencies are 0 while nothing succeeds.
    """

    successes_per_s: float = 0.0
    errors_per_s: float = 0.0
    mean_s: float = 0.0
    p99_s: float = 0.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Progress:
    """What the engine of one model is doing. `step_age_ms` is 0 when no step is in flight."""

    queued: int = 0
    running: int = 0
    steps_finished: int = 0
    step_age_ms: int = 0
    slowest_step_ms: int = 0
    is_compiling: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class SeenModel:
    """One model as its server reports it. Traffic is for people; nothing is decided by it."""

    status: Status
    digest: Digest = NO_DIGEST
    failure_reason: str = ""
    memory_bytes: int = 0
    methods: tuple[str, ...] = ()
    load_fraction: float = 0.0
    traffic: Traffic = field(default_factory=Traffic)
    progress: Progress = field(default_factory=Progress)


@dataclass(frozen=True, slots=True, kw_only=True)
class Report:
    """One GetStatus answer as values. `total_bytes` 0 means that the server does not report memory."""

    models: dict[ModelName, SeenModel]
    incarnation: str = ""
    highest_term: int = 0
    total_bytes: int = 0
    used_bytes: int = 0
    is_draining: bool = False
    is_dormant: bool = False
    rejections_per_s: float = 0.0


@dataclass(frozen=True, slots=True)
class Attempt:
    """Failed tries of one spec on one server since it last went well, and when to try again."""

    digest: Digest
    failures: int
    retry_at_ms: int
    reason: str


def next_attempt(last: Attempt | None, digest: Digest, reason: str, now_ms: int) -> Attempt:
    """Count one more failure and set the time of the next try: 2 s, 4 s, 8 s ... 5 min."""
    failures = last.failures + 1 if last is not None and last.digest == digest else 1
    wait_ms = min(RETRY_LAST_MS, RETRY_FIRST_MS << min(failures - 1, 16))
    return Attempt(digest, failures, now_ms + wait_ms, reason)


@dataclass(slots=True, kw_only=True)
class ServerView:
    """Everything seen of one server. `answered_ms` is None until it has answered at this term.

    `is_to_drain` is copied from what is wanted at each reconcile.
    """

    address: ServerAddress
    data_address: str
    debug_address: str = ""
    offer: ServerOffer = field(default_factory=ServerOffer)
    known_since_ms: int = 0
    answered_ms: int | None = None
    next_poll_ms: int = 0
    is_polled: bool = False
    is_hinted: bool = False
    is_written_off: bool = False
    is_to_drain: bool = False
    report: Report = field(default_factory=lambda: Report(models={}))
    ordered: dict[ModelName, Digest] = field(default_factory=dict)
    acls_told: dict[ModelName, Pairs] = field(default_factory=dict)
    attempts: dict[ModelName, Attempt] = field(default_factory=dict)
    unload_attempts: dict[ModelName, Attempt] = field(default_factory=dict)
    in_flight: dict[ModelName, Order] = field(default_factory=dict)
    engines: EngineWatch = field(default_factory=EngineWatch)
    rejections_before_per_s: float = 0.0
    wake_at_ms: int = 0
    orders_changed: int = 0
    unknown: bytes = b""

    @property
    def seen(self) -> dict[ModelName, SeenModel]:
        """Models on the server as last reported, corrected by orders that finished since."""
        return self.report.models

    @property
    def is_original(self) -> bool:
        """True for a model server that reports no incarnation (DESIGN D15)."""
        return not self.report.incarnation

    def seen_digest(self, model: ModelName, wanted: Digest) -> Digest:
        """Return what is loaded: as reported, else as last ordered, else it is taken to be what is wanted."""
        return self.seen[model].digest or self.ordered.get(model) or wanted

    def liveness(self, now_ms: int) -> Liveness:
        """Judge the server by its silence."""
        return liveness(
            answered_ms=self.answered_ms,
            known_since_ms=self.known_since_ms,
            now_ms=now_ms,
            is_original=self.is_original,
        )

    def is_ready(self, model: ModelName) -> bool:
        """Tell whether clients may be sent here for `model`, given that the server is alive.

        Not while it drains or its engines stand still, nor once something is under way that will take the
        model away.
        """
        seen = self.seen.get(model)
        if seen is None or seen.status != Status.LOADED or self.report.is_draining or self.engines.stuck:
            return False
        under_way = self.in_flight.get(model)
        if under_way is None or under_way.kind in (OrderKind.UPDATE_ACLS, OrderKind.LOAD):
            return True
        # Our servers go on with the old checkpoint while they load the new one, if both fit.
        return under_way.kind == OrderKind.UPDATE_CHECKPOINT and self.fits_beside(model)

    def fits_beside(self, model: ModelName) -> bool:
        """Tell whether the server goes on serving `model` while it loads another checkpoint of it."""
        seen = self.seen.get(model)
        if self.is_original or seen is None:
            return False
        free_bytes = self.report.total_bytes - self.report.used_bytes
        return not self.report.total_bytes or free_bytes > BESIDE_HEADROOM * seen.memory_bytes

    def hint(self) -> ServerHint:
        """Return what to remember of this server for the next leader."""
        return ServerHint(
            address=self.address,
            data_address=self.data_address,
            debug_address=self.debug_address,
            offer=self.offer,
            ordered=tuple(sorted(self.ordered.items())),
            unknown=self.unknown,
        )

    def answer(self, report: Report, orders_changed: int, now_ms: int) -> bool:
        """Take in a GetStatus answer to a poll sent when `orders_changed` had the given value.

        Returns whether anything changed that decisions depend on.
        """
        is_first = self.answered_ms is None
        self.answered_ms, self.is_written_off = now_ms, False
        is_other_run = report.incarnation != self.report.incarnation and not is_first
        if is_other_run:
            self.acls_told.clear()
            self.attempts.clear()
            self.unload_attempts.clear()
            self.in_flight.clear()
            self.orders_changed += 1
        elif orders_changed != self.orders_changed:
            self.next_poll_ms = now_ms
            return is_first
        changed = is_first or is_other_run or _differs(self.report, report)
        self.rejections_before_per_s = report.rejections_per_s if is_first else self.report.rejections_per_s
        self.report = report
        changed |= self.engines.note({name: seen.progress for name, seen in report.models.items()}, now_ms)
        if self.engines.is_doubtful:
            self.next_poll_ms = min(self.next_poll_ms, now_ms + LOOK_AGAIN_MS)
        self._note_failures(now_ms)
        for model in [m for m in self.ordered if m not in report.models and m not in self.in_flight]:
            del self.ordered[model]
        for model in [m for m in self.acls_told if m not in report.models]:
            del self.acls_told[model]
        for model in [m for m in self.unload_attempts if m not in report.models]:
            del self.unload_attempts[model]
        return changed

    def _note_failures(self, now_ms: int) -> None:
        """Plan a retry for what is FAILED here without our having heard of it from an order."""
        for model, seen in self.seen.items():
            if seen.status == Status.FAILED and model not in self.in_flight:
                digest = seen.digest or self.ordered.get(model, NO_DIGEST)
                last = self.attempts.get(model)
                if last is None or last.digest != digest:
                    self.attempts[model] = next_attempt(None, digest, seen.failure_reason, now_ms)
            elif seen.status == Status.LOADED and model not in self.in_flight:
                last = self.attempts.get(model)
                if last is not None and last.digest == seen.digest:
                    del self.attempts[model]

    def start(self, order: Order) -> None:
        """Note that `order` is under way."""
        self.in_flight[order.model] = order
        self.orders_changed += 1
        if order.kind in (OrderKind.LOAD, OrderKind.UPDATE_CHECKPOINT):
            self.ordered[order.model] = order.digest

    def finish(self, order: Order, error: str | None, now_ms: int) -> bool:
        """Take in the end of an order; false when it is not one of those under way (it was superseded)."""
        if self.in_flight.get(order.model) is not order:
            return False
        del self.in_flight[order.model]
        self.orders_changed += 1
        self.next_poll_ms = now_ms
        if error is not None:
            self._fail(order, error, now_ms)
        else:
            self._succeed(order)
        return True

    def _succeed(self, order: Order) -> None:
        if order.kind == OrderKind.UNLOAD:
            self.seen.pop(order.model, None)
            self.ordered.pop(order.model, None)
            self.acls_told.pop(order.model, None)
            self.unload_attempts.pop(order.model, None)
            return
        if order.spec is not None:
            self.acls_told[order.model] = order.spec.acls
        if order.kind == OrderKind.UPDATE_ACLS:
            return
        self.attempts.pop(order.model, None)
        old = self.seen.get(order.model)
        # An original answers OK to a reload that failed; its next poll tells the truth (W25).
        self.seen[order.model] = SeenModel(
            status=Status.LOADED,
            digest=NO_DIGEST if self.is_original else order.digest,
            memory_bytes=old.memory_bytes if old else 0,
            methods=old.methods if old else (),
            traffic=old.traffic if old else Traffic(),
            progress=old.progress if old else Progress(),
        )

    def _fail(self, order: Order, error: str, now_ms: int) -> None:
        tries = self.unload_attempts if order.kind == OrderKind.UNLOAD else self.attempts
        tries[order.model] = next_attempt(tries.get(order.model), order.digest, error, now_ms)


def _differs(one: Report, other: Report) -> bool:
    """Tell whether two reports differ in what decisions depend on: not progress, nor use of memory."""
    return (
        one.is_draining != other.is_draining
        or one.is_dormant != other.is_dormant
        or one.incarnation != other.incarnation
        or one.total_bytes != other.total_bytes
        or one.models.keys() != other.models.keys()
        or any(_weight(seen) != _weight(other.models[name]) for name, seen in one.models.items())
    )


def _weight(seen: SeenModel) -> tuple[object, ...]:
    return (seen.status, seen.digest, seen.failure_reason, seen.methods)
