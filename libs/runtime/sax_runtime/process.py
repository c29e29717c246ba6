"""How a program of this project begins and ends.

    def main() -> int:
        config = load(...)
        return process.run(lambda stop: serve(config, stop))

    async def serve(config: Config, stop: process.Stop) -> int:
        ...start...
        await stop.wait()
        ...drain...
        return 0

The first SIGINT or SIGTERM sets `stop`, and the program shuts down in its own order. The second ends the
process at once (exit code 128 + signal), whatever it is doing. A SaxError that leaves the coroutine is one
sentence on standard error and exit code 1; anything else is logged with its traceback, exit code 1. A
watchdog thread reports a blocked event loop.
"""

import asyncio
import os
import signal
import sys
from collections.abc import Callable, Coroutine
from typing import Any

from sax_common.errors import SaxError

from sax_runtime import logs
from sax_runtime.watchdog import LoopWatchdog

_log = logs.get_logger(__name__)
_SIGNALS = (signal.SIGINT, signal.SIGTERM)


class Stop:
    """The wish that the program ends. Set once, by a signal or by the program itself; owned by the loop."""

    def __init__(self) -> None:
        self._event = asyncio.Event()
        self.reason = ""

    def request(self, reason: str) -> None:
        """Ask for a graceful end; the first reason is kept."""
        if not self._event.is_set():
            self.reason = reason
            self._event.set()

    @property
    def is_requested(self) -> bool:
        """Whether the end was asked for."""
        return self._event.is_set()

    async def wait(self) -> str:
        """Wait until the end is asked for and return why."""
        await self._event.wait()
        return self.reason


def run(
    main: Callable[[Stop], Coroutine[Any, Any, int | None]],
    *,
    stall_limit_s: float = 1.0,
    exit_after_stall_s: float | None = None,
) -> int:
    """Run `main` on a new event loop (uvloop's where installed) and return the exit code.

    Call on the main thread, after `setup_logs`. `exit_after_stall_s` is the watchdog's.
    """

    async def guarded() -> int:
        loop = asyncio.get_running_loop()
        stop = Stop()
        loop.set_exception_handler(_log_stray)
        for number in _SIGNALS:
            loop.add_signal_handler(number, _on_signal, number, stop)
        watchdog = LoopWatchdog(loop, limit_s=stall_limit_s, exit_after_s=exit_after_stall_s)
        watchdog.start()
        try:
            return await main(stop) or 0
        finally:
            watchdog.stop()
            for number in _SIGNALS:
                loop.remove_signal_handler(number)

    try:
        with asyncio.Runner(loop_factory=_loop_factory()) as runner:
            return runner.run(guarded())
    except SaxError as error:
        return _fail(error.message)
    except Exception:  # noqa: BLE001 - the outermost frame: logged with its traceback.
        _log.exception("the program ended on an error that nobody expected")
        return 1
    finally:
        logs.flush()


def _fail(message: str) -> int:
    logs.flush()  # So that the sentence is the last line a person sees.
    sys.stderr.write(f"{message}\n")
    return 1


def _on_signal(number: int, stop: Stop) -> None:
    name = signal.Signals(number).name
    if stop.is_requested:
        _log.warning("second signal: ending at once", signal=name)
        logs.flush()
        os._exit(128 + number)
    _log.info("shutting down; once more ends at once", signal=name)
    stop.request(name)


def _log_stray(_loop: asyncio.AbstractEventLoop, context: dict[str, Any]) -> None:
    """Log what a task or callback raised when nobody was there to catch it."""
    _log.error(
        "unhandled error in the event loop", what=context.get("message"), exc_info=context.get("exception")
    )


def _loop_factory() -> Callable[[], asyncio.AbstractEventLoop] | None:
    try:
        import uvloop  # noqa: PLC0415 - optional: absent where it has no wheel.
    except ImportError:
        return None
    factory: Callable[[], asyncio.AbstractEventLoop] = uvloop.new_event_loop
    return factory
