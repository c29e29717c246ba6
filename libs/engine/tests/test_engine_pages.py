"""Pages: nothing is lost, nothing is owned twice by mistake."""

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule
from sax_engine.core.pages import PagePool
from sax_engine.core.requests import IntegrityError

PAGES = 6


class Pool(RuleBasedStateMachine):
    """Random takers, sharers and releasers against a list of who holds what."""

    def __init__(self) -> None:
        super().__init__()
        self.pool = PagePool(PAGES)
        self.held: list[int] = []

    @precondition(lambda self: self.pool.free)
    @rule()
    def take(self) -> None:
        """Take a page that nobody has."""
        page = self.pool.take()
        assert page not in self.held
        assert 1 <= page <= PAGES
        self.held.append(page)

    @precondition(lambda self: self.held)
    @rule(data=st.data())
    def share(self, data: st.DataObject) -> None:
        """Share a held page."""
        page = data.draw(st.sampled_from(self.held))
        self.pool.share(page)
        self.held.append(page)
        assert self.pool.is_shared(page)

    @precondition(lambda self: self.held)
    @rule(data=st.data())
    def release(self, data: st.DataObject) -> None:
        """Let go of one holding."""
        page = self.held.pop(data.draw(st.integers(0, len(self.held) - 1)))
        self.pool.release([page])

    @invariant()
    def free_and_used_are_all(self) -> None:
        """Conservation."""
        assert self.pool.free + len(set(self.held)) == PAGES
        assert self.pool.used == len(set(self.held))
        self.pool.check(self.held)


TestPool = Pool.TestCase
TestPool.settings = settings(max_examples=60, stateful_step_count=30, deadline=None)


def test_an_empty_pool_is_a_bug_of_admission():
    """Taking from an empty pool raises instead of handing out somebody's page."""
    pool = PagePool(1)
    pool.take()
    with pytest.raises(IntegrityError, match="all 1 pages are taken"):
        pool.take()


@pytest.mark.parametrize("act", [lambda pool: pool.release([1]), lambda pool: pool.share(1)])
def test_a_free_page_cannot_be_released_or_shared(act):
    """Whoever does has lost count."""
    with pytest.raises(IntegrityError, match="nobody owns it"):
        act(PagePool(2))


def test_planted_a_leaked_page_is_found():
    """A page whose owner forgot it fails the check."""
    pool = PagePool(3)
    pool.take()
    with pytest.raises(IntegrityError, match="owners on the books, 0 in truth"):
        pool.check([])


def test_planted_a_page_held_twice_is_found():
    """Two owners where the books know one fail the check."""
    pool = PagePool(3)
    page = pool.take()
    with pytest.raises(IntegrityError, match="1 owners on the books, 2 in truth"):
        pool.check([page, page])
