"""Requests in flight, as the event loop sees them: one `RequestStream` per engine request.

`Dispatcher.open` posts the request to the device thread and registers its stream in one loop turn, so that
nothing can be cancelled in between; whoever opened it closes it (`async with`), and closing a stream that is
not over frees its slot within one step: a closed connection, a cancel and a deadline are the same event.

News that nobody has read yet lie in the stream's list and are handed over together: a slow reader gets fewer
and longer messages and holds nobody up. The list is bounded by what the request may generate.
"""

import asyncio
import itertools
from collections.abc import Callable
from types import TracebackType
from typing import Self

from sax_common.errors import InvalidArgument, ResourceExhausted, SaxError, Unavailable
from sax_engine.core.requests import Emission, QueueFull, Request

from sax_model.device_thread import DeviceThread
from sax_model.mailbox import (
    AddLane,
    Cancel,
    LaneFailed,
    LaneId,
    LaneRemoved,
    News,
    Refused,
    RemoveLane,
    Stepped,
    Submit,
)


class RequestStream:
    """One engine request in flight. Owned by the task that opened it, fed by the dispatcher."""

    __slots__ = (
        "_dispatcher",
        "_error",
        "_news",
        "_news_per_wake",
        "_running_samples",
        "_waiter",
        "_wants_all",
        "first_token_ms",
        "lane",
        "request",
    )

    def __init__(
        self, dispatcher: "Dispatcher", lane: LaneId, request: Request, *, news_per_wake: int = 1
    ) -> None:
        """`news_per_wake` emissions are waited for before the reader is woken; the end always wakes it."""
        self.lane = lane
        self.first_token_ms: int | None = None
        self._news_per_wake = news_per_wake
        self.request = request
        self._dispatcher = dispatcher
        self._news: list[Emission] = []
        self._running_samples = request.num_samples
        self._waiter: asyncio.Future[None] | None = None
        self._wants_all = False
        self._error: SaxError | None = None

    @property
    def is_over(self) -> bool:
        """Whether nothing more will come."""
        return self._running_samples == 0 or self._error is not None

    async def next(self) -> list[Emission]:
        """Return all that has come since the last call, waiting for something; [] once the request is over.

        Raises the SaxError that ended the request; tokens that came before it are handed out first.
        """
        while len(self._news) < self._news_per_wake and not self.is_over:
            await self._wait()
        if not self._news and self._error is not None:
            raise self._error
        news, self._news = self._news, []
        return news

    async def rest(self) -> list[Emission]:
        """Return all that comes until the request is over, with one wake-up of the task; errors as `next`."""
        self._wants_all = True
        while not self.is_over:
            await self._wait()
        if self._error is not None:
            raise self._error
        return self._news

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._dispatcher.close(self)

    def feed(self, emission: Emission, at_ms: int) -> None:
        """Take news from the device."""
        self._news.append(emission)
        if self.first_token_ms is None and emission.tokens:
            self.first_token_ms = at_ms
        if emission.finish is not None:
            self._running_samples -= 1
        is_enough = not self._wants_all and len(self._news) >= self._news_per_wake
        if is_enough or self._running_samples == 0:
            self._wake()

    def fail(self, error: SaxError) -> None:
        """End the request; the first error wins."""
        if not self.is_over:
            self._error = error
            self._wake()

    async def _wait(self) -> None:
        self._waiter = asyncio.get_running_loop().create_future()
        try:
            await self._waiter
        finally:
            self._waiter = None

    def _wake(self) -> None:
        if self._waiter is not None and not self._waiter.done():
            self._waiter.set_result(None)


class Dispatcher:
    """Every request in flight on this server. Owned by the event loop."""

    def __init__(
        self,
        *,
        on_stepped: Callable[[Stepped], None],
        on_lane_failed: Callable[[LaneId, Exception, bool], None],
    ) -> None:
        """The callbacks learn of finished steps, and of a failed lane with whether the device is to blame."""
        self._streams: dict[str, RequestStream] = {}
        self._removals: dict[LaneId, asyncio.Future[None]] = {}
        self._numbers = itertools.count(1)
        self._on_stepped = on_stepped
        self._on_lane_failed = on_lane_failed

    def attach(self, device: DeviceThread) -> None:
        """Say where commands go, before anything else: the two know each other and one is made first."""
        self._post = device.post

    @property
    def in_flight(self) -> int:
        """Requests that are not over."""
        return len(self._streams)

    def new_id(self) -> str:
        """Return a request id that this process has not used."""
        return f"r{next(self._numbers)}"

    def add_lane(self, command: AddLane) -> None:
        """Let the device thread take over an engine."""
        self._post(command)

    async def remove_lane(self, lane: LaneId, error: SaxError) -> None:
        """End every request of the lane with `error` and wait until its engine is released."""
        self._fail_lane(lane, error)
        done = self._removals.setdefault(lane, asyncio.get_running_loop().create_future())
        self._post(RemoveLane(lane))
        await asyncio.shield(done)

    def open(self, lane: LaneId, request: Request, *, news_per_wake: int = 1) -> RequestStream:
        """Send a request to the device, for `async with`; raises ResourceExhausted when too many wait."""
        self._post(Submit(lane, request))
        stream = RequestStream(self, lane, request, news_per_wake=news_per_wake)
        self._streams[request.request_id] = stream
        return stream

    def close(self, stream: RequestStream) -> None:
        """Forget a stream; one that is not over is cancelled on the device."""
        if self._streams.pop(stream.request.request_id, None) is not None and not stream.is_over:
            self._post(Cancel(stream.lane, stream.request.request_id))

    def fail_all(self, error: SaxError) -> None:
        """End every request in flight: the process is going away."""
        for stream in self._streams.values():
            stream.fail(error)

    def deliver(self, news: News) -> None:
        """Take one piece of news from the device thread."""
        match news:
            case Stepped():
                streams = self._streams
                for emission in news.emissions:
                    stream = streams.get(emission.request_id)
                    if stream is not None:  # None: closed while the step ran.
                        stream.feed(emission, news.at_ms)
                self._on_stepped(news)
            case Refused(request_id, error):
                if request_id in self._streams:
                    self._streams[request_id].fail(_refusal(error))
            case LaneFailed(lane, error, is_device_fault):
                self._fail_lane(lane, Unavailable(f"the engine of this model failed: {error}"))
                self._on_lane_failed(lane, error, is_device_fault)
            case LaneRemoved(lane):
                done = self._removals.pop(lane, None)
                if done is not None and not done.done():
                    done.set_result(None)

    def _fail_lane(self, lane: LaneId, error: SaxError) -> None:
        for stream in self._streams.values():
            if stream.lane == lane:
                stream.fail(error)


def _refusal(error: Exception | None) -> SaxError:
    if error is None:
        return Unavailable("the model was unloaded before the request could begin")
    if isinstance(error, QueueFull):
        return ResourceExhausted(str(error))
    return InvalidArgument(str(error))
