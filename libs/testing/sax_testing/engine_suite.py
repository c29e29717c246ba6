"""What every engine backend must do, whatever its model: subclass `EngineSuite` with a `backend` fixture.

The suite drives the real engine over the backend and compares answers with answers: alone or in company, in
one order or another, greedy or sampled, interrupted or not, tokens must be the same, and whatever was taken
must be given back. What the right tokens are is the backend's own business: subclasses define `expected`, a
slow and obvious way to compute the log-probabilities of the next token (a naive full forward, or arithmetic).
"""

import random
from abc import ABC, abstractmethod
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field

import numpy as np
import pytest
from numpy.typing import NDArray
from sax_engine.core.engine import Engine
from sax_engine.core.requests import Finish, Request, RequestRejected, SamplingParams
from sax_engine.core.sampling import choose
from sax_engine.core.scheduler import EngineLimits
from sax_engine.port import Backend

Logits = NDArray[np.float32]


@dataclass
class Answer:
    """Everything one sample was told."""

    tokens: list[int] = field(default_factory=list)
    logprobs: list[float] = field(default_factory=list)
    top: list[tuple[tuple[int, float], ...]] = field(default_factory=list)
    prompt_logprobs: tuple[float, ...] | None = None
    finish: Finish | None = None


Answers = dict[tuple[str, int], Answer]


def drive(engine: Engine, requests: Iterable[Request], *, now_ms: int = 0) -> Answers:
    """Submit all, step until idle, checking the engine's books after every step."""
    for request in requests:
        engine.submit(request, now_ms)
    answers: Answers = {}
    while engine.has_work:
        for emission in engine.step(now_ms):
            answer = answers.setdefault((emission.request_id, emission.sample), Answer())
            assert answer.finish is None, "a finished sample was told more"
            answer.tokens += emission.tokens
            answer.logprobs += emission.logprobs
            answer.top += emission.top
            answer.prompt_logprobs = emission.prompt_logprobs or answer.prompt_logprobs
            answer.finish = emission.finish
        engine.check_integrity()
    return answers


def is_idle(engine: Engine) -> bool:
    """True when nothing is held: no page, no slot, no ticket, no request."""
    now = engine.snapshot()
    return not (now.pages_used or now.slots_used or now.tickets_out or now.queued or now.running)


