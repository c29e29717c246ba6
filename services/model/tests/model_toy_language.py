"""A language model whose answers can be computed by hand: one character of an alphabet is one token.

Shared by this package's tests; the engine and its backend are the real toy of `sax_engine`.
"""

import threading
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

from sax_common.errors import Cancelled, InvalidArgument
from sax_engine.backends.toy import make_toy_backend, toy_answer
from sax_engine.core.engine import Engine
from sax_engine.core.requests import Request, SamplingParams
from sax_engine.port import Backend
from sax_zoo.checkpoints.source import LoadProgress, Phase
from sax_zoo.servable import MethodSpec
from sax_zoo.text.stream import StreamDecoder

ALPHABET = "abcdefghijklmnopqrstuvwxyzäöü é€"


class SlowBackend:
    """A backend whose steps take `seconds`; everything else is the inner one's."""

    def __init__(self, inner: Backend, seconds: float) -> None:
        self._inner, self._seconds = inner, seconds
        self.info = inner.info

    def launch(self, plan):
        """Pass on."""
        return self._inner.launch(plan)

    def collect(self, ticket):
        """Take a while."""
        time.sleep(self._seconds)
        return self._inner.collect(ticket)

    def release(self):
        """Pass on."""
        self._inner.release()


def encode(text: str) -> tuple[int, ...]:
    """Return the tokens of a text."""
    return tuple(ALPHABET.index(char) for char in text)


def answer(prompt: str, count: int) -> str:
    """Compute by hand what greedy decoding answers."""
    return "".join(ALPHABET[token] for token in toy_answer(encode(prompt), count, len(ALPHABET)))


@dataclass
class ToyLanguage:
    """Satisfies `HostedModel`."""

    engine: Engine
    methods: dict[str, MethodSpec] = field(
        default_factory=lambda: {
            "lm.generate": MethodSpec(extra_inputs={"temperature": 0.0}, batch_size=8, max_live_batches=4),
            "lm.generate_stream": MethodSpec(
                extra_inputs={"temperature": 0.0}, batch_size=8, max_live_batches=4, streamable=True
            ),
            "lm.score": MethodSpec(batch_size=8),
        }
    )
    memory_bytes: int = 1234
    sorts_samples: bool = False
    is_closed: bool = False

    def generate_request(self, request_id, call, *, deadline_ms):
        """Tokenise by the alphabet."""
        options = call.options
        text = call.text or "".join(message.content for message in call.messages)
        if not text:
            raise InvalidArgument("the prompt is empty")
        return Request(
            request_id=request_id,
            prompt=encode(text),
            max_new_tokens=options.max_tokens or 8,
            num_samples=options.num_samples or 1,
            sampling=SamplingParams(temperature=options.temperature or 0.0, seed=options.seed or 0),
            top_logprobs=options.top_logprobs or 0,
            deadline_ms=deadline_ms,
        )

    def score_requests(self, request_id, prefix, suffixes, _extra, *, deadline_ms):
        """One request per suffix."""
        return [
            Request(
                request_id=f"{request_id}.{index}",
                prompt=encode(prefix + suffix),
                max_new_tokens=0,
                score_from=len(prefix),
                deadline_ms=deadline_ms,
            )
            for index, suffix in enumerate(suffixes)
        ]

    def score_of(self, emissions):
        """Sum."""
        return sum(sum(emission.prompt_logprobs or ()) for emission in emissions)

    def answer_score(self, logprob_sum, _tokens):
        """The plain sum."""
        return logprob_sum

    def stream_decoder(self, stop: Sequence[str] = ()) -> StreamDecoder:
        """The zoo's own decoder over the alphabet."""
        return StreamDecoder(self.token_bytes, stop=stop)

    def decode(self, tokens):
        """Join."""
        return "".join(ALPHABET[token] for token in tokens)

    def token_bytes(self, token):
        """UTF-8."""
        return ALPHABET[token].encode()

    def close(self):
        """Release the engine."""
        self.is_closed = True
        self.engine.release()


class ToyLoader:
    """A load function: the model path says what happens.

    toy.Ok loads; toy.Slow steps in 50 ms; toy.Fails raises in step 3; toy.Hangs takes 3 s per step;
    toy.Waits loads once `gate` is set; toy.Bad raises InvalidArgument; toy.Bug raises something else.
    """

    def __init__(self) -> None:
        self.gate = threading.Event()
        self.loaded: list[ToyLanguage] = []

    def __call__(
        self, spec, *, report: Callable[[LoadProgress], None], is_cancelled: Callable[[], bool]
    ) -> ToyLanguage:
        """Load."""
        report(LoadProgress(phase=Phase.READING, done_bytes=1, total_bytes=4))
        if spec.model_path == "toy.Bad" or spec.checkpoint_path == "/broken":
            raise InvalidArgument(f"{spec.checkpoint_path}/model.safetensors is damaged")
        if spec.model_path == "toy.Bug":
            raise KeyError("layers.0")
        while spec.model_path == "toy.Waits" and not self.gate.wait(0.01):
            if is_cancelled():
                raise Cancelled("the load was cancelled")
        backend: Backend = make_toy_backend(
            vocab_size=len(ALPHABET),
            max_len=512,
            num_pages=512,
            fail_at_step=3 if spec.model_path == "toy.Fails" else None,
        )
        if spec.model_path in ("toy.Slow", "toy.Hangs"):
            backend = SlowBackend(backend, 0.05 if spec.model_path == "toy.Slow" else 3.0)
        model = ToyLanguage(Engine(backend))
        self.loaded.append(model)
        return model
