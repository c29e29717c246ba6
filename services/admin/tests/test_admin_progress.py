"""Health follows progress: hung engines leave routing soon, slow and compiling ones never."""

from __future__ import annotations

from sax_admin.core.progress import EngineWatch
from sax_admin.core.servers import Progress

M = "/sax/test/m"
POLL_MS = 2_000
AGAIN_MS = 400


def polled(engine, until_ms, first_ms=0):
    """Poll a server as the admin does; return when it was found stuck, or None."""
    watch, now_ms = EngineWatch(), first_ms
    while now_ms <= until_ms:
        watch.note({M: engine(now_ms)}, now_ms)
        if watch.stuck:
            return now_ms
        now_ms += AGAIN_MS if watch.is_doubtful else POLL_MS
    return None


def hangs_at(hang_ms, step_ms=20):
    """Make an engine with steady work that stops for good in the middle of a step."""

    def engine(now_ms):
        steps = min(now_ms, hang_ms) // step_ms
        age_ms = now_ms - hang_ms if now_ms > hang_ms else now_ms % step_ms
        return Progress(
            running=3, queued=5, steps_finished=steps, step_age_ms=age_ms, slowest_step_ms=step_ms
        )

    return engine


def test_a_hung_engine_is_found_within_three_seconds_whenever_it_hangs():
    """Whatever the moment between two polls, the time from the hang to the finding is at most 3 s."""
    for hang_ms in range(10_000, 12_000, 50):
        found_ms = polled(hangs_at(hang_ms), 30_000)
        assert 2_000 <= found_ms - hang_ms <= 3_000


def test_a_slow_engine_that_finishes_steps_is_never_stuck():
    """Steps of five seconds teach a bound of forty."""

    def slow(now_ms):
        return Progress(
            running=1, steps_finished=now_ms // 5_000, step_age_ms=now_ms % 5_000, slowest_step_ms=5_000
        )

    assert polled(slow, 300_000, first_ms=6_000) is None


def test_an_engine_that_compiles_for_a_minute_is_let_be():
    """It says that it compiles, so no step is owed."""

    def compiling(now_ms):
        is_compiling = 10_000 < now_ms < 70_000
        age_ms = now_ms - 10_000 if is_compiling else 5
        steps = min(now_ms, 10_000) // 20 + max(0, now_ms - 70_000) // 20
        return Progress(
            running=1,
            queued=9,
            steps_finished=steps,
            step_age_ms=age_ms,
            slowest_step_ms=20,
            is_compiling=is_compiling,
        )

    assert polled(compiling, 120_000) is None


def test_an_idle_engine_owes_no_steps():
    """Without requests nothing has to get on."""
    assert polled(lambda _now_ms: Progress(steps_finished=7, slowest_step_ms=20), 600_000) is None


def test_an_engine_without_a_step_in_flight_that_ignores_its_queue_is_stuck():
    """Work waits, nothing runs, the count stands still: that is a hang too."""
    found_ms = polled(lambda _now_ms: Progress(queued=1, steps_finished=7, slowest_step_ms=20), 60_000)
    assert found_ms is not None


def test_the_next_finished_step_brings_a_server_back():
    """Being stuck is a statement about now."""
    watch, engine = EngineWatch(), hangs_at(1_000)
    for now_ms in range(0, 8_000, 400):
        watch.note({M: engine(now_ms)}, now_ms)
    assert watch.stuck
    assert watch.note({M: Progress(running=1, steps_finished=999, slowest_step_ms=20)}, 8_000)
    assert not watch.stuck


def test_a_first_step_may_take_half_a_minute():
    """Before anything was learned the bound is that of reference/reliability.md 2.3."""

    def first(now_ms):
        return Progress(running=1, step_age_ms=now_ms)

    assert 30_000 < polled(first, 60_000) <= 30_800
