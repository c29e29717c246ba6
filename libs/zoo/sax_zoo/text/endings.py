"""Tokens that end an answer by their text, whatever a configuration forgot to say.

Chat models end a turn with one token and a document with another, and many checkpoints name only one of them
as EOS. A special token with one of these texts ends an answer (the list is llama.cpp's end-of-generation
set).
"""

from collections.abc import Iterable
from typing import Final

END_TEXTS: Final = frozenset(
    {
        "<|endoftext|>",
        "<|end_of_text|>",
        "<|im_end|>",
        "<|eot_id|>",
        "<|eom_id|>",
        "<|end|>",
        "<|end_of_turn|>",
        "<end_of_turn>",
        "<|return|>",
        "<EOT>",
        "</s>",
    }
)


def ending_ids(specials: Iterable[tuple[str, int]]) -> frozenset[int]:
    """Pick the special tokens (text, id) that end an answer."""
    return frozenset(token for text, token in specials if text in END_TEXTS)
