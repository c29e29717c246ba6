"""From emissions of the engine to the text a client gets: one `Generation` per request.

The life of a token: the servicer hands all emissions that have come since it last looked to `take`; each
sample's decoder turns tokens into text and cuts at stop strings; `take` returns one `Chunk` per sample,
in the order of the samples, whatever came. The request is over when every sample has a finish reason; a
sample that met a stop string is over although the engine does not know it, so the servicer closes the
stream then.

Runs on the event loop, for it costs microseconds per token. Knows neither protobuf nor gRPC.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from enum import Enum

from sax_common.errors import Cancelled, DeadlineExceeded, SaxError, Unavailable
from sax_engine.core.requests import Emission, Finish

from sax_model.hosted_model import HostedModel, TextDecoder


class FinishReason(Enum):
    """Why a sample ended, as clients are told."""

    STOP = "stop"
    LENGTH = "length"


@dataclass(frozen=True, slots=True)
class TokenScore:
    """One token, its log-probability, and the best alternatives as (token, log-probability)."""

    token: int
    logprob: float
    top: tuple[tuple[int, float], ...]


@dataclass(slots=True)
class Chunk:
    """What is new for one sample: text, sum of log-probabilities, number of tokens, and how it ended.

    `tokens` is filled only when log-probabilities per token were asked for.
    """

    text: str = ""
    score: float = 0.0
    count: int = 0
    tokens: Sequence[TokenScore] = ()
    finish: FinishReason | None = None


@dataclass(frozen=True, slots=True)
class Answer:
    """One whole sample."""

    text: str
    score: float
    tokens: Sequence[TokenScore]
    finish: FinishReason | None


class _Sample:
    __slots__ = ("decoder", "finish")

    def __init__(self, decoder: TextDecoder) -> None:
        self.decoder = decoder
        self.finish: FinishReason | None = None


class Generation:
    """The samples of one request. Owned by the request's task."""

    def __init__(
        self, model: HostedModel, *, samples: int, stop: Sequence[str] = (), wants_logprobs: bool = False
    ) -> None:
        self._model = model
        self._samples = [_Sample(model.stream_decoder(stop)) for _ in range(samples)]
        self._wants_logprobs = wants_logprobs
        self.completion_tokens = 0
        self.cached_tokens = 0
        self.started_ms: int | None = None

    def answers(self, rounds: Sequence[Sequence[Chunk]]) -> list[Answer]:
        """Put the chunks of every `take` together: one answer per sample, best first if the model says so."""
        answers = [self._answer(chunks) for chunks in zip(*rounds, strict=True)]
        return sorted(answers, key=lambda each: -each.score) if self._model.sorts_samples else answers

    @property
    def is_over(self) -> bool:
        """Whether every sample has ended."""
        return all(sample.finish is not None for sample in self._samples)

    @property
    def reason(self) -> str:
        """How the whole request ended, for metrics: `length` if any sample was cut short."""
        reasons = {sample.finish for sample in self._samples}
        if None in reasons:
            return "cancelled"
        return "length" if FinishReason.LENGTH in reasons else "stop"

    def take(self, emissions: Sequence[Emission]) -> list[Chunk]:
        """Return what these emissions bring, one chunk per sample; raises what ended the request."""
        chunks = [Chunk() for _ in self._samples]
        for emission in emissions:
            self.cached_tokens = max(self.cached_tokens, emission.cached_tokens)
            if emission.started_ms is not None:
                self.started_ms = emission.started_ms
            sample = self._samples[emission.sample]
            if sample.finish is None:
                self._take_one(sample, chunks[emission.sample], emission)
        return chunks

    def _answer(self, chunks: Sequence[Chunk]) -> Answer:
        return Answer(
            text="".join(chunk.text for chunk in chunks),
            score=self._model.answer_score(
                sum(chunk.score for chunk in chunks), sum(chunk.count for chunk in chunks)
            ),
            tokens=[token for chunk in chunks for token in chunk.tokens],
            finish=next((chunk.finish for chunk in chunks if chunk.finish is not None), None),
        )

    def _take_one(self, sample: _Sample, chunk: Chunk, emission: Emission) -> None:
        decoder = sample.decoder
        if emission.tokens:
            self.completion_tokens += len(emission.tokens)
            chunk.text += decoder.push(emission.tokens)
            chunk.score += sum(emission.logprobs)
            chunk.count += len(emission.tokens)
            if self._wants_logprobs:
                chunk.tokens = [*chunk.tokens, *_scores(emission)]
        if decoder.stopped:
            sample.finish = FinishReason.STOP
        elif emission.finish is not None:
            chunk.text += decoder.finish()
            sample.finish = FinishReason.STOP if decoder.stopped else _reason(emission.finish)
        chunk.finish = sample.finish


def _scores(emission: Emission) -> list[TokenScore]:
    tops = emission.top or ((),) * len(emission.tokens)
    return [TokenScore(*each) for each in zip(emission.tokens, emission.logprobs, tops, strict=True)]


def _reason(finish: Finish) -> FinishReason:
    if finish is Finish.STOP:
        return FinishReason.STOP
    if finish is Finish.LENGTH:
        return FinishReason.LENGTH
    raise finish_error(finish)


def finish_error(finish: Finish) -> SaxError:
    """Return what the caller is told when the engine ended a request without an answer."""
    if finish is Finish.CANCELLED:
        return Cancelled("the request was cancelled")
    if finish is Finish.DEADLINE:
        return DeadlineExceeded("the deadline passed before the answer was complete")
    return Unavailable("the engine gave the request up: the model gave no usable probabilities")
