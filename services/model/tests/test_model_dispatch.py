import asyncio

import pytest
from sax_common.errors import InvalidArgument, ResourceExhausted, Unavailable
from sax_engine.core.requests import Emission, Finish, QueueFull, Request, RequestRejected
from sax_model.dispatch import Dispatcher
from sax_model.mailbox import Cancel, LaneFailed, LaneId, Refused, Stepped

LANE = LaneId("m#1")


class Recorder:
    """Stands where the device thread is: keeps what is posted."""

    def __init__(self) -> None:
        self.posted = []

    def post(self, command):
        """Keep it."""
        self.posted.append(command)


def make():
    """Return a dispatcher, what it posts, and the lanes that failed."""
    failed = []
    dispatcher = Dispatcher(on_stepped=lambda _: None, on_lane_failed=lambda *facts: failed.append(facts))
    device = Recorder()
    dispatcher.attach(device)
    return dispatcher, device.posted, failed


def request(name="r1", samples=1):
    """Return a small request."""
    return Request(request_id=name, prompt=(1,), max_new_tokens=9, num_samples=samples)


def step(*emissions):
    """Return the news of one step."""
    return Stepped(LANE, list(emissions), None, 7, 1)


async def test_news_that_were_not_read_come_together():
    """A reader that was busy for three steps gets one list."""
    dispatcher, _, _ = make()
    async with dispatcher.open(LANE, request()) as stream:
        for token in range(3):
            dispatcher.deliver(step(Emission("r1", 0, (token,), (0.0,))))
        assert [emission.tokens for emission in await stream.next()] == [(0,), (1,), (2,)]


async def test_a_stream_is_over_when_every_sample_has_finished():
    """Afterwards there is nothing to read and nothing to cancel."""
    dispatcher, posted, _ = make()
    async with dispatcher.open(LANE, request(samples=2)) as stream:
        dispatcher.deliver(step(Emission("r1", 1, finish=Finish.STOP)))
        assert not stream.is_over
        dispatcher.deliver(step(Emission("r1", 0, finish=Finish.LENGTH)))
        assert len(await stream.next()) == 2
        assert await stream.next() == []
    assert not any(isinstance(command, Cancel) for command in posted)
    assert dispatcher.in_flight == 0


async def test_leaving_early_cancels_on_the_device():
    """A stream that is closed before its end posts one Cancel, and late news are dropped."""
    dispatcher, posted, _ = make()
    async with dispatcher.open(LANE, request()):
        pass
    assert posted[-1] == Cancel(LANE, "r1")
    dispatcher.deliver(step(Emission("r1", 0, (1,), (0.0,))))


@pytest.mark.parametrize(
    ("error", "told"),
    [
        (RequestRejected("too long"), InvalidArgument),
        (QueueFull("full"), ResourceExhausted),
        (None, Unavailable),
    ],
)
async def test_a_refusal_of_the_engine_becomes_a_status(error, told):
    """A bad request, a full line, a lane that is gone: each has its own code."""
    dispatcher, _, _ = make()
    async with dispatcher.open(LANE, request()) as stream:
        dispatcher.deliver(Refused("r1", error))
        with pytest.raises(told):
            await stream.next()


async def test_a_failed_lane_ends_its_own_streams_only():
    """Tokens that came before the failure are handed out first; another lane's stream goes on."""
    dispatcher, _, failed = make()
    other = LaneId("o#2")
    async with dispatcher.open(LANE, request()) as mine, dispatcher.open(other, request("r2")) as theirs:
        dispatcher.deliver(step(Emission("r1", 0, (5,), (0.0,))))
        dispatcher.deliver(LaneFailed(LANE, RuntimeError("boom"), is_device_fault=False))
        assert len(await mine.next()) == 1
        with pytest.raises(Unavailable, match="boom"):
            await mine.next()
        assert not theirs.is_over
    assert failed[0][0] == LANE


async def test_a_reader_may_ask_to_be_woken_every_few_tokens():
    """With a stream interval of three, two emissions wake nobody and the end always does."""
    dispatcher, _, _ = make()
    async with dispatcher.open(LANE, request(), news_per_wake=3) as stream:
        reader = asyncio.ensure_future(stream.next())
        for token in range(3):
            await asyncio.sleep(0)
            assert not reader.done()
            dispatcher.deliver(step(Emission("r1", 0, (token,), (0.0,))))
        assert len(await reader) == 3
        dispatcher.deliver(step(Emission("r1", 0, (9,), (0.0,), finish=Finish.STOP)))
        assert len(await stream.next()) == 1
