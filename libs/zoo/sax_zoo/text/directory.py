"""The tokenizer and chat template of a Hugging Face directory.

`tokenizer.json` is preferred, `tokenizer.model` (SentencePiece) serves older checkpoints. Ids that end an
answer are all that the checkpoint names: generation_config.json, config.json, the tokenizer's EOS and its
end-of-turn tokens.
"""

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

from sax_common.errors import InvalidArgument

from sax_zoo.checkpoints.small_json import BYTES_MAX, read_optional
from sax_zoo.text.endings import ending_ids
from sax_zoo.text.hf_json import from_json, special_text
from sax_zoo.text.spm import SpmSettings, from_spm
from sax_zoo.text.tokenizer import Tokenizer


def read_tokenizer(directory: Path, model_config: Mapping[str, Any]) -> Tokenizer:
    """Open the directory's tokenizer. Raises InvalidArgument naming what is missing."""
    config = read_optional(directory / "tokenizer_config.json")
    if (directory / "tokenizer.json").is_file():
        tokenizer = from_json(directory / "tokenizer.json", config)
    elif (directory / "tokenizer.model").is_file():
        tokenizer = _from_model(directory / "tokenizer.model", config)
    else:
        raise InvalidArgument(f"{directory}: neither tokenizer.json nor tokenizer.model is in it.")
    generation = read_optional(directory / "generation_config.json")
    named = _ids(generation.get("eos_token_id")) | _ids(model_config.get("eos_token_id"))
    return replace(tokenizer, eos_ids=tokenizer.eos_ids | named)


def read_chat_template(directory: Path) -> str | None:
    """Read chat_template.jinja, or tokenizer_config.json's entry (`default` when there are several)."""
    path = directory / "chat_template.jinja"
    if path.is_file() and path.stat().st_size <= BYTES_MAX:
        return path.read_text("utf-8", errors="replace")
    value = read_optional(directory / "tokenizer_config.json").get("chat_template")
    if isinstance(value, list):
        named = {entry.get("name"): entry.get("template") for entry in value if isinstance(entry, Mapping)}
        value = named.get("default")
    return value if isinstance(value, str) else None


def _from_model(path: Path, config: Mapping[str, Any]) -> Tokenizer:
    specials: dict[str, int] = {}
    for token, entry in (config.get("added_tokens_decoder") or {}).items():
        if token.isdecimal() and special_text(entry):
            specials[special_text(entry)] = int(token)
    model = path.read_bytes() if path.stat().st_size <= BYTES_MAX else b""
    plain = from_spm(model, SpmSettings(), str(path))
    texts = {
        name: special_text(config.get(name)) for name in ("bos_token", "eos_token", "unk_token", "pad_token")
    }
    literal = plain.encode_chat
    start = (
        _single(literal(texts["bos_token"]))
        if config.get("add_bos_token", True) and texts["bos_token"]
        else None
    )
    eos = specials.get(texts["eos_token"]) or (
        _single(literal(texts["eos_token"])) if texts["eos_token"] else None
    )
    settings = SpmSettings(
        start_id=start,
        eos_ids=ending_ids(specials.items()) | (frozenset() if eos is None else {eos}),
        special_texts={name: text for name, text in texts.items() if text},
        added={text: token for text, token in specials.items() if token >= plain.size},
    )
    return from_spm(model, settings, str(path))


def _single(ids: list[int]) -> int | None:
    return ids[0] if len(ids) == 1 else None


def _ids(value: Any) -> frozenset[int]:
    values = value if isinstance(value, list) else [value]
    return frozenset(token for token in values if type(token) is int)
