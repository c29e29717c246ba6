"""A language model that is ready to serve: an engine, a tokenizer, and the rules of its class.

The life of a call:  text ──prompt_tokens──► ids ──generate_request──► Request ──(the server's device thread
steps the engine)──► Emissions ──stream_decoder──► text.  Everything here but `engine` may be used from any
thread; the engine belongs to one, from when the server takes it.

The model knows nothing of gRPC, queues or clocks. What it refuses, it refuses with InvalidArgument and the
numbers of both sides.
"""

import itertools
import math
import zlib
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Final

from sax_common.errors import FailedPrecondition, InvalidArgument, Unavailable
from sax_engine.core.engine import Engine
from sax_engine.core.requests import Emission, Finish, Request

from sax_zoo.extra_inputs import ExtraInputs, validate
from sax_zoo.lm.calls import ChatMessage, GenerateCall
from sax_zoo.lm.decoding import Decoding, DecodingRules, resolve
from sax_zoo.lm.sizing import Sizes
from sax_zoo.lm.template import LanguageModelTemplate, as_tuple
from sax_zoo.servable import MethodSpec
from sax_zoo.text.chat import ChatTemplate
from sax_zoo.text.stream import StreamDecoder
from sax_zoo.text.tokenizer import Tokenizer

PROMPT_BYTES_MAX: Final = 2**20
SUFFIXES_MAX: Final = 64


@dataclass(frozen=True, kw_only=True, slots=True)
class Parts:
    """What a family's loader puts together. `memory_bytes` and `release` are those of weights and cache."""

    engine: Engine
    tokenizer: Tokenizer
    chat_template: ChatTemplate | None
    sizes: Sizes
    stop_ids: frozenset[int]
    seed: int
    memory_bytes: int
    release: Callable[[], None]


