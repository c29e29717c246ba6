"""From the chunks of the model's stream to events, in order, one write per chunk.

    StreamChunk(samples=(" Paris",)) ─► opening of each new choice, its text ─► closing ─► usage ─► [DONE]

An upstream chunk usually holds one token of one sample; all that it causes is joined into one piece of
bytes, because each piece is one system call. Errors are not handled here: `event_stream` knows whether the
answer has begun.

Pure but for waiting: it owns nothing and reads no clock.
"""

from __future__ import annotations

from contextlib import aclosing
from typing import TYPE_CHECKING

from sax_common.errors import FailedPrecondition, Unavailable

from sax_http.openai.chunks import DONE

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator

    from sax_client import StreamChunk, StreamSample, Usage

    from sax_http.openai.chunks import Chunks


class _Choice:
    """What has been sent for one sample. Owned by the stream that made it."""

    __slots__ = ("is_closed", "logprob_chars", "sent_chars")

    def __init__(self) -> None:
        self.sent_chars = 0
        self.logprob_chars = 0
        self.is_closed = False


async def events(
    upstream: AsyncGenerator[StreamChunk, None],
    chunks: Chunks,
    *,
    choices: int,
    with_logprobs: bool,
    include_usage: bool,
) -> AsyncGenerator[bytes, None]:
    """Write the events of one answer, ending with [DONE]; closes `upstream` whatever happens.

    A model with more samples than `choices` (an original, which reads no options) has the others dropped.

    Raises Unavailable when the stream ends before the model has said anything, FailedPrecondition when
    the model takes back text that was already sent (only beam search on original servers does).
    """
    sent: list[_Choice] = []
    usage: Usage | None = None
    async with aclosing(upstream):
        async for chunk in upstream:
            pieces: list[str] = []
            for index, sample in enumerate(chunk.samples[:choices]):
                if index == len(sent):
                    sent.append(_Choice())
                    pieces.append(chunks.opening(index))
                _append(pieces, chunks, index, sent[index], sample, with_logprobs=with_logprobs)
            if chunk.usage is not None:
                usage = chunk.usage
            text = "".join(pieces)
            if text:
                yield text.encode()
    if not sent:
        raise Unavailable("The model server ended the stream without an answer.")
    # An original model server does not say why it stopped: the end of its stream is the reason.
    rest = [chunks.closing(index, "stop") for index, choice in enumerate(sent) if not choice.is_closed]
    if include_usage and usage is not None:
        rest.append(chunks.usage(usage))
    yield "".join(rest).encode() + DONE


def _append(
    pieces: list[str],
    chunks: Chunks,
    index: int,
    choice: _Choice,
    sample: StreamSample,
    *,
    with_logprobs: bool,
) -> None:
    if sample.delta or sample.kept != choice.sent_chars:
        if sample.kept != choice.sent_chars:
            raise FailedPrecondition(
                "The model changed text that was already sent; ask again without streaming."
            )
        choice.sent_chars += len(sample.delta)
    if with_logprobs and sample.logprobs:
        pieces.append(
            chunks.text_with_logprobs(index, sample.delta, sample.logprobs, offset=choice.logprob_chars)
        )
        choice.logprob_chars += sum(len(token.token) for token in sample.logprobs)
    elif sample.delta:
        pieces.append(chunks.text(index, sample.delta))
    if sample.finish_reason is not None and not choice.is_closed:
        pieces.append(chunks.closing(index, sample.finish_reason))
        choice.is_closed = True
