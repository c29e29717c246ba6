"""The control plane under simulation: a sweep, and that a seed is enough to replay it."""

import os
import subprocess
import sys
import time

import pytest
from sax_testing.sim import schedule, sweep
from sax_testing.sim.params import draw

# 10 000 schedules by SAX_SIM_SEEDS=10000; by default as many as fit into CI's budget of two cores.
SEEDS = int(os.environ.get("SAX_SIM_SEEDS", "10000"))
BUDGET_S = float(os.environ.get("SAX_SIM_BUDGET_S", "60"))
SEEDS_MIN = 100


@pytest.mark.timeout(900)
def test_no_schedule_breaks_an_invariant_and_every_cell_converges(record_property):
    """Whatever processes, store, network and clocks do: nothing is lost, and the cell comes to rest."""
    report = sweep.sweep(range(SEEDS), jobs=2, until_s=time.monotonic() + BUDGET_S)
    record_property("schedules", report.schedules)
    assert report.failures == {}
    assert report.schedules >= min(SEEDS, SEEDS_MIN)
    assert report.repeated >= report.schedules // sweep.REPEAT_EVERY
    # Orders of an old term are refused about four times in a thousand schedules: too rare for this budget,
    # and the planted bug "order without term check on the server" proves that the rule is seen.
    rare = ("late writes that counted", "leader hit during a write")
    often = ("takeovers", "acknowledged after a retry", "several changes in one record", "watch answers")
    assert [what for what in (*rare, *often) if not report.seen[what]] == []
    assert report.seen["acknowledged"] >= 30 * report.schedules


def test_a_seed_leaves_the_same_trace_in_another_process():
    """Hash seeds, addresses and imports change nothing: a seed printed by CI replays on a laptop."""
    sweep.be_quiet()
    code = (
        "from sax_testing.sim import schedule, sweep; from sax_testing.sim.params import draw;"
        "sweep.be_quiet();"
        "print(hash(0), [repr(schedule.run(draw(seed)).trace) for seed in (7, 3)])"
    )
    run = [
        subprocess.run(  # noqa: PLW1510  # The status is looked at below.
            [sys.executable, "-c", code], env={**os.environ, "PYTHONHASHSEED": seed}, capture_output=True
        )
        for seed in ("1", "2")
    ]
    assert run[0].returncode == 0
    assert run[0].stdout == run[1].stdout


def test_a_schedule_contains_an_election_and_work():
    """A schedule that elects nobody or acknowledges nothing would prove nothing."""
    sweep.be_quiet()
    verdict = schedule.run(draw(5))
    assert verdict.seen["takeovers"] >= 1
    assert verdict.seen["acknowledged"] >= 10


def test_shrinking_keeps_a_failure_and_drops_what_it_does_not_need():
    """A failing schedule is shown with no more faults than it needs."""
    sweep.be_quiet()
    mutant = sweep.MUTANTS["ack before commit"]
    with mutant.planted():
        small = sweep.shrink(mutant.params(0))
        assert schedule.run(small).breaches
    assert len(small.faults) < len(mutant.params(0).faults)
