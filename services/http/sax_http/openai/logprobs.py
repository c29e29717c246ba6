"""Log-probabilities in the two shapes that OpenAI's API has for them.

Chat reports a list of objects, one per token; the older completions route reports four lists side by
side, with the character offset of each token in the text. Both are described in reference/landscape.md E1.

Pure.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Sequence

    from sax_client import TokenLogprob


# JSON has no infinity; OpenAI's API says this for a token that cannot be.
IMPOSSIBLE = -9999.0


def chat_logprobs(tokens: Sequence[TokenLogprob], *, offset: int) -> dict[str, object]:
    """Return `{"content": [...]}`; `offset` has no place in this shape and is not used."""
    del offset
    return {
        "content": [
            {**_entry(token), "top_logprobs": [_entry(other) for other in token.top]} for token in tokens
        ],
        "refusal": None,
    }


def completion_logprobs(tokens: Sequence[TokenLogprob], *, offset: int) -> dict[str, object]:
    """Return the four lists; `offset` is where the first token stands in the choice's text, in characters."""
    offsets = []
    for token in tokens:
        offsets.append(offset)
        offset += len(token.token)
    return {
        "tokens": [token.token for token in tokens],
        "token_logprobs": [_finite(token.logprob) for token in tokens],
        "top_logprobs": [{other.token: _finite(other.logprob) for other in token.top} for token in tokens],
        "text_offset": offsets,
    }


def _entry(token: TokenLogprob) -> dict[str, object]:
    return {"token": token.token, "logprob": _finite(token.logprob), "bytes": list(token.token_bytes)}


def _finite(logprob: float) -> float:
    return max(logprob, IMPOSSIBLE)
