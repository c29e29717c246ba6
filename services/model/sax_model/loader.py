"""Loads models, one after another, each on a thread of its own, so that serving goes on meanwhile.

The life of a load: `Loader.run` waits for its turn, starts a thread that calls the load function
(checkpoint, compile, warm-up: everything slow), and returns the model. `LoadJob` is the slip of paper
between the two threads: progress is written on it by one side and read by the other, `cancel` the other
way round.

Bounds: `QUEUE_MAX` loads waiting or running (reference/control_plane.md 2.10), then RESOURCE_EXHAUSTED.
A load that shows no progress for `stall_ms` (storage that hangs) is given up: its thread cannot be
killed, so it is left behind, told to stop, and whatever it may still bring is closed and dropped.
"""

import asyncio
import threading
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Protocol

from sax_common.clock import Clock
from sax_common.errors import Cancelled, ResourceExhausted, Unavailable
from sax_runtime.logs import get_logger
from sax_zoo.checkpoints.source import LoadProgress

from sax_model.hosted_model import HostedModel

QUEUE_MAX = 4
LOOK_S = 1.0

_log = get_logger(__name__)


@dataclass(frozen=True, slots=True, kw_only=True)
class LoadSpec:
    """What one Load asks for. `overrides` are JSON texts; `digest` is empty from an original admin."""

    key: str
    model_path: str
    checkpoint_path: str
    overrides: Mapping[str, str] = field(default_factory=dict)
    acls: Mapping[str, str] = field(default_factory=dict)
    digest: bytes = b""


class LoadFunction(Protocol):
    """Makes a model ready to serve. Blocks; runs on a loader thread."""

    def __call__(
        self, spec: LoadSpec, *, report: Callable[[LoadProgress], None], is_cancelled: Callable[[], bool]
    ) -> HostedModel:
        """Return the model; raises SaxError with the file or setting that is wrong."""


class LoadJob:
    """Progress of one load. The loader thread writes with `report`, the loop with `cancel`."""

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._cancelled = threading.Event()
        self.progress: LoadProgress | None = None
        self.moved_ms = clock.monotonic_ms()

    def report(self, progress: LoadProgress) -> None:
        """Take note of progress; for the loader thread."""
        self.progress = progress
        self.moved_ms = self._clock.monotonic_ms()

    def cancel(self) -> None:
        """Ask the load to end."""
        self._cancelled.set()

    def is_cancelled(self) -> bool:
        """Whether the result is not wanted any more."""
        return self._cancelled.is_set()

    @property
    def fraction(self) -> float:
        """Share of the bytes read, 0 to 1."""
        done = self.progress
        return min(done.done_bytes / done.total_bytes, 1.0) if done is not None and done.total_bytes else 0.0


class Loader:
    """The line of loads. Owned by the event loop."""

    def __init__(self, load: LoadFunction, clock: Clock, *, stall_ms: int) -> None:
        self._load = load
        self._clock = clock
        self._stall_ms = stall_ms
        self._turn = asyncio.Lock()
        self._count = 0

    def check_room(self) -> None:
        """Raise ResourceExhausted when no further load may wait."""
        if self._count >= QUEUE_MAX:
            raise ResourceExhausted(f"{self._count} loads are waiting or running here, which is the limit")

    async def run(self, spec: LoadSpec, job: LoadJob) -> HostedModel:
        """Return the loaded model. Raises what the load raised, Cancelled, or Unavailable for a stall."""
        self.check_room()
        self._count += 1
        try:
            async with self._turn:
                if job.is_cancelled():
                    raise Cancelled(f"the load of {spec.key} was cancelled before it began")
                return await self._run_on_thread(spec, job)
        finally:
            self._count -= 1

    async def _run_on_thread(self, spec: LoadSpec, job: LoadJob) -> HostedModel:
        loop = asyncio.get_running_loop()
        done: asyncio.Future[HostedModel] = loop.create_future()
        job.moved_ms = self._clock.monotonic_ms()

        def work() -> None:
            try:
                model = self._load(spec, report=job.report, is_cancelled=job.is_cancelled)
            except BaseException as error:  # noqa: BLE001 - handed to the loop, which raises it.
                loop.call_soon_threadsafe(_fail, done, error)
            else:
                loop.call_soon_threadsafe(_finish, done, model)

        threading.Thread(target=work, name=f"load {spec.key}", daemon=True).start()
        while not done.done():
            await asyncio.wait({done}, timeout=LOOK_S)
            still_ms = self._clock.monotonic_ms() - job.moved_ms
            if not done.done() and still_ms > self._stall_ms:
                job.cancel()
                done.cancel()
                phase = job.progress.phase.value if job.progress is not None else "starting"
                raise Unavailable(
                    f"no progress for {still_ms // 1000} s while {phase}; the load was given up"
                )
        return done.result()


def _finish(done: "asyncio.Future[HostedModel]", model: HostedModel) -> None:
    if done.done():
        _log.warning("a load that had been given up came to an end after all; its model is dropped")
        model.close()
    else:
        done.set_result(model)


def _fail(done: "asyncio.Future[HostedModel]", error: BaseException) -> None:
    if not done.done():
        done.set_exception(error)