class EngineSuite(ABC):
    """Conformance of one backend; see the module's docstring."""

    #: How far a reported log-probability may be from `expected`.
    tolerance = 1e-4
    #: How far two log-probabilities of one token may be apart when only the company differs; 0: same bits.
    company_tolerance = 0.0

    @pytest.fixture
    @abstractmethod
    def backend(self) -> Backend:
        """A fresh or idle backend with at least 6 rows, 40 pages and room for 48 positions."""

    @abstractmethod
    def expected(self, tokens: Sequence[int]) -> Logits:
        """Raw logits of the token after `tokens`."""

    @pytest.fixture
    def engine(self, backend: Backend) -> Engine:
        """An engine over the backend."""
        return Engine(backend)

    def requests(self, backend: Backend) -> list[Request]:
        """Mixed company: lengths around every boundary, greedy and sampled, several samples, scores."""
        rng = random.Random(7)  # noqa: S311 - a test's numbers.
        block, vocabulary = backend.info.prefill_block, backend.info.vocab_size
        lengths = [1, 2, block - 1, block, block + 1, 2 * block + 1, min(37, backend.info.max_len - 11)]
        made = []
        for index, length in enumerate(lengths):
            sampled = SamplingParams(
                temperature=0.9, top_k=[0, 5, 0][index % 3], top_p=0.9, seed=2**33 + index
            )
            made.append(
                Request(
                    request_id=f"r{index}",
                    prompt=tuple(rng.randrange(vocabulary) for _ in range(max(length, 1))),
                    max_new_tokens=3 + index % 4,
                    num_samples=1 + index % 3,
                    sampling=sampled if index % 2 else SamplingParams(),
                    top_logprobs=index % 4,
                    score_from=1 if length > 1 and index % 3 == 0 else None,
                )
            )
        return made

    def check_against_expected(self, request: Request, answers: Answers) -> None:
        """Compare every token and number of a request with the slow way."""
        for sample in range(request.num_samples):
            answer, tokens = answers[request.request_id, sample], list(request.prompt)
            for token, logprob in zip(answer.tokens, answer.logprobs, strict=True):
                logits = self.expected(tokens)
                assert token == choose(logits, request.sampling, sample=sample, position=len(tokens))
                assert logprob == pytest.approx(_log_softmax(logits)[token], abs=self.tolerance)
                tokens.append(token)
            assert len(answer.tokens) == request.max_new_tokens
            assert answer.finish is Finish.LENGTH

    def check_same(self, these: Answers, those: Answers) -> None:
        """Compare answers: tokens exactly, log-probabilities within `company_tolerance`."""
        assert these.keys() == those.keys()
        for key, this in these.items():
            that = those[key]
            assert (this.tokens, this.finish) == (that.tokens, that.finish), key
            assert this.logprobs == pytest.approx(that.logprobs, abs=self.company_tolerance, rel=0)
            mine, yours = this.prompt_logprobs or (), that.prompt_logprobs or ()
            assert mine == pytest.approx(yours, abs=self.company_tolerance, rel=0)

    def test_answers_are_those_of_a_full_forward(self, engine: Engine, backend: Backend) -> None:
        """Paged, batched and chunked decoding gives the tokens of the slow and obvious way."""
        requests = self.requests(backend)
        answers = drive(engine, requests)
        for request in requests:
            self.check_against_expected(request, answers)
        assert is_idle(engine)

    def test_one_by_one_equals_batched(self, engine: Engine, backend: Backend) -> None:
        """A request gets the same tokens and the same log-probabilities alone or in company."""
        requests = self.requests(backend)
        together = drive(engine, requests)
        alone: Answers = {}
        for request in requests:
            alone |= drive(engine, [request])
        self.check_same(together, alone)

    def test_order_of_arrival_does_not_matter(self, engine: Engine, backend: Backend) -> None:
        """Submitting the same requests backwards changes no answer."""
        requests = self.requests(backend)
        self.check_same(drive(engine, requests), drive(engine, reversed(requests)))

    def test_late_arrivals_change_nothing(self, engine: Engine, backend: Backend) -> None:
        """Requests that enter while others decode leave those undisturbed, and are undisturbed."""
        first, *others = self.requests(backend)
        expected = drive(engine, [first, *others])
        engine.submit(first, 0)
        answers = {key: Answer() for key in expected}
        for emissions in (engine.step(0), engine.step(0)):
            for emission in emissions:
                answer = answers[emission.request_id, emission.sample]
                answer.tokens += emission.tokens
        for key, answer in drive(engine, others).items():
            answers[key].tokens += answer.tokens
        assert {key: answer.tokens for key, answer in answers.items()} == {
            key: answer.tokens for key, answer in expected.items()
        }

    def test_greedy_is_reproducible(self, engine: Engine) -> None:
        """The same greedy request twice gives the same numbers."""
        request = Request(request_id="again", prompt=(1, 2, 3, 4, 5), max_new_tokens=8)
        assert drive(engine, [request]) == drive(engine, [request])

    def test_seeds_reproduce_and_differ(self, engine: Engine) -> None:
        """A seed fixes the tokens; another seed, and another sample, gives others."""

        def tokens(seed: int) -> list[list[int]]:
            sampling = SamplingParams(temperature=50.0, seed=seed)
            request = Request(
                request_id="s", prompt=(1, 2), max_new_tokens=8, num_samples=2, sampling=sampling
            )
            answers = drive(engine, [request])
            return [answers["s", 0].tokens, answers["s", 1].tokens]

        assert tokens(5) == tokens(5)
        assert tokens(5) != tokens(6)
        assert tokens(5)[0] != tokens(5)[1]

    def test_score_is_the_sum_of_given_tokens(self, engine: Engine, backend: Backend) -> None:
        """Score reports the log-probability of each given token after those before it, across chunks."""
        prompt = tuple(
            (3 * i + 1) % backend.info.vocab_size for i in range(min(40, backend.info.max_len - 1))
        )
        request = Request(request_id="score", prompt=prompt, max_new_tokens=0, score_from=2)
        answer = drive(engine, [request])["score", 0]
        wanted = [_log_softmax(self.expected(prompt[:i]))[prompt[i]] for i in range(2, len(prompt))]
        assert answer.prompt_logprobs == pytest.approx(wanted, abs=self.tolerance)
        assert answer.tokens == []
        assert answer.finish is Finish.LENGTH

    def test_alternatives_are_the_best_tokens(self, engine: Engine) -> None:
        """Top alternatives are the most likely tokens in order, with their log-probabilities."""
        request = Request(request_id="top", prompt=(4, 2), max_new_tokens=1, top_logprobs=3)
        answer = drive(engine, [request])["top", 0]
        wanted = _log_softmax(self.expected((4, 2)))
        tokens, numbers = zip(*answer.top[0], strict=True)
        assert numbers == pytest.approx(np.sort(wanted)[::-1][:3], abs=self.tolerance)
        assert numbers == pytest.approx(wanted[list(tokens)], abs=self.tolerance)
        assert len(set(tokens)) == len(tokens)
        assert tokens[0] == answer.tokens[0]

    def test_stop_ids_and_sequences_end_an_answer(self, engine: Engine) -> None:
        """A stop id or sequence is emitted, and then nothing more."""
        plain = drive(engine, [Request(request_id="p", prompt=(7, 8, 9), max_new_tokens=8)])["p", 0].tokens
        stop = next(i for i in range(1, 8) if plain[i] not in plain[:i] or i == 7)  # noqa: PLR2004
        by_id = Request(request_id="a", prompt=(7, 8, 9), max_new_tokens=8, stop_ids=frozenset({plain[stop]}))
        ending = (plain[stop - 1], plain[stop])
        by_tail = Request(request_id="b", prompt=(7, 8, 9), max_new_tokens=8, stop_sequences=(ending,))
        answers = drive(engine, [by_id, by_tail])
        cut = plain.index(plain[stop]) + 1
        assert answers["a", 0].tokens == plain[:cut]
        assert answers["a", 0].finish is Finish.STOP
        assert tuple(answers["b", 0].tokens[-2:]) == ending
        assert is_idle(engine)

    def test_cancel_frees_at_once_and_leaves_others_alone(self, engine: Engine, backend: Backend) -> None:
        """Pages and slots of a cancelled request are free on return; its companions' tokens do not change."""
        keep = Request(request_id="keep", prompt=(1, 2, 3), max_new_tokens=6)
        drop = Request(request_id="drop", prompt=(3,) * (2 * backend.info.page_size), max_new_tokens=6)
        wanted = drive(engine, [keep])["keep", 0].tokens
        engine.submit(keep, 0)
        engine.submit(drop, 0)
        got = [token for emission in engine.step(0) for token in emission.tokens]
        held = engine.snapshot().pages_used
        engine.cancel("drop")
        assert engine.snapshot().pages_used < held
        answers = drive(engine, [])
        assert got + answers["keep", 0].tokens == wanted
        assert answers["drop", 0].finish is Finish.CANCELLED
        assert is_idle(engine)

    def test_reused_pages_hold_no_past(self, backend: Backend) -> None:
        """A cache so small that every request reuses the last one's pages still answers exactly."""
        engine = Engine(backend, EngineLimits(max_queue=64))
        prompts = [tuple((i + j) % 9 for j in range(11 + i)) for i in range(8)]
        requests = [
            Request(request_id=str(i), prompt=p, max_new_tokens=4, num_samples=2)
            for i, p in enumerate(prompts)
        ]
        answers = drive(engine, requests)
        for request in requests:
            self.check_against_expected(request, answers)

    def test_impossible_requests_are_refused(self, engine: Engine, backend: Backend) -> None:
        """What can never run is refused with both numbers and leaves no trace."""
        info = backend.info
        long = Request(request_id="x", prompt=(1,) * info.max_len, max_new_tokens=1)
        with pytest.raises(RequestRejected, match=f"{info.max_len + 1}; the model holds {info.max_len}"):
            engine.submit(long, 0)
        with pytest.raises(RequestRejected, match="outside the vocabulary"):
            engine.submit(Request(request_id="x", prompt=(info.vocab_size,), max_new_tokens=1), 0)
        assert is_idle(engine)


def _log_softmax(logits: Logits) -> Logits:
    shifted = logits.astype(np.float64) - logits.max()
    result: Logits = (shifted - np.log(np.exp(shifted).sum())).astype(np.float32)
    return result
