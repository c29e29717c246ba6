"""Work on text that may take long is done here, off the event loop: a small pool of threads with a bound.

Tokenisers release the interpreter while they work, so two threads keep up with what two cores can
prefill. A prompt that has kept a thread busy for `TIMEOUT_S` fails; its thread comes back when the
tokeniser does.
"""

import asyncio
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import TypeVar

from sax_common.errors import DeadlineExceeded, ResourceExhausted

THREADS = 2
WAITING_MAX = 1024
TIMEOUT_S = 30.0

T = TypeVar("T")


class TokenizerPool:
    """The pool. Owned by the event loop."""

    def __init__(self) -> None:
        self._threads = ThreadPoolExecutor(THREADS, thread_name_prefix="tokenizer")
        self._waiting = 0

    async def run(self, work: Callable[[], T]) -> T:
        """Return what `work` returns; ResourceExhausted when too many wait, DeadlineExceeded for a hang."""
        if self._waiting >= WAITING_MAX:
            raise ResourceExhausted(f"{WAITING_MAX} prompts already wait to be tokenised")
        self._waiting += 1
        try:
            async with asyncio.timeout(TIMEOUT_S):
                return await asyncio.get_running_loop().run_in_executor(self._threads, work)
        except TimeoutError as error:
            raise DeadlineExceeded(f"tokenising this prompt took more than {TIMEOUT_S:g} s") from error
        finally:
            self._waiting -= 1

    def close(self) -> None:
        """End the threads once they are idle."""
        self._threads.shutdown(wait=False, cancel_futures=True)
