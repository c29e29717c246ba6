"""When this server calls Join.

The admin polls us; Join only tells it that we exist. The rules (DESIGN D6, D15,
reference/control_plane.md 2.6):

* at start, and whenever `location.proto` names another admin than the one joined last: at once;
* unpolled for 5 s: at once, for a new leader or a restarted admin does not know us yet;
* towards an original admin only after 30 s unpolled, and every 15 minutes, as its own model servers do;
* after a failed attempt: again after a pause that doubles from 1 s to 5 s (30 s towards an original admin).

`next_join_ms` answers with a time, so that the shell sleeps and never decides.
"""

from dataclasses import dataclass, replace

UNPOLLED_MS = 5_000
UNPOLLED_ORIGINAL_MS = 30_000
REPEAT_ORIGINAL_MS = 15 * 60_000
RETRY_FIRST_MS = 1_000
RETRY_MAX_MS = 5_000
LOCATION_POLL_MS = 5_000  # As the original.
LOCATION_POLL_UNJOINED_MS = 500  # While there is no admin that answers.


@dataclass(frozen=True, slots=True, kw_only=True)
class JoinState:
    """What is known of the admin. Times are monotonic milliseconds; None = never."""

    location: str | None = None
    joined_location: str | None = None
    last_attempt_ms: int | None = None
    last_join_ms: int | None = None
    last_polled_ms: int | None = None
    failures: int = 0
    is_original: bool = False

    def located(self, location: str | None) -> "JoinState":
        """The location file was read; another admin there has not failed yet."""
        return self if location == self.location else replace(self, location=location, failures=0)

    def polled(self, now_ms: int) -> "JoinState":
        """GetStatus was called."""
        return replace(self, last_polled_ms=now_ms)

    def joined(self, now_ms: int, location: str, *, is_original: bool) -> "JoinState":
        """Join was answered by the admin at `location`; an original one answers without a term."""
        return replace(
            self,
            joined_location=location,
            last_attempt_ms=now_ms,
            last_join_ms=now_ms,
            failures=0,
            is_original=is_original,
        )

    def failed(self, now_ms: int) -> "JoinState":
        """Join was not answered with OK."""
        return replace(self, last_attempt_ms=now_ms, failures=self.failures + 1)


def next_join_ms(state: JoinState, now_ms: int) -> int | None:
    """Return when to call Join (now or earlier = at once), None while there is nobody to call."""
    if state.location is None:
        return None
    if state.failures and state.last_attempt_ms is not None:
        return state.last_attempt_ms + _retry_ms(state)
    if state.location != state.joined_location:
        return now_ms
    unpolled_ms = UNPOLLED_ORIGINAL_MS if state.is_original else UNPOLLED_MS
    heard = [at for at in (state.last_polled_ms, state.last_join_ms) if at is not None]
    due = max(heard, default=now_ms) + unpolled_ms
    if state.is_original and state.last_join_ms is not None:
        due = min(due, state.last_join_ms + REPEAT_ORIGINAL_MS)
    return due


def next_look_ms(state: JoinState, last_look_ms: int) -> int:
    """Return when to read the location file again."""
    is_settled = state.joined_location is not None and not state.failures
    pause_ms = LOCATION_POLL_MS if is_settled else LOCATION_POLL_UNJOINED_MS
    return last_look_ms + pause_ms


def _retry_ms(state: JoinState) -> int:
    longest = UNPOLLED_ORIGINAL_MS if state.is_original else RETRY_MAX_MS
    doubled = RETRY_FIRST_MS << min(state.failures - 1, 5)
    return int(min(doubled, longest))
