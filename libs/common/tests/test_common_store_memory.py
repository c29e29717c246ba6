import pytest
from sax_common.store.memory import MemoryStore
from sax_testing.store_suite import StoreSuite


class TestMemoryStore(StoreSuite):
    """The plain dictionary keeps every promise of the port."""

    @pytest.fixture
    async def store(self):
        """Make an empty store."""
        return MemoryStore()
