"""Work for a client only as long as it is there.

A closed connection, a cancel and a deadline are the same event (DESIGN section 4): whatever is done for a
request runs in a task beside one that waits for the connection to close; the first to end ends the other.
Cancelling the task cancels the gRPC call, which frees the model's slot within a step.
"""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any, TypeVar

from sax_common.errors import Cancelled

if TYPE_CHECKING:
    from collections.abc import Coroutine

    from starlette.types import Receive

Result = TypeVar("Result")


async def unless_disconnected(work: Coroutine[object, object, Result], receive: Receive) -> Result:
    """Run `work` to its end and return its result; the request's body must have been read before.

    Raises what `work` raises, and Cancelled when the client closes the connection first or `work` is
    cancelled. When this returns or raises, `work` is over, its clean-up included.
    """
    task = asyncio.ensure_future(work)
    watcher = asyncio.ensure_future(_closed(receive))
    try:
        await asyncio.wait((task, watcher), return_when=asyncio.FIRST_COMPLETED)
        if task.done() and not task.cancelled():
            return task.result()
        raise Cancelled("The client closed the connection.")
    finally:
        await _end(task)
        await _end(watcher)


async def _closed(receive: Receive) -> None:
    while (await receive())["type"] != "http.disconnect":
        pass


async def _end(task: asyncio.Future[Any]) -> None:
    """Cancel and wait; an outcome that nobody asked for any more is dropped."""
    if not task.done():
        task.cancel()
    await asyncio.wait((task,))
    if not task.cancelled():
        task.exception()
