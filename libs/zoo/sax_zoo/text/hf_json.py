"""A Hugging Face `tokenizer.json` as a `Tokenizer`.

Encoding is the `tokenizers` library's. Decoding is by table, so the file's decoder must be one that works id
by id: byte-level BPE (GPT-2 and most since) or SentencePiece style (`▁` for a space, `<0xNN>` for bytes). A
file with another decoder is refused and told which.
"""

import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final

from sax_common.errors import InvalidArgument
from tokenizers import Tokenizer as JsonTokenizer

from sax_zoo.checkpoints.small_json import read_object
from sax_zoo.text.bytelevel import piece_bytes
from sax_zoo.text.endings import ending_ids
from sax_zoo.text.tokenizer import Tokenizer

JSON_BYTES_MAX: Final = 64 * 2**20
_BYTE_PIECE: Final = re.compile(r"<0x([0-9A-F]{2})>")
_LLAMA_CLASSES: Final = frozenset(
    {"LlamaTokenizer", "LlamaTokenizerFast", "CodeLlamaTokenizer", "CodeLlamaTokenizerFast"}
)
_SPECIAL_NAMES: Final = ("bos_token", "eos_token", "unk_token", "pad_token")


def from_json(path: Path, config: Mapping[str, Any]) -> Tokenizer:
    """Open a tokenizer.json; `config` is tokenizer_config.json beside it ({} when absent)."""
    described = read_object(path, bytes_max=JSON_BYTES_MAX)
    try:
        core = JsonTokenizer.from_file(str(path))
    except Exception as error:  # The library raises bare Exception for every kind of bad file.
        raise InvalidArgument(
            f"{path}: not a tokenizer that the tokenizers library reads: {error}"
        ) from error
    core.no_truncation()
    core.no_padding()
    added = [entry for entry in described.get("added_tokens") or [] if isinstance(entry, dict)]
    specials = [(entry["content"], entry["id"]) for entry in added if entry.get("special")]
    texts = {name: text for name in _SPECIAL_NAMES if (text := special_text(config.get(name)))}
    style = _style(described.get("decoder"), path)
    table = _table(
        core, style, hidden={token for _, token in specials}, added={entry["id"] for entry in added}
    )
    prefix = _forced_start(core, config, texts)

    def encode_prompt(text: str) -> list[int]:
        return list(core.encode(text).ids) if prefix is None else prefix + encode_plain(text)

    def encode_plain(text: str) -> list[int]:
        return list(core.encode(text, add_special_tokens=False).ids)

    eos = core.token_to_id(texts["eos_token"]) if "eos_token" in texts else None
    first = encode_prompt("")[:1]
    return Tokenizer(
        table=table,
        encode_prompt=encode_prompt,
        encode_plain=encode_plain,
        encode_chat=encode_plain,
        eos_ids=ending_ids(specials) | (frozenset() if eos is None else {eos}),
        start_id=first[0] if first else None,
        strips_first_space=style == "metaspace" and _strips(described.get("decoder")),
        special_texts=texts,
    )


def special_text(value: Any) -> str:
    """Text of a special token: configurations write a string or an object with `content`; "" if unset."""
    if isinstance(value, Mapping):
        value = value.get("content")
    return value if isinstance(value, str) else ""


def _forced_start(
    core: JsonTokenizer, config: Mapping[str, Any], texts: Mapping[str, str]
) -> list[int] | None:
    """What LLaMA's tokenizer classes put first: their configuration decides, not the post-processor.

    None: leave the ids as the file makes them.
    """
    if config.get("tokenizer_class") not in _LLAMA_CLASSES or "add_bos_token" not in config:
        return None
    start = core.token_to_id(texts.get("bos_token", ""))
    if start is None or not config["add_bos_token"]:
        return []
    return [start]


def _kinds(decoder: Any) -> list[Mapping[str, Any]]:
    if not isinstance(decoder, Mapping):
        return []
    inner = decoder.get("decoders")
    return [part for part in inner if isinstance(part, Mapping)] if isinstance(inner, list) else [decoder]


def _style(decoder: Any, path: Path) -> str:
    kinds = [str(part.get("type")) for part in _kinds(decoder)]
    if "ByteLevel" in kinds:
        return "bytelevel"
    if "Metaspace" in kinds or any(_turns_space(part) for part in _kinds(decoder)):
        return "metaspace"
    raise InvalidArgument(
        f"{path}: its decoder is {kinds or 'missing'}; known are ByteLevel and SentencePiece style "
        "(Metaspace, or Replace with ByteFallback)."
    )


def _turns_space(part: Mapping[str, Any]) -> bool:
    return (
        part.get("type") == "Replace"
        and part.get("content") == " "
        and part.get("pattern") == {"String": "\u2581"}
    )


def _strips(decoder: Any) -> bool:
    """Whether decoding removes one leading space: Strip at the start, or a Metaspace that prepends one."""
    for part in _kinds(decoder):
        if part.get("type") == "Strip" and part.get("start"):
            return True
        if part.get("type") == "Metaspace":
            return bool(part.get("add_prefix_space", part.get("prepend_scheme", "always") != "never"))
    return False


def _table(core: JsonTokenizer, style: str, *, hidden: set[int], added: set[int]) -> list[bytes | None]:
    vocabulary = core.get_vocab(with_added_tokens=True)
    table: list[bytes | None] = [None] * (max(vocabulary.values(), default=-1) + 1)
    for piece, token in vocabulary.items():
        if token in hidden:
            continue
        if token in added:
            table[token] = piece.encode("utf-8", "replace")
        elif style == "bytelevel":
            table[token] = piece_bytes(piece)
        elif match := _BYTE_PIECE.fullmatch(piece):
            table[token] = bytes([int(match[1], 16)])
        else:
            table[token] = piece.replace("\u2581", " ").encode("utf-8", "replace")
    return table
