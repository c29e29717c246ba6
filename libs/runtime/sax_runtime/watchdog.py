"""A thread that notices when the event loop is blocked, and says by what.

Every `beat_s` the thread asks the loop to run a tiny callback. A loop that has not run it after `limit_s`
is stalled: the stack of the loop's thread is logged once, while it still shows the culprit, and again one
line when it ends. With `exit_after_s` (an admin leader must not act on an expired lease,
reference/reliability.md A4) a longer stall ends the process with exit code 70.

It needs a thread, because the one thing that a blocked loop cannot do is notice. Started by `process.run`.
"""

import asyncio
import os
import sys
import threading
import time
import traceback

from sax_runtime import logs, metrics

STALL_EXIT_CODE = 70  # EX_SOFTWARE.
_log = logs.get_logger(__name__)


class LoopWatchdog:
    """Watches one loop from `start` to `stop`. Must be made on the loop's own thread."""

    def __init__(
        self,
        loop: asyncio.AbstractEventLoop,
        *,
        limit_s: float = 1.0,
        beat_s: float = 0.25,
        exit_after_s: float | None = None,
    ) -> None:
        self._loop = loop
        self._limit_s = limit_s
        self._beat_s = beat_s
        self._exit_after_s = exit_after_s
        self._loop_thread = threading.get_ident()
        self._answered = threading.Event()
        self._stopping = threading.Event()
        self._thread = threading.Thread(target=self._watch, name="loop-watchdog", daemon=True)

    def start(self) -> None:
        """Begin to watch."""
        self._thread.start()

    def stop(self) -> None:
        """End the thread and wait for it."""
        self._stopping.set()
        self._answered.set()
        self._thread.join()

    def _watch(self) -> None:
        while not self._stopping.wait(self._beat_s):
            self._answered.clear()
            asked = time.monotonic()
            try:
                self._loop.call_soon_threadsafe(self._answered.set)
            except RuntimeError:
                return  # The loop is closed.
            if not self._answered.wait(self._limit_s):
                self._stalled(asked)
            metrics.LOOP_LAG_S.set(time.monotonic() - asked)

    def _stalled(self, asked: float) -> None:
        metrics.LOOP_STALLS.inc()
        frame = sys._current_frames().get(self._loop_thread)  # noqa: SLF001 - public, despite its name.
        stack = "".join(traceback.format_stack(frame, limit=12)) if frame else ""
        _log.warning("event loop is blocked", longer_than_s=self._limit_s, stack=stack)
        while not self._answered.wait(self._beat_s):
            lag_s = time.monotonic() - asked
            metrics.LOOP_LAG_S.set(lag_s)
            if self._exit_after_s is not None and lag_s > self._exit_after_s:
                _log.critical("event loop blocked for too long, ending the process", lag_s=round(lag_s, 1))
                logs.flush()
                os._exit(STALL_EXIT_CODE)
        _log.warning("event loop runs again", blocked_s=round(time.monotonic() - asked, 2))
