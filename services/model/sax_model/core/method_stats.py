"""What GetStatus says about one method: the 60 s windows of reference/model_server.md 1.6.

One request is counted once, when it ends, also when it was streamed (the original counts every chunk).
Times are milliseconds of a monotonic clock and are passed in.
"""

from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass

WINDOW_MS = 60_000
SAMPLES_MAX = 100  # Percentiles look at no more than this many of the newest latencies, as the original.
BATCH_SIZES_MAX = 10
EVENTS_MAX = 100_000  # Ends remembered per window; beyond it rates are too low rather than memory too high.


@dataclass(frozen=True, slots=True, kw_only=True)
class MethodReport:
    """Rates per second; latencies in seconds, None when nothing succeeded in the window."""

    method: str
    errors_per_second: float
    successes_per_second: float
    mean_s: float | None
    p50_s: float | None
    p95_s: float | None
    p99_s: float | None
    recent_batch_sizes: tuple[int, ...]
    pending: int


class MethodStats:
    """Ends of requests of one method in the last minute. Owned by the event loop."""

    def __init__(self, method: str) -> None:
        self.method = method
        self.pending = 0
        self._successes: deque[tuple[int, float]] = deque(maxlen=EVENTS_MAX)
        self._errors: deque[int] = deque(maxlen=EVENTS_MAX)
        self._batch_sizes: deque[int] = deque(maxlen=BATCH_SIZES_MAX)

    def begin(self) -> None:
        """Count a request that came in."""
        self.pending += 1

    def success(self, now_ms: int, latency_s: float, batch_size: int) -> None:
        """Count a request that got its answer; `batch_size` = requests in the step, itself included."""
        self.pending -= 1
        self._successes.append((now_ms, latency_s))
        self._batch_sizes.append(batch_size)

    def error(self, now_ms: int) -> None:
        """Count a request that ended otherwise, a cancelled one included."""
        self.pending -= 1
        self._errors.append(now_ms)

    def report(self, now_ms: int) -> MethodReport:
        """Return the figures of the window that ends now."""
        self._forget(now_ms - WINDOW_MS)
        latencies = [latency for _, latency in self._successes]
        newest = sorted(latencies[-SAMPLES_MAX:])
        return MethodReport(
            method=self.method,
            errors_per_second=len(self._errors) * 1000 / WINDOW_MS,
            successes_per_second=len(latencies) * 1000 / WINDOW_MS,
            mean_s=sum(latencies) / len(latencies) if latencies else None,
            p50_s=percentile(newest, 50),
            p95_s=percentile(newest, 95),
            p99_s=percentile(newest, 99),
            recent_batch_sizes=tuple(self._batch_sizes),
            pending=self.pending,
        )

    def _forget(self, before_ms: int) -> None:
        while self._successes and self._successes[0][0] <= before_ms:
            self._successes.popleft()
        while self._errors and self._errors[0] <= before_ms:
            self._errors.popleft()


def percentile(ascending: Sequence[float], percent: float) -> float | None:
    """Return the percentile by linear interpolation (numpy's default), None for no values."""
    if not ascending:
        return None
    position = (len(ascending) - 1) * percent / 100
    low = int(position)
    high = min(low + 1, len(ascending) - 1)
    return ascending[low] + (ascending[high] - ascending[low]) * (position - low)
