"""One child process of `sax serve`: started, listened to, stopped.

Its log goes to a pipe and the last lines are kept, so that a child that dies can be reported in its own
words. It lives in a session of its own: Ctrl-C at the terminal reaches only the parent, which stops the
children in order.
"""

import asyncio
import json
import os
import signal
import sys
from collections import deque
from collections.abc import Callable, Mapping, Sequence

LINES_KEPT = 20
LINE_BYTES_MAX = 1 << 20


class Child:
    """A running child. Made by `start`; owned by the event loop."""

    def __init__(
        self, name: str, process: asyncio.subprocess.Process, show: Callable[[str], None] | None
    ) -> None:
        self.name = name
        self._process = process
        self._show = show
        self._lines: deque[str] = deque(maxlen=LINES_KEPT)
        self._reader = asyncio.create_task(self._read(), name=f"log of {name}")

    @classmethod
    async def start(
        cls,
        name: str,
        module: str,
        flags: Sequence[str],
        environ: Mapping[str, str],
        show: Callable[[str], None] | None = None,
    ) -> "Child":
        """Start `python -m module flags`; `show` is given every log line."""
        process = await asyncio.create_subprocess_exec(
            sys.executable,
            "-m",
            module,
            *flags,
            env=dict(environ),
            stdin=asyncio.subprocess.DEVNULL,
            stdout=asyncio.subprocess.DEVNULL,
            stderr=asyncio.subprocess.PIPE,
            start_new_session=True,
            limit=LINE_BYTES_MAX,
        )
        return cls(name, process, show)

    async def ended(self) -> int:
        """Wait for the end, whoever wished it, and return the exit code (negative: a signal)."""
        code = await self._process.wait()
        await self._reader
        return code

    @property
    def is_running(self) -> bool:
        """Whether it has not ended."""
        return self._process.returncode is None

    def last_lines(self) -> list[str]:
        """Return the end of its log, readable."""
        return list(self._lines)

    async def stop(self, timeout_s: float) -> None:
        """Ask it to end (SIGTERM) and wait; after `timeout_s` it is killed."""
        if self.is_running:
            self._process.send_signal(signal.SIGTERM)
        try:
            async with asyncio.timeout(timeout_s):
                await self.ended()
        except TimeoutError:
            self.kill()
            await self.ended()

    def kill(self) -> None:
        """End it at once."""
        if self.is_running:
            self._process.kill()

    async def _read(self) -> None:
        stream = self._process.stderr
        while stream is not None:
            try:
                raw = await stream.readline()
            except ValueError:  # A line beyond the limit was dropped by asyncio.
                continue
            if not raw:
                return
            line = readable(raw.decode(errors="replace").rstrip("\n"))
            self._lines.append(line)
            if self._show is not None:
                self._show(f"{self.name}: {line}")


def readable(line: str) -> str:
    """Return a log line for a person: our JSON as `level event key=value`, anything else as it is."""
    try:
        facts = json.loads(line)
        level, event = facts.pop("level"), facts.pop("event")
    except (ValueError, KeyError, AttributeError, TypeError):
        return line
    exception = facts.pop("exception", "")
    hidden = ("timestamp", "time", "service", "filename", "lineno", "logger", "trace_id", "span_id")
    shown = " ".join(f"{key}={value}" for key, value in facts.items() if key not in hidden)
    return "\n".join(text for text in (f"{level} {event} {shown}".rstrip(), exception) if text)


def child_environ(root: str) -> dict[str, str]:
    """Return the environment of the children: loopback only, this root, no other setting of the caller's."""
    kept = {key: value for key, value in os.environ.items() if not key.startswith("SAX_")}
    return {**kept, "SAX_ROOT": root, "SAX_DEBUG_IPADDR": "1"}
