import asyncio
import threading

import pytest
from model_toy_language import ToyLoader
from sax_common.clock import SystemClock
from sax_common.errors import Cancelled, Unavailable
from sax_model.device_faults import is_device_fault
from sax_model.loader import Loader, LoadJob, LoadSpec
from sax_zoo.checkpoints.source import LoadProgress, Phase

SPEC = LoadSpec(key="/sax/t/m", model_path="toy.Ok", checkpoint_path="None")


async def test_a_load_that_shows_no_progress_is_given_up_and_its_model_dropped():
    """Storage that hangs blocks neither the line nor the server; a late result is closed."""
    clock, gate, made = SystemClock(), threading.Event(), []

    def hang(_spec, *, report, is_cancelled):
        report(LoadProgress(phase=Phase.READING, done_bytes=0, total_bytes=1))
        gate.wait()
        made.append(ToyLoader()(SPEC, report=report, is_cancelled=is_cancelled))
        return made[0]

    loader = Loader(hang, clock, stall_ms=100)
    job = LoadJob(clock)
    with pytest.raises(Unavailable, match=r"no progress .* while reading"):
        await loader.run(SPEC, job)
    assert job.is_cancelled()
    gate.set()
    async with asyncio.timeout(5):
        while not (made and made[0].is_closed):  # noqa: ASYNC110 - the thread has been left behind.
            await asyncio.sleep(0.01)


async def test_loads_run_one_after_another_and_a_cancelled_one_never_begins():
    """Two loads at once would need the memory of both."""
    clock, load = SystemClock(), ToyLoader()
    loader = Loader(load, clock, stall_ms=60_000)
    waiting = LoadSpec(key="/sax/t/w", model_path="toy.Waits", checkpoint_path="None")
    first = asyncio.ensure_future(loader.run(waiting, LoadJob(clock)))
    job = LoadJob(clock)
    second = asyncio.ensure_future(loader.run(SPEC, job))
    await asyncio.sleep(0.05)
    assert not load.loaded
    job.cancel()
    load.gate.set()
    await first
    with pytest.raises(Cancelled, match="before it began"):
        await second
    assert len(load.loaded) == 1


class JaxRuntimeError(RuntimeError):
    """Named as JAX names its own."""


@pytest.mark.parametrize(
    ("error", "is_fault"),
    [
        (JaxRuntimeError("INTERNAL: CUDA error: an illegal memory access"), True),
        (JaxRuntimeError("RESOURCE_EXHAUSTED: out of memory"), False),
        (RuntimeError("INTERNAL: ours"), False),
        (ValueError("shapes"), False),
    ],
)
def test_only_a_broken_device_ends_the_process(error, is_fault):
    """Running out of memory or a bug of ours fails one model; a runtime that is broken fails all."""
    assert is_device_fault(error) is is_fault
