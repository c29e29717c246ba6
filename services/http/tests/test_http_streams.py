"""Streams end when their readers do, beat when they are silent, and never lie about how they ended."""

import asyncio
import json

import pytest
from sax_client import StreamChunk, StreamSample
from sax_common.errors import FailedPrecondition, ResourceExhausted, Unavailable
from sax_http.event_stream import EventStream
from sax_http.openai.chunks import CHAT, Chunks
from sax_http.openai.stream import events
from sax_testing.fake_cell import FakeServer

MODEL = "/sax/test/m"
SCOPE = {"type": "http", "method": "POST", "path": "/v1/completions"}


def _chunk(*deltas, kept=0, reason=None):
    return StreamChunk(tuple(StreamSample(one, one, kept, (0.0,), reason) for one in deltas))


async def _upstream(*chunks):
    for one in chunks:
        yield one


async def _written(*chunks, choices=1):
    writer = Chunks(CHAT, answer_id="i", created=1, model="m", include_usage=False)
    made = events(_upstream(*chunks), writer, choices=choices, with_logprobs=False, include_usage=False)
    return b"".join([piece async for piece in made]).decode()


async def test_original_servers_stream_without_a_reason():
    """The end of the stream is the reason when the server gives none; more samples than asked are dropped."""
    text = await _written(_chunk("a", "x"), _chunk("b", "y", kept=1))
    choices = [json.loads(line[6:])["choices"][0] for line in text.split("\n\n")[:-2]]
    assert [one["index"] for one in choices] == [0, 0, 0, 0]
    assert choices[-1]["finish_reason"] == "stop"


async def test_two_choices_interleave():
    """Each choice opens, speaks and closes under its own index."""
    text = await _written(_chunk("a", "x"), _chunk("b", "y", kept=1, reason="length"), choices=2)
    choices = [json.loads(line[6:])["choices"][0] for line in text.split("\n\n")[:-2]]
    assert [one["index"] for one in choices] == [0, 0, 1, 1, 0, 0, 1, 1]
    assert [one["finish_reason"] for one in choices if one["finish_reason"]] == ["length", "length"]


async def test_text_taken_back_is_an_error():
    """A model that changes what was sent cannot be streamed, and says so."""
    with pytest.raises(FailedPrecondition, match="without streaming"):
        await _written(_chunk("abc"), _chunk("x", kept=1))


async def test_stream_without_any_message_is_an_error():
    """Nothing is not an empty answer."""
    with pytest.raises(Unavailable):
        await _written()


class Wire:
    """An ASGI client by hand: `receive` waits until the client leaves, `send` collects."""

    def __init__(self):
        self.sent = []
        self.gone = asyncio.Event()
        self.is_stuck = False

    async def receive(self):
        """Wait for the end."""
        await self.gone.wait()
        return {"type": "http.disconnect"}

    async def send(self, message):
        """Collect, or hang."""
        if self.is_stuck:
            await asyncio.Event().wait()
        self.sent.append(message)

    @property
    def text(self):
        """All bodies so far."""
        return b"".join(message.get("body", b"") for message in self.sent).decode()


async def test_silence_is_filled_with_comments():
    """A stream that says nothing for a while sends a comment, and with it the head of the answer."""

    async def slow():
        await asyncio.sleep(0.2)
        yield b"data: 1\n\n"

    wire = Wire()
    await EventStream(slow(), heartbeat_s=0.05)(SCOPE, wire.receive, wire.send)
    assert wire.sent[0]["status"] == 200
    assert wire.text.startswith(": ping\n\n")
    assert wire.text.endswith("data: 1\n\n")


async def test_error_after_a_comment_is_an_event():
    """Once the head is out an error can only be an event."""

    async def failing():
        await asyncio.sleep(0.1)
        raise ResourceExhausted("full")
        yield b""

    wire = Wire()
    await EventStream(failing(), heartbeat_s=0.02)(SCOPE, wire.receive, wire.send)
    assert json.loads(wire.text.split("\n\n")[-2][6:])["error"]["message"] == "full"
    assert wire.sent[-1]["more_body"] is False


async def test_bug_is_not_told():
    """The text of an exception that is not ours stays in the log."""

    async def broken():
        raise KeyError("secret")
        yield b""

    wire = Wire()
    await EventStream(broken())(SCOPE, wire.receive, wire.send)
    assert wire.sent[0]["status"] == 500
    assert "secret" not in wire.text


async def test_stopped_reader_is_dropped():
    """A reader that takes nothing for the limit loses its stream, and upstream is closed."""
    closed = asyncio.Event()

    async def endless():
        try:
            while True:
                yield b"data: 1\n\n"
                wire.is_stuck = True
        finally:
            closed.set()

    wire = Wire()
    dropped = asyncio.Event()
    scope = {**SCOPE, "extensions": {"sax.abort": {"drop": dropped.set}}}
    await EventStream(endless(), stalled_reader_s=0.05)(scope, wire.receive, wire.send)
    assert closed.is_set()
    assert dropped.is_set()


class Watched(FakeServer):
    """A slow model that notes when a call is over."""

    def __init__(self):
        super().__init__()
        self.pause_s = 0.05
        self.ended = asyncio.Event()

    async def GenerateStream(self, request, context):  # noqa: N802
        """As the parent."""
        try:
            async for message in super().GenerateStream(request, context):
                yield message
        finally:
            self.ended.set()


async def test_client_that_leaves_cancels_the_call(http):
    """Closing the connection in the middle ends the model server's work at once."""
    server = await http.cell.start_server(Watched())
    http.cell.admin.publish("/sax/test/slow", [server])
    body = {"model": "/sax/test/slow", "prompt": "a " * 400, "stream": True}
    async with http.web.stream("POST", "/v1/completions", json=body) as answer:
        async for _ in answer.aiter_bytes():
            break
    await asyncio.wait_for(server.ended.wait(), 2)


async def test_client_that_leaves_cancels_a_whole_answer(http):
    """The same while the client waits for a whole answer."""
    http.model.delay_s = 30
    with pytest.raises(TimeoutError):
        await asyncio.wait_for(http.web.post("/generate", json={"model": MODEL, "query": "a"}), 0.3)
    async with asyncio.timeout(2):
        while "sax_http_requests_in_flight 1.0" not in (await http.web.get("/metrics")).text:  # noqa: ASYNC110
            await asyncio.sleep(0.02)