class LanguageModel:
    """A loaded language model. Safe to use from many threads, except `engine` and `close` (its one owner)."""

    def __init__(self, cls: type[LanguageModelTemplate], parts: Parts) -> None:
        self._cls = cls
        self._parts = parts
        self._tokenizer = parts.tokenizer
        self._sizes = parts.sizes
        self._calls = itertools.count()
        self._rules = DecodingRules(
            top_k=cls.TOP_K,
            temperature=cls.TEMPERATURE,
            num_samples=cls.NUM_SAMPLES,
            decode_steps_max=None if cls.MAX_DECODE_STEPS is None else max(as_tuple(cls.MAX_DECODE_STEPS)),
            stop_ids=parts.stop_ids,
        )
        self._methods = cls.methods()
        self.sorts_samples = cls.SORT_SAMPLES
        """Whether samples of a unary answer come best first (streams keep their order)."""

    @property
    def engine(self) -> Engine:
        """The engine, for its one owner."""
        return self._parts.engine

    @property
    def methods(self) -> Mapping[str, MethodSpec]:
        """Method name -> what it takes."""
        return self._methods

    @property
    def memory_bytes(self) -> int:
        """Weights and cache."""
        return self._parts.memory_bytes

    @property
    def max_len(self) -> int:
        """Tokens that prompt and answer may have together."""
        return self._sizes.max_len

    def generate_request(
        self, request_id: str, call: GenerateCall, *, deadline_ms: int | None = None
    ) -> Request:
        """Turn a call into a request of the engine.

        Raises InvalidArgument for whatever cannot be answered in full.
        """
        values = validate(call.extra_inputs, self._cls.EXTRA_INPUTS)
        decoding = resolve(self._rules, values, call.options, seed=self._next_seed())
        prompt = self._chat_tokens(call) if call.messages else self.prompt_tokens(call.text)
        self._check_prompt(prompt)
        return Request(
            request_id=request_id,
            prompt=tuple(prompt),
            max_new_tokens=self._steps(len(prompt), decoding),
            stop_ids=decoding.stop_ids,
            stop_sequences=decoding.stop_sequences,
            num_samples=decoding.num_samples,
            sampling=decoding.sampling,
            top_logprobs=decoding.top_logprobs,
            deadline_ms=deadline_ms,
        )

    def score_requests(
        self,
        request_id: str,
        prefix: str,
        suffixes: Sequence[str],
        extra_inputs: ExtraInputs,
        *,
        deadline_ms: int | None = None,
    ) -> list[Request]:
        """One request per suffix: its log-probability after the prefix (model_server.md 2.4, Score).

        Prefix and suffix are tokenised separately. Request ids are `<request_id>/<place>`. Raises
        InvalidArgument.
        """
        validate(extra_inputs, self._cls.SCORE_EXTRA_INPUTS)
        if not 1 <= len(suffixes) <= SUFFIXES_MAX:
            raise InvalidArgument(f"{len(suffixes)} suffixes were given; 1 to {SUFFIXES_MAX} are accepted.")
        head = self.prompt_tokens(prefix) if prefix else self._start()
        if not head:
            raise InvalidArgument(
                "The prefix is empty and this model has no start token: its first token would have no "
                "context to be scored in."
            )
        requests = []
        for place, suffix in enumerate(suffixes):
            _check_bytes("suffix", suffix)
            tail = self._tokenizer.encode_plain(suffix)
            if self._cls.SCORING_INCLUDE_EOS_SCORE:
                tail = [*tail, self._cls.EOS_ID]
            if not tail:
                raise InvalidArgument(f"Suffix {place} is empty: there is nothing to score.")
            total = len(head) + len(tail)
            if total > self._score_len():
                raise InvalidArgument(
                    f"Prefix of {len(head)} tokens plus suffix of {len(tail)} tokens is {total}; this "
                    f"model scores at most {self._score_len()}."
                )
            requests.append(
                Request(
                    request_id=f"{request_id}/{place}",
                    prompt=(*head, *tail),
                    max_new_tokens=0,
                    score_from=len(head),
                    deadline_ms=deadline_ms,
                )
            )
        return requests

    def score_of(self, emissions: Sequence[Emission]) -> float:
        """The score of one suffix from all emissions of its request.

        The sum of its log-probabilities, or exp of their mean if so configured.
        """
        for emission in emissions:
            if emission.prompt_logprobs is not None:
                total = math.fsum(emission.prompt_logprobs)
                count = len(emission.prompt_logprobs)
                return math.exp(total / count) if self._cls.SCORING_USE_GEOMEAN_PROB_SCORE else total
        ends = {emission.finish for emission in emissions}
        raise Unavailable(
            f"The score was not finished ({', '.join(end.value for end in ends if isinstance(end, Finish))})."
        )

    def answer_score(self, logprob_sum: float, tokens: int) -> float:
        """The score of one generated sample.

        The sum of its tokens' log-probabilities, EOS included, or exp of their mean if so configured.
        """
        if self._cls.GENERATION_USE_GEOMEAN_PROB_SCORE:
            return math.exp(logprob_sum / tokens) if tokens else 0.0
        return logprob_sum

    def prompt_tokens(self, text: str) -> list[int]:
        """Ids of a prompt as this model's tokenizer makes them, start token included if it has one."""
        _check_bytes("prompt", text)
        return self._tokenizer.encode_prompt(text)

    def render_chat(self, messages: Sequence[ChatMessage]) -> str:
        """A conversation as the text that the model was taught on.

        Raises FailedPrecondition when it has no chat template.
        """
        if self._parts.chat_template is None:
            raise FailedPrecondition("This model has no chat template: send a text instead of messages.")
        return self._parts.chat_template.render(messages)

    def stream_decoder(self, stop: Sequence[str] = ()) -> StreamDecoder:
        """A decoder for one sample, which cuts the text at the first of the `stop` strings."""
        return self._tokenizer.stream(stop)

    def decode(self, tokens: Sequence[int]) -> str:
        """Text of a whole answer."""
        return self._tokenizer.decode(tokens)

    def token_bytes(self, token: int) -> bytes:
        """Bytes that one id adds to a text."""
        return self._tokenizer.token_bytes(token)

    def close(self) -> None:
        """Free weights and cache; the model must not be used afterwards."""
        self._parts.release()

    def _chat_tokens(self, call: GenerateCall) -> list[int]:
        if call.text:
            raise InvalidArgument("Give a text or messages, not both.")
        for message in call.messages:
            _check_bytes("message", message.content)
        rendered = self.render_chat(call.messages)
        _check_bytes("rendered conversation", rendered)
        return self._tokenizer.encode_chat(rendered)

    def _check_prompt(self, prompt: Sequence[int]) -> None:
        if not prompt:
            raise InvalidArgument(
                "The query is empty and this model has no start token: there is nothing to continue."
            )
        if len(prompt) > self._sizes.max_prompt:
            raise InvalidArgument(
                f"The prompt has {len(prompt)} tokens; this model takes at most "
                f"{self._sizes.max_prompt}. Nothing was cut."
            )

    def _steps(self, prompt_tokens: int, decoding: Decoding) -> int:
        room = self.max_len - prompt_tokens
        if room < 1:
            raise InvalidArgument(
                f"The prompt has {prompt_tokens} tokens and the model holds {self.max_len}: there is no "
                "room for an answer."
            )
        steps = room if decoding.steps is None else decoding.steps
        if decoding.steps_are_exact and steps > room:
            raise InvalidArgument(
                f"The prompt has {prompt_tokens} tokens and {steps} new ones are asked for, "
                f"{prompt_tokens + steps} together; "
                f"the model holds {self.max_len}."
            )
        return min(steps, room)

    def _score_len(self) -> int:
        """Total length for Score: INPUT_SEQ_LEN + SUFFIX_SEQ_LEN, and what the engine holds."""
        if self._cls.INPUT_SEQ_LEN is None:
            return self.max_len
        return min(self._cls.INPUT_SEQ_LEN + self._cls.SUFFIX_SEQ_LEN, self.max_len)

    def _start(self) -> list[int]:
        return [] if self._tokenizer.start_id is None else [self._tokenizer.start_id]

    def _next_seed(self) -> int:
        """A fresh key per call; the same ones after every load with the same seed (model_server.md 1.11)."""
        call = next(self._calls)
        return (
            self._parts.seed * 0x9E3779B97F4A7C15 + zlib.crc32(call.to_bytes(8, "little")) * 2**20 + call
        ) & (2**64 - 1)


def _check_bytes(what: str, text: str) -> None:
    size = len(text.encode("utf-8", "replace"))
    if size > PROMPT_BYTES_MAX:
        raise InvalidArgument(f"The {what} has {size} bytes; at most {PROMPT_BYTES_MAX} are accepted.")
