"""Bodies of /v1/completions and /v1/chat/completions, and what they mean for a model.

Three kinds of fields: those that are passed on (as `GenerateOptions`), those that change nothing in an
answer and are taken without effect (`user`, `metadata`, ...), and those that would change the answer but
are not built yet. The last are refused unless they carry their neutral value: an answer that silently
ignores `logit_bias` is a wrong answer. Limits: reference/reliability.md 5.4.

Pure.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Any, Literal

from pydantic import Field, field_validator, model_validator
from sax_client import GenerateOptions

from sax_http.bodies import Body, InvalidField

if TYPE_CHECKING:
    from collections.abc import Mapping

MAX_CHOICES = 8
MAX_LOGPROBS = 20
MAX_STOPS = 16
MAX_STOP_BYTES = 256
MAX_MESSAGES = 1024
# OpenAI's own default for the older route; chat has none there and takes the model's here.
COMPLETION_MAX_TOKENS = 16

_INT32_MAX = 2**31 - 1
_INT64_MAX = 2**63 - 1

# Fields that would change the answer, with the values at which they do not.
_NEUTRAL: Mapping[str, tuple[object, ...]] = {
    "frequency_penalty": (None, 0, 0.0),
    "presence_penalty": (None, 0, 0.0),
    "logit_bias": (None, {}),
    "suffix": (None, ""),
    "echo": (None, False),
    "tools": (None, []),
    "tool_choice": (None, "none", "auto"),
    "functions": (None, []),
    "function_call": (None, "none", "auto"),
    "response_format": (None, {"type": "text"}),
    "modalities": (None, ["text"]),
    "audio": (None,),
    "prediction": (None,),
    "web_search_options": (None,),
    "reasoning_effort": (None, "none"),
}

# Fields that say something about the request but not about the answer.
_WITHOUT_EFFECT = frozenset(
    {
        "user", "metadata", "store", "service_tier", "parallel_tool_calls", "safety_identifier",
        "prompt_cache_key", "prompt_cache_retention", "verbosity",
    }
)  # fmt: skip

Number = Annotated[float, Field(allow_inf_nan=False)]
Text = Annotated[str, Field(max_length=1 << 20)]


class StreamOptions(Body):
    """How a stream is shaped, beyond its text."""

    include_usage: bool = Field(
        default=False, description="One more chunk before [DONE], with the token counts."
    )
    include_obfuscation: bool | None = Field(default=None, description="Taken without effect.")


class _Generation(Body):
    """What both routes share."""

    model: str = Field(
        description="/sax/<cell>/<model>, or <model> where that is unambiguous.", min_length=1, max_length=256
    )
    stream: bool | None = Field(default=None, description="Answer as server-sent events.")
    stream_options: StreamOptions | None = None
    temperature: Number | None = Field(
        default=None, ge=0, le=100, description="0 takes the most likely token."
    )
    top_p: Number | None = Field(default=None, gt=0, le=1)
    top_k: int | None = Field(
        default=None, ge=0, le=_INT32_MAX, description="Not in OpenAI's API; 0 keeps all."
    )
    seed: int | None = Field(default=None, ge=-_INT64_MAX - 1, le=_INT64_MAX)
    n: int | None = Field(default=None, ge=1, le=MAX_CHOICES, description="Number of choices.")
    stop: str | list[str] | None = Field(default=None, description="Text at which generation ends.")

    @model_validator(mode="before")
    @classmethod
    def _take_what_has_no_effect(cls, values: Any) -> Any:
        if not isinstance(values, dict):
            return values
        for name, neutral in _NEUTRAL.items():
            # 0 == False, so types are compared as well.
            if name in values and not any(
                values[name] == one and type(values[name]) is type(one) for one in neutral
            ):
                raise InvalidField(name, "not supported by this server.")
        return {
            key: value for key, value in values.items() if key not in _NEUTRAL and key not in _WITHOUT_EFFECT
        }

    @field_validator("stop")
    @classmethod
    def _is_short(cls, value: str | list[str] | None) -> str | list[str] | None:
        stops = [value] if isinstance(value, str) else value or []
        if len(stops) > MAX_STOPS:
            raise ValueError(f"has {len(stops)} stop texts; at most {MAX_STOPS} are taken.")
        if any(not stop or len(stop.encode("utf-8", "replace")) > MAX_STOP_BYTES for stop in stops):
            raise ValueError(f"each stop text must have 1 to {MAX_STOP_BYTES} bytes.")
        return value

    @model_validator(mode="after")
    def _streams_when_it_says_how(self) -> _Generation:
        if self.stream_options is not None and not self.stream:
            raise InvalidField("stream_options", "only allowed when stream is true.")
        return self

    @property
    def include_usage(self) -> bool:
        """Whether the last chunk of a stream carries the token counts."""
        return self.stream_options is not None and self.stream_options.include_usage

    @property
    def choices(self) -> int:
        """The number of choices: one unless asked for more, as OpenAI has it."""
        return self.n or 1

    def _options(self, *, max_tokens: int | None, top_logprobs: int | None) -> GenerateOptions:
        stops = (self.stop,) if isinstance(self.stop, str) else tuple(self.stop or ())
        return GenerateOptions(
            max_tokens=max_tokens,
            temperature=self.temperature,
            top_p=self.top_p,
            top_k=self.top_k,
            seed=self.seed,
            stop=stops,
            num_samples=self.choices,
            top_logprobs=top_logprobs,
        )


class CompletionBody(_Generation):
    """What /v1/completions takes."""

    prompt: Text | list[Text] = Field(description="The text to continue; a list must hold exactly one.")
    max_tokens: int | None = Field(default=None, ge=1, le=_INT32_MAX, description="16 when left out.")
    logprobs: int | None = Field(default=None, ge=0, le=MAX_LOGPROBS, description="Alternatives per token.")
    best_of: int | None = Field(default=None, ge=1, le=MAX_CHOICES, description="Must equal n.")

    @field_validator("prompt")
    @classmethod
    def _is_one_text(cls, value: str | list[str]) -> str | list[str]:
        if isinstance(value, list) and len(value) != 1:
            raise ValueError(f"holds {len(value)} prompts; one prompt per request is taken.")
        if not (value if isinstance(value, str) else value[0]):
            raise ValueError("must not be empty.")
        return value

    @model_validator(mode="after")
    def _asks_for_no_ranking(self) -> CompletionBody:
        if self.best_of is not None and self.best_of != self.choices:
            raise InvalidField("best_of", "only the value of n is supported.")
        return self

    @property
    def text(self) -> str:
        """The prompt."""
        return self.prompt if isinstance(self.prompt, str) else self.prompt[0]

    def options(self) -> GenerateOptions:
        """Say the same to the model."""
        max_tokens = COMPLETION_MAX_TOKENS if self.max_tokens is None else self.max_tokens
        return self._options(max_tokens=max_tokens, top_logprobs=self.logprobs)


class ContentPart(Body):
    """A piece of a message; only text is understood."""

    type: Literal["text"]
    text: Text


class Message(Body):
    """One turn of a conversation."""

    role: str = Field(min_length=1, max_length=32, pattern=r"^[a-z_]+$", examples=["user"])
    content: Text | list[ContentPart] = Field(examples=["Why is the sky blue?"])
    name: str | None = Field(default=None, description="Taken without effect.")

    @property
    def text(self) -> str:
        """The content as one text."""
        if isinstance(self.content, str):
            return self.content
        return "".join(part.text for part in self.content)


class ChatBody(_Generation):
    """What /v1/chat/completions takes."""

    messages: list[Message] = Field(min_length=1, max_length=MAX_MESSAGES)
    max_tokens: int | None = Field(
        default=None, ge=1, le=_INT32_MAX, description="The older name of the next."
    )
    max_completion_tokens: int | None = Field(
        default=None, ge=1, le=_INT32_MAX, description="The model's when left out."
    )
    logprobs: bool | None = Field(default=None, description="Report log-probabilities.")
    top_logprobs: int | None = Field(
        default=None, ge=0, le=MAX_LOGPROBS, description="Alternatives per token."
    )

    @model_validator(mode="after")
    def _is_consistent(self) -> ChatBody:
        if self.top_logprobs is not None and not self.logprobs:
            raise InvalidField("top_logprobs", "only allowed when logprobs is true.")
        if (
            None not in {self.max_tokens, self.max_completion_tokens}
            and self.max_tokens != self.max_completion_tokens
        ):
            raise InvalidField("max_tokens", "differs from max_completion_tokens.")
        return self

    def options(self) -> GenerateOptions:
        """Say the same to the model."""
        max_tokens = self.max_tokens if self.max_completion_tokens is None else self.max_completion_tokens
        return self._options(
            max_tokens=max_tokens, top_logprobs=(self.top_logprobs or 0) if self.logprobs else None
        )
