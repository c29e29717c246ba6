"""What a caller asks of the engine, and what comes back.

The life of one request: somebody builds a `Request` (token ids in, never text) and submits it. The engine
checks it once, with `check_request`, against what the backend can hold; from then on it cannot fail for want
of memory. Each step may bring an `Emission` per sample: the new tokens with their log-probabilities. The
last emission of a sample carries a `Finish`. The request is over when every sample has one.

Positions count from 0 at the first prompt token. A request knows no model names, no text and no clock: its
deadline is a number on the same scale as the `now_ms` that the engine is given.
"""

import math
from dataclasses import dataclass, field
from enum import Enum

MAX_SEED = 2**64 - 1


class EngineError(Exception):
    """Root of what the engine raises: RequestRejected, QueueFull (no harm done), IntegrityError (a bug)."""


class RequestRejected(EngineError):  # noqa: N818 - says what happened, as gRPC codes do.
    """The request can never run here; the message says what was asked and what the limit is."""


class QueueFull(EngineError):  # noqa: N818 - same.
    """The waiting line is at its bound; the same request may be accepted later."""


class IntegrityError(EngineError):
    """The engine's own bookkeeping contradicts itself. Never caused by a request; report it."""


class Finish(Enum):
    """Why a sample ended."""

    STOP = "stop"  # A stop id or stop sequence was generated; it is the last token emitted.
    LENGTH = "length"  # max_new_tokens were generated, or a Score request has its answer.
    CANCELLED = "cancelled"
    DEADLINE = "deadline"
    ERROR = "error"  # The model gave no finite log-probability, or its lane was aborted.


@dataclass(frozen=True, kw_only=True, slots=True)
class SamplingParams:
    """How the next token is chosen; the exact rule is `sax_engine.core.sampling`.

    `temperature` scales the noise (0 is argmax), `top_k` 0 keeps the whole vocabulary, `top_p` 1 keeps
    everything. Noise is keyed by (seed, sample, position, token id), so equal requests give equal tokens in
    any company.
    """

    temperature: float = 0.0
    top_k: int = 0
    top_p: float = 1.0
    seed: int = 0


@dataclass(frozen=True, kw_only=True, slots=True)
class Request:
    """One prompt with everything that decides its answer.

    `score_from` asks for the log-probabilities of `prompt[score_from:]`, each given all tokens before it
    (so it is at least 1); with `max_new_tokens` 0 nothing is generated. `top_logprobs` asks for that many
    alternatives beside each generated token. Higher `priority` runs first, equal ones in order of arrival.
    """

    request_id: str
    prompt: tuple[int, ...]
    max_new_tokens: int
    stop_ids: frozenset[int] = frozenset()
    stop_sequences: tuple[tuple[int, ...], ...] = ()
    num_samples: int = 1
    sampling: SamplingParams = field(default_factory=SamplingParams)
    top_logprobs: int = 0
    score_from: int | None = None
    priority: int = 0
    deadline_ms: int | None = None


@dataclass(frozen=True, slots=True)
class Emission:
    """What one step brought for one sample.

    `logprobs` are log_softmax of the raw float32 logits (temperature 1, whole vocabulary) and `top` holds
    per token the best alternatives as (token, log-probability), best first. `prompt_logprobs` comes once,
    for sample 0.
    `started_ms`, the time of the first step that worked on the request, comes with each sample's first token.
    """

    request_id: str
    sample: int
    tokens: tuple[int, ...] = ()
    logprobs: tuple[float, ...] = ()
    top: tuple[tuple[tuple[int, float], ...], ...] = ()
    prompt_logprobs: tuple[float, ...] | None = None
    finish: Finish | None = None
    cached_tokens: int = 0
    started_ms: int | None = None


@dataclass(frozen=True, kw_only=True, slots=True)
class RequestLimits:
    """What the backend and the operator allow one request to be."""

    vocab_size: int
    max_len: int
    page_size: int
    num_pages: int
    max_samples: int
    max_top_logprobs: int


def worst_case_pages(request: Request, page_size: int) -> int:
    """Pages the request can come to own: whole prompt pages once, all later pages per sample.

    The last generated token is never an input, so it needs no room.
    """
    inputs = len(request.prompt) + max(request.max_new_tokens - 1, 0)
    total = -(-inputs // page_size)
    shared = (len(request.prompt) - 1) // page_size
    return shared + request.num_samples * (total - shared)


def check_request(request: Request, limits: RequestLimits) -> None:
    """Raise RequestRejected, naming both numbers, when the request could never run here."""
    _check_lengths(request, limits)
    _check_tokens(request, limits.vocab_size)
    _check_sampling(request.sampling)
    if not 1 <= request.num_samples <= limits.max_samples:
        raise RequestRejected(
            f"num_samples is {request.num_samples}; this engine allows 1 to {limits.max_samples}"
        )
    if not 0 <= request.top_logprobs <= limits.max_top_logprobs:
        raise RequestRejected(
            f"top_logprobs is {request.top_logprobs}; this engine allows 0 to {limits.max_top_logprobs}"
        )
    pages = worst_case_pages(request, limits.page_size)
    if pages > limits.num_pages:
        raise RequestRejected(f"the request may need {pages} cache pages; this engine has {limits.num_pages}")


def _check_lengths(request: Request, limits: RequestLimits) -> None:
    length = len(request.prompt)
    if length == 0:
        raise RequestRejected("the prompt is empty")
    if request.max_new_tokens < 0:
        raise RequestRejected(f"max_new_tokens is {request.max_new_tokens}; it cannot be negative")
    if length + request.max_new_tokens > limits.max_len:
        raise RequestRejected(
            f"prompt of {length} tokens plus {request.max_new_tokens} new tokens is "
            f"{length + request.max_new_tokens}; the model holds {limits.max_len}"
        )
    if request.score_from is None and request.max_new_tokens == 0:
        raise RequestRejected("nothing is asked for: max_new_tokens is 0 and score_from is not set")
    if request.score_from is not None:
        if not 1 <= request.score_from < length:
            raise RequestRejected(
                f"score_from is {request.score_from}; legal are 1 to {length - 1} (prompt length - 1)"
            )
        if request.max_new_tokens == 0 and request.num_samples != 1:
            raise RequestRejected(f"a Score request has one sample, not {request.num_samples}")


def _check_tokens(request: Request, vocab_size: int) -> None:
    low, high = min(request.prompt), max(request.prompt)
    if low < 0 or high >= vocab_size:
        bad = low if low < 0 else high
        raise RequestRejected(f"token {bad} in the prompt is outside the vocabulary of {vocab_size}")
    if any(not sequence for sequence in request.stop_sequences):
        raise RequestRejected("a stop sequence is empty")


def _check_sampling(sampling: SamplingParams) -> None:
    if not (math.isfinite(sampling.temperature) and sampling.temperature >= 0):
        raise RequestRejected(f"temperature is {sampling.temperature}; it must be finite and at least 0")
    if not 0 <= sampling.top_p <= 1:
        raise RequestRejected(f"top_p is {sampling.top_p}; it must be between 0 and 1")
    if sampling.top_k < 0:
        raise RequestRejected(
            f"top_k is {sampling.top_k}; it must be at least 0 (0 keeps the whole vocabulary)"
        )
    if not 0 <= sampling.seed <= MAX_SEED:
        raise RequestRejected(f"seed is {sampling.seed}; it must be between 0 and 2**64 - 1")
