"""The one thread that touches the device: it steps the engine of every loaded model in turn.

The life of a request in here: `Submit` lies in the mailbox until the step in progress ends; the engine takes
it; every step that brings tokens for it puts a `Stepped` into the outbox; the loop is woken once per round,
however many requests have news. `Cancel` is handled before the next step, so a slot is free within one step
of the reader going away.

Bounds: `MAILBOX_MAX` submissions (then RESOURCE_EXHAUSTED at `post`); orders about lanes and cancellations
are always taken, for there are no more of them than of loads and submissions. The outbox is emptied
whole by the loop; a loop that is slow gets longer lists, not more wake-ups.

An exception in a step fails that lane only: it is dropped, its model is told, the others go on. Whether the
device itself is broken is `device_faults`' business; then the process leaves through the front door. A step
that does not come back is seen from outside by `step_age_ms`.
"""

import queue
import threading
from asyncio import AbstractEventLoop
from collections import deque
from collections.abc import Callable

from sax_common.clock import Clock
from sax_common.errors import ResourceExhausted
from sax_engine.core.engine import Engine
from sax_engine.core.requests import EngineError
from sax_runtime.logs import get_logger

from sax_model.compiling import is_compiling
from sax_model.device_faults import is_device_fault
from sax_model.mailbox import (
    AddLane,
    Cancel,
    Command,
    LaneFailed,
    LaneId,
    LaneRemoved,
    News,
    Refused,
    RemoveLane,
    StepInFlight,
    Stepped,
    Stop,
    Submit,
)

MAILBOX_MAX = 4096
COMPILE_LOOK_MS = 250

_log = get_logger(__name__)


class DeviceThread:
    """Owner of every engine of the process. `post` and the figures may be used from the event loop only."""

    def __init__(self, loop: AbstractEventLoop, clock: Clock, deliver: Callable[[News], None]) -> None:
        """`deliver` is called on `loop`, in order, for each piece of news."""
        self._loop = loop
        self._clock = clock
        self._deliver = deliver
        self._mailbox: queue.SimpleQueue[Command] = queue.SimpleQueue()
        self._outbox: deque[News] = deque()
        self._is_wake_up_due = False
        self._lanes: dict[LaneId, AddLane] = {}
        self._step_started_ms: dict[LaneId, int] = {}
        self._thread = threading.Thread(target=self._run, name="device", daemon=True)

    def start(self) -> None:
        """Begin; once."""
        self._thread.start()

    def post(self, command: Command) -> None:
        """Put a command into the mailbox; raises ResourceExhausted when a submission finds it full."""
        if isinstance(command, Submit) and self._mailbox.qsize() >= MAILBOX_MAX:
            raise ResourceExhausted(f"{MAILBOX_MAX} requests already wait for the device")
        self._mailbox.put(command)

    def stop(self, timeout_s: float) -> bool:
        """Release all lanes and end the thread; False when it hangs in a step."""
        self._mailbox.put(Stop())
        self._thread.join(timeout_s)
        return not self._thread.is_alive()

    def step_age_ms(self, lane: LaneId) -> int:
        """Return for how long the lane's step in progress has run, 0 when none is."""
        started_ms = self._step_started_ms.get(lane)
        return 0 if started_ms is None else max(self._clock.monotonic_ms() - started_ms, 0)

    def progress(self, lane: LaneId) -> StepInFlight:
        """Return what the lane's step in progress is doing."""
        age_ms = self.step_age_ms(lane)
        # Looking at a stack costs; a step that is young needs no excuse.
        return StepInFlight(age_ms, age_ms >= COMPILE_LOOK_MS and is_compiling(self._thread.ident))

    def oldest_step_ms(self) -> int:
        """Return the age of the step in progress of any lane."""
        return max((self.step_age_ms(lane) for lane in list(self._step_started_ms)), default=0)

    # From here on everything runs on the device thread.

    def _run(self) -> None:
        while self._receive():
            for entry in list(self._lanes.values()):
                if entry.engine.has_work:
                    self._step(entry)
            self._wake_loop()
        for lane in list(self._lanes):
            self._remove(lane)
        self._wake_loop()

    def _receive(self) -> bool:
        """Handle all commands that lie there, waiting for one when no lane has work; False on `Stop`."""
        while True:
            is_idle = not any(entry.engine.has_work for entry in self._lanes.values())
            try:
                command = self._mailbox.get(block=is_idle)
            except queue.Empty:
                return True
            if isinstance(command, Stop):
                return False
            self._handle(command)
            if is_idle:
                self._wake_loop()

    def _handle(self, command: Command) -> None:
        match command:
            case Submit(lane, request):
                entry = self._lanes.get(lane)
                if entry is None:
                    self._outbox.append(Refused(request.request_id, None))
                    return
                try:
                    entry.engine.submit(request, self._clock.monotonic_ms())
                except EngineError as error:
                    self._outbox.append(Refused(request.request_id, error))
            case Cancel(lane, request_id):
                if lane in self._lanes:
                    self._guarded(self._lanes[lane], lambda engine: engine.cancel(request_id))
            case AddLane(lane):
                self._lanes[lane] = command
            case RemoveLane(lane):
                self._remove(lane)
            case Stop():
                pass

    def _step(self, entry: AddLane) -> None:
        now_ms = self._clock.monotonic_ms()
        self._step_started_ms[entry.lane] = now_ms
        self._guarded(entry, lambda engine: self._emit(entry, engine, now_ms))
        self._step_started_ms.pop(entry.lane, None)

    def _emit(self, entry: AddLane, engine: Engine, now_ms: int) -> None:
        emissions = engine.step(now_ms)
        at_ms = self._clock.monotonic_ms()
        self._outbox.append(Stepped(entry.lane, emissions, engine.snapshot(), at_ms, at_ms - now_ms))
        if not engine.has_work:
            engine.check_integrity()  # Cheap when idle, and the only way to notice a leak early.

    def _guarded(self, entry: AddLane, work: Callable[[Engine], object]) -> None:
        """Do something with a lane's engine; whatever it raises fails this lane and nothing else."""
        try:
            work(entry.engine)
        except Exception as error:  # noqa: BLE001 - the border between one model's fault and the others.
            _log.exception("the engine of a model failed", lane=entry.lane)
            del self._lanes[entry.lane]
            self._release(entry)
            self._outbox.append(LaneFailed(entry.lane, error, is_device_fault(error)))

    def _remove(self, lane: LaneId) -> None:
        entry = self._lanes.pop(lane, None)
        if entry is not None:
            self._release(entry)
        self._outbox.append(LaneRemoved(lane))

    def _release(self, entry: AddLane) -> None:
        try:
            entry.release()
        except Exception:  # noqa: BLE001 - it is going away; nothing can be done but say so.
            _log.exception("an engine could not be released", lane=entry.lane)

    def _wake_loop(self) -> None:
        """Ask the loop to take the news, unless it has been asked and has not come yet."""
        if self._outbox and not self._is_wake_up_due:
            self._is_wake_up_due = True
            try:
                self._loop.call_soon_threadsafe(self._hand_over)
            except RuntimeError:
                _log.warning("the event loop is gone; news dropped", count=len(self._outbox))

    # And this on the event loop.

    def _hand_over(self) -> None:
        self._is_wake_up_due = False  # Before taking: what comes in from now on wakes the loop again.
        outbox = self._outbox
        while outbox:
            self._deliver(outbox.popleft())
