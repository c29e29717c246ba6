"""Fixtures of this package's tests: see `model_cell`."""

import sys
from pathlib import Path

import pytest

# Test folders are no packages (import-mode=importlib), so helpers beside the tests need this.
sys.path.insert(0, str(Path(__file__).parent))

from model_cell import load_model, running_server


@pytest.fixture
async def cell():
    """A server with nothing loaded."""
    async with running_server() as started:
        yield started


@pytest.fixture
async def loaded():
    """A server with /sax/test/m."""
    async with running_server() as started:
        await load_model(started)
        yield started
