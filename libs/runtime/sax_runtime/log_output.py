"""The end of every log line: a bounded queue and one thread that writes to standard error (and a file).

Whoever logs formats the line and puts it into the queue; it never waits. When the reader of standard error
is slow (a full pipe, a stuck disk) the queue fills, further lines are dropped and counted
(`sax_log_lines_dropped_total`), and serving goes on (reference/reliability.md B18). `flush` waits a moment
for the queue to empty; the end of a process calls it.
"""

import logging
import queue
import sys
import threading
from pathlib import Path
from typing import TextIO

from sax_runtime import metrics

QUEUE_LINES = 10_000
_FLUSH_S = 2.0


class BoundedOutput(logging.Handler):
    """A handler that never blocks. `threshold` is the lowest level that goes to `stream`; a file gets all."""

    def __init__(self, *, threshold: int, path: Path | None = None, stream: TextIO | None = None) -> None:
        super().__init__()
        self._threshold = threshold
        self._stream = stream
        self._file = path.open("a", encoding="utf-8") if path else None
        self._lines: queue.Queue[tuple[int, str]] = queue.Queue(QUEUE_LINES)
        self._thread = threading.Thread(target=self._write_all, name="log-output", daemon=True)
        self._thread.start()

    def createLock(self) -> None:  # noqa: N802 - logging's name.
        """Need no lock: the queue has one, and a lock held over a stuck write is what this class prevents."""
        self.lock = None

    def emit(self, record: logging.LogRecord) -> None:
        """Queue the formatted line, or drop and count it."""
        try:
            self._lines.put_nowait((record.levelno, self.format(record)))
        except queue.Full:
            metrics.LOG_LINES_DROPPED.inc()
        except Exception:  # noqa: BLE001 - a log line must not end the one who logs; logging reports it.
            self.handleError(record)

    def flush(self) -> None:
        """Wait until what is queued is written, at most two seconds."""
        with self._lines.all_tasks_done:
            self._lines.all_tasks_done.wait_for(lambda: not self._lines.unfinished_tasks, _FLUSH_S)

    def _write_all(self) -> None:
        while True:
            level, line = self._lines.get()
            try:
                self._write(level, line)
            except (OSError, ValueError):
                # Standard error is gone (closed pipe): count the loss, there is nobody to tell.
                metrics.LOG_LINES_DROPPED.inc()
            finally:
                self._lines.task_done()

    def _write(self, level: int, line: str) -> None:
        if level >= self._threshold:
            stream = self._stream or sys.stderr
            stream.write(line + "\n")
            stream.flush()
        if self._file is not None:
            self._file.write(line + "\n")
            self._file.flush()
