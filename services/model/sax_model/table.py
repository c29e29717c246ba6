"""The models of this server: who is here, in which state, and what they are doing.

An `Entry` comes in with an order to load (`orders.ModelOrders`), gets a lane when its engine goes to the
device thread, and leaves when the last of its requests is over. Requests enter through `admit`;
GetStatus reads `reports`; the device thread's news about steps and failed lanes end up here. Health and
metrics are told of every change of state.

Two entries may share a key for a while, when another checkpoint has taken over and the old one still has
requests: the table holds the newer one, the lanes hold both. Owned by the event loop.
"""

import itertools
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from sax_common.clock import Clock
from sax_common.errors import Internal, SaxError
from sax_runtime import metrics
from sax_runtime.health import Health

from sax_model.core.admission import Ask, ServerView, admit
from sax_model.core.lifecycle import Event, State
from sax_model.engine_metrics import EngineMetrics
from sax_model.entry import Entry, ModelReport, count_rejection
from sax_model.hosted_model import HostedModel
from sax_model.mailbox import LaneId, StepInFlight, Stepped


class ModelTable:
    """Every model of the process. `server` is what admission sees of the process itself."""

    def __init__(
        self, *, health: Health, clock: Clock, step_in_flight: Callable[[LaneId], StepInFlight]
    ) -> None:
        self._health = health
        self._clock = clock
        self._step_in_flight = step_in_flight
        self._entries: dict[str, Entry] = {}
        self._lanes: dict[LaneId, Entry] = {}
        self._engine_metrics: dict[LaneId, EngineMetrics] = {}
        self._lane_numbers = itertools.count(1)
        self.server = ServerView()

    def find(self, key: str) -> Entry | None:
        """Return the model of this name, whatever its state."""
        return self._entries.get(key)

    def put(self, entry: Entry) -> None:
        """Take in an entry that is LOADING, in place of one that has failed."""
        self._entries[entry.spec.key] = entry
        self.publish_state(entry)

    def drop(self, entry: Entry) -> None:
        """Forget an entry, unless another has taken its place."""
        if self._entries.get(entry.spec.key) is entry:
            del self._entries[entry.spec.key]
        self.publish_state(entry)

    def install(self, entry: Entry, model: HostedModel) -> None:
        """The load is done: give the entry a lane and, if it is not there yet, its place in the table.

        From now on requests are admitted to it; the caller hands the engine over on the same loop turn.
        """
        key = entry.spec.key
        lane = LaneId(f"{key}#{next(self._lane_numbers)}")
        old = self._entries.get(key)
        if old is not None and old is not entry:
            self._forget_metrics(old.lane)  # Their gauges carry the same labels as the new ones.
        entry.install(lane, model)
        self._entries[key] = entry
        self._lanes[lane] = entry
        self._engine_metrics[lane] = EngineMetrics(key, model)
        self.publish_state(entry)

    @contextmanager
    def admit(self, ask: Ask, check_extra_inputs: Callable[[Entry], None]) -> Iterator[Entry]:
        """Let a request in and count it until the block ends; raises what admission raises."""
        entry = self._entries.get(ask.model)
        view = entry.view() if entry is not None else None
        try:
            admit(
                ask,
                self.server,
                view,
                available=[key for key, each in self._entries.items() if each.state is State.LOADED],
                check_extra_inputs=lambda: check_extra_inputs(entry) if entry is not None else None,
            )
        except SaxError as error:
            count_rejection(ask.model if entry is not None else "", error)
            raise
        if entry is None:
            raise Internal("admission let a request in for a model that is not here")
        with entry.counted(ask.method, self._clock):
            yield entry

    def reports(self) -> list[ModelReport]:
        """Return what GetStatus says about each model, sorted by key."""
        now_ms = self._clock.monotonic_ms()
        return [
            entry.report(now_ms, self._step_in_flight(entry.lane))
            for _, entry in sorted(self._entries.items())
        ]

    @property
    def in_flight(self) -> int:
        """Requests that have been admitted and are not over, over all models."""
        return sum(entry.in_flight for entry in self._all())

    async def idle(self) -> None:
        """Wait until no request is in flight."""
        for entry in self._all():
            await entry.idle()

    def stepped(self, news: Stepped) -> None:
        """Take note of a finished step."""
        entry = self._lanes.get(news.lane)
        counters = self._engine_metrics.get(news.lane)
        if entry is not None:
            entry.stepped(news)
        if counters is not None:
            counters.stepped(news)

    def lane_failed(self, lane: LaneId, error: Exception) -> None:
        """An engine raised: its model is FAILED; the others go on."""
        entry = self.forget_lane(lane)
        if entry is not None:
            entry.fail(Event.LANE_FAILED, f"the engine failed: {type(error).__name__}: {error}")
            entry.model = None
            self.publish_state(entry)

    def metrics_of(self, lane: LaneId) -> EngineMetrics | None:
        """Return where requests of this lane are counted; None once it is gone."""
        return self._engine_metrics.get(lane)

    def forget_lane(self, lane: LaneId) -> Entry | None:
        """Take a lane away and return its entry, None when it is gone already."""
        self._forget_metrics(lane)
        return self._lanes.pop(lane, None)

    def _forget_metrics(self, lane: LaneId) -> None:
        counters = self._engine_metrics.pop(lane, None)
        if counters is not None:
            counters.close()

    def publish_state(self, entry: Entry) -> None:
        """Tell health and metrics; afterwards both know what GetStatus would say."""
        name = f"model:{entry.spec.key}"
        current = self._entries.get(entry.spec.key)
        if current is None or current.state is None:
            self._health.remove(name)
        else:
            reason = current.failure or current.state_name
            self._health.set(name, current.state is State.LOADED, reason)
        for state in State:
            count = sum(each.state is state for each in self._entries.values())
            metrics.LOADED_MODELS.labels(state=state.value).set(count)

    def _all(self) -> list[Entry]:
        """Return all entries, also those whose place another one has taken."""
        return list(dict.fromkeys([*self._entries.values(), *self._lanes.values()]))
