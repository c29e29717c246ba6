"""The text of a stream of server-sent events, one choice and one token at a time.

This is the hottest code of the HTTP server: it runs once per token and per stream. Everything in a chunk
but the new text is the same from token to token, so it is written once per request, and a token costs one
C call that quotes the text, one concatenation and one encode (about a microsecond), no dictionary and no
validation. What a stream looks like (chat, one choice, with usage):

    data: {"id": ..., "choices": [{"index": 0, "delta": {"role": "assistant", "content": ""}, ...}], ...}
    data: {"id": ..., "choices": [{"index": 0, "delta": {"content": " Paris"}, ...}], ...}
    data: {"id": ..., "choices": [{"index": 0, "delta": {}, ..., "finish_reason": "stop"}], ...}
    data: {"id": ..., "choices": [], "usage": {"prompt_tokens": 5, ...}}
    data: [DONE]

Pure. Conventions: reference/landscape.md E1.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from json.encoder import encode_basestring
from typing import TYPE_CHECKING, Protocol

from sax_http.openai.logprobs import chat_logprobs, completion_logprobs

if TYPE_CHECKING:
    from collections.abc import Sequence

    from sax_client import TokenLogprob, Usage

DONE = b"data: [DONE]\n\n"
PING = b": ping\n\n"

_LINE_ENDS = str.maketrans({"\x85": "\\u0085", "\u2028": "\\u2028", "\u2029": "\\u2029"})


class LogprobShape(Protocol):
    """How log-probabilities are written."""

    def __call__(self, tokens: Sequence[TokenLogprob], *, offset: int) -> dict[str, object]:
        """Return the JSON value for these tokens."""
        ...


@dataclass(frozen=True, slots=True)
class Style:
    """What differs between the two routes; each text is the JSON around a piece of generated text."""

    object_name: str
    id_prefix: str
    before_text: str
    after_text: str
    opening: str
    closing: str
    logprobs: LogprobShape


CHAT = Style(
    "chat.completion.chunk",
    "chatcmpl-",
    '"delta":{"content":',
    "}",
    '"delta":{"role":"assistant","content":""}',
    '"delta":{}',
    chat_logprobs,
)
# The older route has no role, so a stream opens with its first text.
COMPLETION = Style("text_completion", "cmpl-", '"text":', "", "", '"text":""', completion_logprobs)


def quote(text: str) -> str:
    """Write a JSON string that stays on one line for every reader of events.

    JSON escapes all ASCII line ends. Readers that split lines the Unicode way (Python's `str.splitlines`,
    httpx's `iter_lines`) would also cut at three others, so those are escaped too.
    """
    quoted: str = encode_basestring(text)
    return quoted if quoted.isascii() else quoted.translate(_LINE_ENDS)


def event(value: object) -> bytes:
    """Write one event with any JSON value; for what happens once per stream."""
    return f"data: {json.dumps(value, separators=(',', ':'))}\n\n".encode()


def usage_object(usage: Usage) -> dict[str, object]:
    """Return the token counts as OpenAI names them."""
    return {
        "prompt_tokens": usage.prompt_tokens,
        "completion_tokens": usage.completion_tokens,
        "total_tokens": usage.prompt_tokens + usage.completion_tokens,
        "prompt_tokens_details": {"cached_tokens": usage.cached_tokens},
        "completion_tokens_details": {"reasoning_tokens": 0},
    }


class Chunks:
    """Writer of the chunks of one stream. Immutable after construction, so any number of tasks may use it."""

    def __init__(
        self, style: Style, *, answer_id: str, created: int, model: str, include_usage: bool
    ) -> None:
        identity = {"id": answer_id, "object": style.object_name, "created": created, "model": model}
        self._style = style
        self._head = f"data: {json.dumps(identity, separators=(',', ':'))[:-1]},"
        tail = ',"usage":null}\n\n' if include_usage else "}\n\n"
        self._choice = f'{self._head}"choices":[{{"index":'
        self._plain_end = f',"logprobs":null,"finish_reason":null}}]{tail}'
        self._after_text = f"{style.after_text}{self._plain_end}"
        self._tail = tail
        self._before_text = f"{self._choice}0,{style.before_text}"

    def opening(self, index: int) -> str:
        """Write the chunk that opens a choice, or nothing where the route has none."""
        if not self._style.opening:
            return ""
        return f"{self._choice}{index},{self._style.opening}{self._plain_end}"

    def text(self, index: int, text: str) -> str:
        """Write a piece of text."""
        if index == 0:
            return f"{self._before_text}{quote(text)}{self._after_text}"
        return f"{self._choice}{index},{self._style.before_text}{quote(text)}{self._after_text}"

    def text_with_logprobs(
        self, index: int, text: str, tokens: Sequence[TokenLogprob], *, offset: int
    ) -> str:
        """Write a piece of text (perhaps empty) and the log-probabilities of the tokens that made it."""
        shape = json.dumps(self._style.logprobs(tokens, offset=offset), separators=(",", ":"))
        body = f"{self._style.before_text}{quote(text)}{self._style.after_text}"
        return f'{self._choice}{index},{body},"logprobs":{shape},"finish_reason":null}}]{self._tail}'

    def closing(self, index: int, reason: str) -> str:
        """Write the last chunk of a choice."""
        end = f',"logprobs":null,"finish_reason":"{reason}"}}]{self._tail}'
        return f"{self._choice}{index},{self._style.closing}{end}"

    def usage(self, usage: Usage) -> str:
        """Write the chunk with the token counts, which has no choices."""
        return (
            f'{self._head}"choices":[],"usage":{json.dumps(usage_object(usage), separators=(",", ":"))}}}\n\n'
        )
