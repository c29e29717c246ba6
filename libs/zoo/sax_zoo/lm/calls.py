"""What a caller of a language model says, as plain values (the server fills them from the wire).

`GenerateOptions` mirrors the message of that name in lm.proto: a field that is None was not set; a set field
wins over the extra input of the same meaning.
"""

from dataclasses import dataclass, field

from sax_zoo.extra_inputs import ExtraInputs
from sax_zoo.text.chat import ChatMessage

__all__ = ["ChatMessage", "GenerateCall", "GenerateOptions"]


@dataclass(frozen=True, kw_only=True, slots=True)
class GenerateOptions:
    """Options beyond extra inputs.

    Counts are tokens; `stop` are texts at which the answer ends, not part of it.
    """

    max_tokens: int | None = None
    temperature: float | None = None
    top_p: float | None = None
    top_k: int | None = None
    seed: int | None = None
    stop: tuple[str, ...] = ()
    num_samples: int | None = None
    top_logprobs: int | None = None


@dataclass(frozen=True, kw_only=True, slots=True)
class GenerateCall:
    """One call of lm.generate or lm.generate_stream: a text, or a conversation with an empty text."""

    text: str = ""
    messages: tuple[ChatMessage, ...] = ()
    extra_inputs: ExtraInputs = field(default_factory=ExtraInputs)
    options: GenerateOptions = field(default_factory=GenerateOptions)
