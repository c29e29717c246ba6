from __future__ import annotations

import random

from hypothesis import given
from hypothesis import strategies as st
from sax_client import pick
from sax_client.pick import Load

addresses = st.sampled_from([f"s{i}:1" for i in range(6)])
loads = st.dictionaries(
    addresses,
    st.builds(
        Load, in_flight=st.integers(0, 9), failures=st.integers(0, 9), ejected_until_ms=st.integers(0, 99)
    ),
)


def test_nothing_to_pick():
    """Without replicas there is nothing to pick."""
    assert pick.pick({}, tried=(), now_ms=0, draw=lambda _: 0) is None


def test_prefers_fewer_in_flight():
    """Of two candidates the one with fewer calls in flight is taken, whichever is drawn first."""
    both = {"a": Load(in_flight=3), "b": Load(in_flight=2)}
    assert {pick.pick(both, tried=(), now_ms=0, draw=lambda n, k=k: k % n) for k in (0, 1)} == {"b"}


@given(loads, st.sets(addresses), st.integers(0, 99), st.randoms(use_true_random=False))
def test_never_a_tried_or_ejected_one_while_a_better_exists(known, tried, now_ms, rng):
    """A tried replica is only picked when all were tried, an ejected one when every untried is ejected."""
    picked = pick.pick(known, tried=tried, now_ms=now_ms, draw=rng.randrange)
    untried = known.keys() - tried
    healthy = {a for a in untried if not known[a].is_ejected(now_ms)}
    assert picked in (healthy or untried or known.keys() or {None})


@given(loads.filter(lambda known: len(known) > 1), st.randoms(use_true_random=False))
def test_never_the_strictly_busiest(known, rng):
    """With two or more healthy replicas, one that is busier than all others is never picked."""
    healthy = {a: Load(in_flight=load.in_flight) for a, load in known.items()}
    busiest = max(load.in_flight for load in healthy.values())
    top = [a for a, load in healthy.items() if load.in_flight == busiest]
    picked = pick.pick(healthy, tried=(), now_ms=0, draw=rng.randrange)
    assert len(top) > 1 or picked != top[0]


def test_load_is_spread():
    """A thousand calls that never end are spread over four replicas almost evenly."""
    rng, known = random.Random(7), {a: Load() for a in "abcd"}  # noqa: S311
    for _ in range(1000):
        address = pick.pick(known, tried=(), now_ms=0, draw=rng.randrange)
        known[address] = pick.started(known[address])
    assert (
        max(load.in_flight for load in known.values()) - min(load.in_flight for load in known.values()) <= 5
    )


def test_ejected_after_three_failures_and_back_after_success():
    """Three failed connects in a row eject a replica for a second; one success forgives everything."""
    load = Load()
    for _ in range(2):
        load = pick.finished(pick.started(load), is_reachable=False, now_ms=100)
    assert not load.is_ejected(100)
    load = pick.finished(pick.started(load), is_reachable=False, now_ms=100)
    assert (load.is_ejected(1099), load.is_ejected(1100)) == (True, False)
    assert pick.finished(load, is_reachable=True, now_ms=200) == Load()


@given(st.integers(3, 2000))
def test_ejection_is_bounded(failures):
    """However often a replica failed, it is tried again within 30 s."""
    load = pick.finished(Load(failures=failures), is_reachable=False, now_ms=0)
    assert 0 < load.ejected_until_ms <= pick.EJECT_MAX_MS


@given(st.sets(st.integers(0, 200), min_size=5), st.integers(1, 5))
def test_subset_changes_by_at_most_one(numbers, limit):
    """When one address goes, at most one member of a client's subset changes."""
    names = [f"s{n}" for n in sorted(numbers)]
    before = pick.subset(names, limit=limit, salt="me")
    after = pick.subset(names[1:], limit=limit, salt="me")
    assert len(before) == min(limit, len(names))
    assert len(before - after) <= 1
