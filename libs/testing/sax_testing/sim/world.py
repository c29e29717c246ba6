"""Virtual time: one queue of events for a whole cell, and an event loop for each process in it.

The life of an event: somebody puts it down for a moment of true time and, unless it is the store's own,
for a process; when its turn comes the process runs it at once, waits with it (paused: it runs when the
pause ends, in order of arrival), or never sees it (crashed). Then the process's asyncio tasks run until
none can go on; no time passes meanwhile.

Processes run the production shells unchanged: a `Host` is a real asyncio loop as far as tasks, futures and
timeouts are concerned. It has no selector and no threads, and its clock is a `HostClock`, which runs at the
host's own rate and has a wall clock that can be moved.

Nothing here draws a random number or looks at the real clock: the same calls give the same order of events.
"""

from __future__ import annotations

import asyncio
import asyncio.events
import heapq
from collections import deque
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Callable, Coroutine

WALL_EPOCH_MS = 1_700_000_000_000
# A schedule that comes here is caught in a loop without time.
STEPS_MAX = 2_000_000


class World:
    """True time, in milliseconds since the start, and everything that is going to happen."""

    def __init__(self) -> None:
        """Start at time 0 with nothing to do."""
        self.now_ms = 0.0
        self.steps = 0
        self.faults: list[str] = []
        self._queue: list[tuple[float, int, Host | None, Callable[..., object], tuple[Any, ...]]] = []
        self._count = 0

    def after(self, delay_ms: float, host: Host | None, do: Callable[..., object], *args: object) -> None:
        """Let `host` (None: the world itself) do something `delay_ms` of true time from now."""
        self._count += 1
        heapq.heappush(self._queue, (self.now_ms + delay_ms, self._count, host, do, args))

    def run(self, until_ms: float) -> None:
        """Let everything happen up to a moment of true time."""
        queue = self._queue
        while queue and queue[0][0] <= until_ms:
            at_ms, _, host, do, args = heapq.heappop(queue)
            self.now_ms = max(self.now_ms, at_ms)
            self.steps += 1
            if self.steps > STEPS_MAX:
                raise RuntimeError(
                    f"A schedule did {STEPS_MAX} steps by {self.now_ms:.0f} ms: it does not end."
                )
            if host is None:
                do(*args)
            else:
                host.receive(do, args)
        self.now_ms = max(self.now_ms, until_ms)


class Handle:
    """Something that an asyncio loop was asked to call, and that can be taken back."""

    __slots__ = ("args", "call", "is_cancelled")

    def __init__(self, call: Callable[..., object], args: tuple[Any, ...]) -> None:
        """Remember the call."""
        self.call = call
        self.args = args
        self.is_cancelled = False

    def cancel(self) -> None:
        """Take it back."""
        self.is_cancelled = True


