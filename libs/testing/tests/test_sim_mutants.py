"""Each planted bug is found, and its weather alone harms nobody."""

import os
import time

import pytest
from sax_testing.sim import sweep

# By command: SAX_SIM_ALL_MUTANTS=1. By default every third, another third each day, to stay within CI's time.
IS_ALL = os.environ.get("SAX_SIM_ALL_MUTANTS") == "1"
NAMES = sorted(sweep.MUTANTS)
TODAY = [name for place, name in enumerate(NAMES) if IS_ALL or place % 3 == int(time.time() // 86_400) % 3]


def test_there_are_at_least_twenty_planted_bugs():
    """The checker itself is tested by enough bugs."""
    assert len(NAMES) >= 20


@pytest.mark.timeout(900)
@pytest.mark.parametrize("name", TODAY)
def test_a_planted_bug_is_found(name):
    """A rule taken out of the production code breaks an invariant within 5 000 schedules."""
    assert sweep.hunt(name).seeds is not None


@pytest.mark.parametrize("name", TODAY)
def test_the_weather_alone_breaks_nothing(name):
    """The faults that provoke a bug are survived without it."""
    assert sweep.clean_weather(sweep.MUTANTS[name], range(3)) == []
