"""One model of the table: what was asked for, its state, what it is doing. Owned by the event loop."""

import asyncio
from collections import deque
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

from sax_common.clock import Clock
from sax_common.errors import SaxError, kind
from sax_engine.core.engine import EngineSnapshot
from sax_runtime import metrics
from sax_zoo.servable import MethodSpec

from sax_model.core import lifecycle
from sax_model.core.admission import LoadedView, MethodView, acl_of, request_limit
from sax_model.core.lifecycle import Event, State
from sax_model.core.method_stats import MethodReport, MethodStats
from sax_model.hosted_model import HostedModel
from sax_model.loader import LoadJob, LoadSpec
from sax_model.mailbox import LaneId, StepInFlight, Stepped

STEPS_REMEMBERED = 100


class HostedMethod:
    """One method of a loaded model: its limits and what it has done."""

    def __init__(self, name: str, spec: MethodSpec) -> None:
        self.spec = spec
        self.limit = request_limit(spec.batch_size, spec.max_live_batches)
        self.stats = MethodStats(name)


@dataclass(frozen=True, slots=True, kw_only=True)
class ModelReport:
    """What GetStatus says about one model."""

    key: str
    state: State
    failure: str
    digest: bytes
    memory_bytes: int
    load_fraction: float
    methods: tuple[MethodReport, ...]
    snapshot: EngineSnapshot | None
    step_age_ms: int
    slowest_step_ms: int
    is_compiling: bool


class Entry:
    """A model from its Load to its Unload. A reload is another entry."""

    def __init__(self, spec: LoadSpec, job: LoadJob) -> None:
        self.spec = spec
        self.job = job
        self.state: State | None = lifecycle.after(None, Event.LOAD)
        self.failure = ""
        self.is_being_replaced = False
        self.lane = LaneId("")
        self.model: HostedModel | None = None
        self.task: asyncio.Task[None] | None = None
        self.methods: dict[str, HostedMethod] = {}
        self.snapshot: EngineSnapshot | None = None
        self._slots = 1
        self._step_times_ms: deque[int] = deque(maxlen=STEPS_REMEMBERED)
        self._idle = asyncio.Event()
        self._idle.set()

    def apply(self, event: Event) -> None:
        """Change the state by the table; raises IllegalTransition."""
        self.state = lifecycle.after(self.state, event)

    def install(self, lane: LaneId, model: HostedModel) -> None:
        """The load is done: from now on requests may come."""
        self.apply(Event.LOAD_DONE)
        self.lane, self.model = lane, model
        self.snapshot = model.engine.snapshot()
        self._slots = model.engine.request_limits.max_samples
        self.methods = {name: HostedMethod(name, spec) for name, spec in model.methods.items()}

    def fail(self, event: Event, reason: str) -> None:
        """Something went wrong for good; `reason` is what GetStatus and the Load call say."""
        self.apply(event)
        self.failure = reason

    @property
    def state_name(self) -> str:
        """The state in a word for people."""
        return self.state.value if self.state is not None else "gone"

    @property
    def in_flight(self) -> int:
        """Requests that have been admitted and are not over."""
        return sum(method.stats.pending for method in self.methods.values())

    def view(self) -> LoadedView | None:
        """Return what admission sees; None unless LOADED."""
        if self.state is not State.LOADED:
            return None
        return LoadedView(
            {
                name: MethodView(
                    is_streamable=method.spec.streamable,
                    limit=method.limit,
                    in_flight=method.stats.pending,
                    slots=self._slots,
                    acl=acl_of(self.spec.acls, name),
                )
                for name, method in self.methods.items()
            }
        )

    @contextmanager
    def counted(self, name: str, clock: Clock) -> Iterator[None]:
        """Count a request of method `name` from here to the end of the block, however it ends."""
        stats = self.methods[name].stats
        started_ms = clock.monotonic_ms()
        stats.begin()
        self._idle.clear()
        try:
            yield
        except BaseException:
            stats.error(clock.monotonic_ms())
            raise
        else:
            now_ms = clock.monotonic_ms()
            beside = self.snapshot.running if self.snapshot is not None else 0
            stats.success(now_ms, (now_ms - started_ms) / 1000, max(beside, 1))
        finally:
            if self.in_flight == 0:
                self._idle.set()

    async def idle(self) -> None:
        """Wait until no request is in flight."""
        await self._idle.wait()

    def stepped(self, news: Stepped) -> None:
        """Take note of a finished step."""
        self.snapshot = news.snapshot
        self._step_times_ms.append(news.step_ms)

    def report(self, now_ms: int, step: StepInFlight) -> ModelReport:
        """Return what GetStatus says; the entry must still be in the table."""
        if self.state is None:
            raise lifecycle.IllegalTransition(None, Event.UNLOAD)
        return ModelReport(
            key=self.spec.key,
            state=self.state,
            failure=self.failure,
            digest=self.spec.digest,
            memory_bytes=self.model.memory_bytes if self.model is not None else 0,
            load_fraction=self.job.fraction if self.state is State.LOADING else 0.0,
            methods=tuple(method.stats.report(now_ms) for _, method in sorted(self.methods.items())),
            snapshot=self.snapshot,
            step_age_ms=step.age_ms,
            is_compiling=step.is_compiling,
            slowest_step_ms=max(self._step_times_ms, default=0),
        )


def count_rejection(key: str, error: SaxError) -> None:
    """Count a request that was not admitted; `key` is "" for a model not here: anyone can name one."""
    metrics.REJECTED.labels(model=key, code=kind(error).name).inc()