class Host(asyncio.AbstractEventLoop):
    """One run of one process: an asyncio loop that can be paused and that dies once.

    `rate` is how fast its clocks run compared with true time. `on_error` hears of exceptions that nobody
    caught; by default they fail the schedule.
    """

    def __init__(self, world: World, name: str, *, rate: float = 1.0, started_ms: float = 0.0) -> None:
        """Start a process whose monotonic clock shows `started_ms` now."""
        self.world = world
        self.name = name
        self.rate = rate
        self.is_alive = True
        self.is_paused = False
        self.wall_jump_ms = 0
        self.endings: list[Callable[[], None]] = []
        self._origin_ms = started_ms - world.now_ms * rate
        self._ready: deque[Handle] = deque()
        self._held: list[tuple[Callable[..., object], tuple[Any, ...]]] = []

    # ---- Life ----

    def receive(self, do: Callable[..., object], args: tuple[Any, ...]) -> None:
        """Do something now, keep it for the end of the pause, or drop it with the process."""
        if not self.is_alive:
            return
        if self.is_paused:
            self._held.append((do, args))
            return
        asyncio.events._set_running_loop(self)  # noqa: SLF001  # As asyncio's own loops do.
        try:
            do(*args)
            ready = self._ready
            while ready and self.is_alive and not self.is_paused:
                handle = ready.popleft()
                if not handle.is_cancelled:
                    handle.call(*handle.args)
        finally:
            asyncio.events._set_running_loop(None)  # noqa: SLF001

    def start(self, work: Coroutine[Any, Any, None]) -> None:
        """Run a task of this process from now on."""
        self.world.after(0, self, self.spawn, work)

    def spawn(self, work: Coroutine[Any, Any, None]) -> asyncio.Task[None]:
        """Run a task; an error that ends it fails the schedule. Call it from inside the process."""
        task: asyncio.Task[None] = self.create_task(work)
        task.add_done_callback(self._ended)
        return task

    def _ended(self, task: asyncio.Task[None]) -> None:
        if not task.cancelled() and (error := task.exception()) is not None:
            self.world.faults.append(f"{self.name}: {type(error).__name__}: {error}")

    def pause(self) -> None:
        """Stand still: clocks go on, nothing else does."""
        self.is_paused = True

    def resume(self) -> None:
        """Go on with all that came in meanwhile."""
        if not self.is_paused or not self.is_alive:
            return
        self.is_paused = False
        self.receive(_nothing, ())
        held, self._held = self._held, []
        for do, args in held:
            self.receive(do, args)

    def crash(self) -> None:
        """End without a word; connections of others to it break."""
        self.is_alive = False
        self._held.clear()
        self._ready.clear()
        for ending in self.endings:
            ending()
        self.endings.clear()

    # ---- What tasks and futures need of a loop ----

    def time(self) -> float:
        """Return the host's monotonic clock in seconds, as asyncio wants it."""
        return self.local_ms() / 1000

    def local_ms(self) -> float:
        """Return the host's monotonic clock."""
        return self._origin_ms + self.world.now_ms * self.rate

    def call_soon(self, callback: Any, *args: Any, context: Any = None) -> Any:  # type: ignore[override]  # noqa: ARG002
        """Call after what is already waiting."""
        handle = Handle(callback, args)
        self._ready.append(handle)
        return handle

    def call_later(self, delay: float, callback: Any, *args: Any, context: Any = None) -> Any:  # type: ignore[override]  # noqa: ARG002
        """Call after `delay` seconds of the host's clock."""
        handle = Handle(callback, args)
        self.world.after(max(0.0, delay) * 1000 / self.rate, self, _call, handle)
        return handle

    def call_at(self, when: float, callback: Any, *args: Any, context: Any = None) -> Any:  # type: ignore[override]
        """Call when the host's clock shows `when` seconds."""
        return self.call_later(when - self.time(), callback, *args, context=context)

    def create_future(self) -> asyncio.Future[Any]:
        """Make a future of this loop."""
        return asyncio.Future(loop=self)

    def create_task(self, coro: Any, *, name: Any = None, context: Any = None) -> Any:  # noqa: ARG002
        """Make a task of this loop."""
        task: asyncio.Task[Any] = asyncio.Task(coro, loop=self)
        # A process that crashes leaves its tasks behind, as real ones do.
        task._log_destroy_pending = False  # type: ignore[attr-defined]  # noqa: SLF001
        return task

    def call_exception_handler(self, context: dict[str, Any]) -> None:
        """Ignore what asyncio says when a dead process's futures are collected; tasks report themselves."""

    def get_debug(self) -> bool:
        """Say that asyncio's debug mode is off."""
        return False

    def is_running(self) -> bool:
        """Say whether the process lives."""
        return self.is_alive

    def is_closed(self) -> bool:
        """Say whether it ended."""
        return not self.is_alive


def start_host(world: World, name: str, *, rate: float = 1.0, started_ms: float = 0.0) -> Host:
    """Start a process. Sockets, signals, threads and children are not part of its loop: left out."""
    return Host(world, name, rate=rate, started_ms=started_ms)  # type: ignore[abstract]


class HostClock:
    """A process's clock: the production port over the host's own time.

    `grain_ms` is how long a sleep takes at least: a loaded machine's timers are coarse, and never early.
    """

    def __init__(self, host: Host, grain_ms: int = 0) -> None:
        """Show the time of `host`."""
        self._host = host
        self._grain_ms = grain_ms

    def monotonic_ms(self) -> int:
        """Say the host's monotonic time."""
        return int(self._host.local_ms())

    def unix_ms(self) -> int:
        """Say the host's wall clock, which faults may move."""
        return WALL_EPOCH_MS + int(self._host.local_ms()) + self._host.wall_jump_ms

    async def sleep_ms(self, ms: int) -> None:
        """Wait at least this long on the host's clock."""
        host = self._host
        future = host.create_future()
        host.world.after(max(ms, self._grain_ms if ms > 0 else 0) / host.rate, host, wake, future, None)
        await future


def wake(future: asyncio.Future[Any], result: object) -> None:
    """Give a future its result, or its error, unless nobody waits any more."""
    if future.done():
        return
    if isinstance(result, BaseException):
        future.set_exception(result)
    else:
        future.set_result(result)


def _call(handle: Handle) -> None:
    if not handle.is_cancelled:
        handle.call(*handle.args)


def _nothing() -> None:
    """Do nothing; what is ready runs all the same."""
