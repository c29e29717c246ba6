"""A fake cell on a thread, and the program run in this process: what most tests of saxutil need."""

from __future__ import annotations

import asyncio
import threading
from dataclasses import dataclass
from typing import TYPE_CHECKING

import pytest
from sax_testing.fake_cell import FakeCell, FakeServer
from sax_util.main import main

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator


class CellThread:
    """A `FakeCell` on a loop of its own, for `main` makes its own loop too."""

    def __init__(self, root) -> None:
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever)
        self._thread.start()
        self.cell = FakeCell(root)
        self.run(self.cell.__aenter__())
        self.server: FakeServer = self.run(self.cell.start_server())

    def run(self, coroutine):
        """Run something on the cell's loop."""
        return asyncio.run_coroutine_threadsafe(coroutine, self._loop).result(30)

    def do(self, function: Callable[[], object]) -> None:
        """Call something on the cell's loop."""

        async def call() -> None:
            function()

        self.run(call())

    def close(self) -> None:
        """Stop everything."""
        self.run(self.cell.__aexit__(None, None, None))
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join()
        self._loop.close()


@dataclass
class Ran:
    """How a run of the program ended."""

    status: int
    out: str
    err: str


@pytest.fixture
def cell(tmp_path, monkeypatch) -> Iterator[CellThread]:
    """A cell with one model server; SAX_ROOT points at it."""
    monkeypatch.setenv("SAX_CACHE_DIR", str(tmp_path / "cache"))
    monkeypatch.setenv("SAX_ROOT", str(tmp_path / "root"))
    thread = CellThread(tmp_path / "root")
    yield thread
    thread.close()


@pytest.fixture
def saxutil(capsys) -> Callable[..., Ran]:
    """Run the program with these arguments."""

    def run(*argv: str) -> Ran:
        status = main(argv)
        captured = capsys.readouterr()
        return Ran(status, captured.out, captured.err)

    return run
