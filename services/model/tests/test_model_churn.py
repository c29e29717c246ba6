import asyncio
import random

import grpc
from model_cell import eventually, load_model, running_server
from saxml.protobuf import lm_pb2

KEY = "/sax/test/m"
REQUESTS = 2_000
AT_ONCE = 24


async def test_nothing_is_left_after_many_requests_of_all_fates():
    """Answers, cancels, passed deadlines and bad requests: slots, pages and streams return to zero."""
    random_source = random.Random(7)  # noqa: S311 - a seed, so that a failure can be repeated.
    fates = []

    async def one(cell):
        samples = random_source.choice([1, 1, 2])
        options = lm_pb2.GenerateOptions(max_tokens=random_source.randint(1, 40), num_samples=samples)
        text = random_source.choice(["ab", "zz", "qwertz", ""])
        request = lm_pb2.GenerateRequest(model_key=KEY, text=text, options=options)
        call = cell.lm.GenerateStream(request, timeout=random_source.choice([None, None, 0.02]))
        leave_after = random_source.choice([None, 0, 1, 3])
        try:
            count = 0
            async for _ in call:
                if count == leave_after:
                    call.cancel()
                count += 1
            fates.append("answered")
        except grpc.aio.AioRpcError as error:
            fates.append(error.code().name)
        except asyncio.CancelledError:
            fates.append("CANCELLED")

    async with running_server() as cell:
        await load_model(cell)
        left = iter(range(REQUESTS))

        async def worker():
            for _ in left:
                await one(cell)

        await asyncio.gather(*[worker() for _ in range(AT_ONCE)])
        await eventually(lambda: cell.server.table.in_flight == 0)
        await eventually(lambda: cell.server.table.reports()[0].snapshot.running == 0)
        snapshot = cell.server.table.reports()[0].snapshot
        assert (snapshot.queued, snapshot.slots_used, snapshot.pages_used) == (0, 0, 0)
        assert cell.server._dispatcher.in_flight == 0
        assert not cell.server._runner._runs
    assert len(fates) == REQUESTS
    assert {"answered", "CANCELLED", "INVALID_ARGUMENT"} <= set(fates)
