"""The waker policy, by example, and the order that follows from it."""

from __future__ import annotations

from sax_admin.core.waker import Sleeper, whom_to_wake
from saxml.protobuf import modelet_pb2

M, N = "/sax/test/m", "/sax/test/n"


def asleep(address, rate=0.0, rate_before=0.0):
    """Make a dormant server."""
    return Sleeper(address, is_dormant=True, rate=rate, rate_before=rate_before)


def awake(address):
    """Make an active server."""
    return Sleeper(address, is_dormant=False)


def test_a_dormant_server_is_woken_when_rejections_grow_by_more_than_the_active_servers():
    """Strictly more: one active server and a growth of one wake nobody."""
    assert whom_to_wake({M: [awake("a"), asleep("b", 3.0, 2.0)]}) == []
    assert whom_to_wake({M: [awake("a"), asleep("b", 3.1, 2.0)]}) == ["b"]


def test_the_average_change_counts_and_the_highest_address_is_woken():
    """One sleeper's growth of four among two is a change of two."""
    servers = [awake("a"), asleep("b", 4.0, 0.0), asleep("c", 0.0, 0.0)]
    assert whom_to_wake({M: servers}) == ["c"]
    assert whom_to_wake({M: [awake("x"), *servers]}) == []


def test_a_steady_rate_wakes_nobody():
    """Only growth says that more is wanted than before."""
    assert whom_to_wake({M: [asleep("b", 50.0, 50.0)]}) == []


def test_a_server_that_two_models_miss_is_woken_once():
    """Duplicates across models collapse."""
    assert whom_to_wake({M: [asleep("b", 1.0)], N: [asleep("b", 1.0)]}) == ["b"]


def test_all_awake_or_nobody_there_wakes_nobody():
    """Nothing to wake, nothing to do."""
    assert whom_to_wake({M: [awake("a")], N: []}) == []


async def test_a_missed_server_gets_a_wake_up_call(fast_cell, eventually):
    """Rejections that grow between two polls bring a WakeUp to the dormant server of the model."""
    from sax_testing.fake_modelet import FakeModelServer  # noqa: PLC0415

    class Dormant(FakeModelServer):
        """Sleeps, and turns more and more requests down."""

        rate, woken = 0.0, 0

        async def GetStatus(self, request, context):  # noqa: N802
            """Add the figures of a sleeping server."""
            response = await super().GetStatus(request, context)
            self.rate += 5.0
            response.server_status.state = modelet_pb2.GetStatusResponse.ServerStatus.DORMANT
            response.server_status.stats.early_rejection_errors_per_second = self.rate
            return response

        async def WakeUp(self, _request, _context):  # noqa: N802
            """Count the call."""
            self.woken += 1
            return modelet_pb2.WakeUpResponse()

    fake = Dormant()
    await fake.start()
    try:
        await fake.join(f"127.0.0.1:{fast_cell.server.port}")
        await fast_cell.publish()
        await fast_cell.ready()
        await eventually(lambda: fake.woken > 0)
    finally:
        await fake.stop()
