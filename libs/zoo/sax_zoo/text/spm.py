"""SentencePiece models (.model files, and those rebuilt from GGUF) as a `Tokenizer`.

A piece `▁the` is " the"; `<0xE2>` is that byte; control pieces have no text, an unknown piece reads " ⁇ " as
the library prints it. Prompts are encoded by the library with nothing of ours in between; in conversations
the literal texts of control and user-defined pieces (`<s>`, `</s>`, `[INST]`) are cut out first, because the
library by design never produces control ids from text.
"""

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Final

from sax_common.errors import InvalidArgument
from sentencepiece import SentencePieceProcessor

from sax_zoo.text.tokenizer import Tokenizer

MODEL_BYTES_MAX: Final = 32 * 2**20
_SPACE: Final = "\u2581"


@dataclass(frozen=True, kw_only=True, slots=True)
class SpmSettings:
    """What stands beside the model: which id starts a prompt (None: nothing does), which end an answer."""

    start_id: int | None = None
    eos_ids: frozenset[int] = frozenset()
    special_texts: Mapping[str, str] = field(default_factory=dict)
    added: Mapping[str, int] = field(default_factory=dict)
    """Special tokens beyond the model's own, text -> id; they are control tokens."""


def from_spm(model: bytes, settings: SpmSettings, where: str) -> Tokenizer:
    """Open a serialised SentencePiece model. Raises InvalidArgument naming `where` when it is not one."""
    if len(model) > MODEL_BYTES_MAX:
        raise InvalidArgument(f"{where}: {len(model)} bytes; at most {MODEL_BYTES_MAX} are accepted.")
    try:
        spm = SentencePieceProcessor(model_proto=model)
    except RuntimeError as error:
        raise InvalidArgument(f"{where}: not a SentencePiece model: {error}") from error
    table = [_piece_bytes(spm, token) for token in range(spm.get_piece_size())]
    prefix = [] if settings.start_id is None else [settings.start_id]

    def encode(text: str) -> list[int]:
        return list(spm.encode(text))

    literals = {spm.id_to_piece(token): token for token in range(len(table)) if spm.is_control(token)}
    literals |= settings.added
    cut = (
        re.compile("(" + "|".join(map(re.escape, sorted(literals, key=len, reverse=True))) + ")")
        if literals
        else None
    )

    def encode_chat(text: str) -> list[int]:
        parts = cut.split(text) if cut is not None else [text]
        ids: list[int] = []
        for part in parts:
            if part:
                ids.extend([literals[part]] if part in literals else encode(part))
        return ids

    return Tokenizer(
        table=_with_added(table, settings.added),
        encode_prompt=lambda text: prefix + encode(text),
        encode_plain=encode,
        encode_chat=encode_chat,
        eos_ids=settings.eos_ids,
        start_id=settings.start_id,
        strips_first_space=_adds_first_space(spm),
        special_texts=dict(settings.special_texts),
    )


def _piece_bytes(spm: SentencePieceProcessor, token: int) -> bytes | None:
    piece: str = spm.id_to_piece(token)
    if spm.is_control(token) or spm.is_unused(token):
        return None
    if spm.is_unknown(token):
        return " \u2047 ".encode()
    if spm.is_byte(token):
        return bytes([int(piece[3:5], 16)])
    return piece.replace(_SPACE, " ").encode("utf-8", "replace")


def _adds_first_space(spm: SentencePieceProcessor) -> bool:
    """Whether encoding puts a space before the text, which decoding must take away again."""
    pieces = spm.encode("a", out_type=str)
    return bool(pieces) and pieces[0].startswith(_SPACE)


def _with_added(table: list[bytes | None], added: Mapping[str, int]) -> list[bytes | None]:
    size = max([len(table), *(token + 1 for token in added.values())])
    longer = table + [None] * (size - len(table))
    for token in added.values():
        longer[token] = None
    return longer
