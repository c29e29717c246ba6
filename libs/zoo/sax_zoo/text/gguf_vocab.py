"""The tokenizer inside a GGUF file.

Two kinds cover the decoders that we read (`tokenizer.ggml.model`):

    gpt2    byte-level BPE: tokens and merges; `tokenizer.ggml.pre` says how text is cut before merging
    llama   SentencePiece BPE: tokens with scores and types; rebuilt as a SentencePiece model

How each `pre` cuts text is in llama.cpp's `llm_tokenizer_bpe`; an unknown one is refused, because a wrong
cut gives ids that are almost right.
"""

from collections.abc import Mapping, Sequence
from typing import Any, Final

from sax_common.errors import InvalidArgument
from sentencepiece import sentencepiece_model_pb2
from tokenizers import AddedToken, Regex, decoders, models, pre_tokenizers
from tokenizers import Tokenizer as JsonTokenizer

from sax_zoo.text.bytelevel import piece_bytes
from sax_zoo.text.endings import ending_ids
from sax_zoo.text.spm import SpmSettings, from_spm
from sax_zoo.text.tokenizer import Tokenizer

NORMAL, UNKNOWN, CONTROL, USER_DEFINED = 1, 2, 3, 4
"""Values of tokenizer.ggml.token_type; 5 is unused, 6 a byte. SentencePiece's model uses the same numbers."""

_LLAMA3: Final = (
    r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}{1,3}"
    r"| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+"
)
_QWEN2: Final = _LLAMA3.replace(r"\p{N}{1,3}", r"\p{N}")
_DIGITS_THEN_GPT2: Final = frozenset({"smollm", "starcoder", "refact", "command-r", "codeshell", "exaone"})
_GPT2: Final = frozenset({"gpt-2", "default", "phi-2", "olmo", "mpt", "jina-es", "jina-de", "gigachat"})
_SPLIT: Final = {
    "llama-bpe": _LLAMA3,
    "llama3": _LLAMA3,
    "llama-v3": _LLAMA3,
    "qwen2": _QWEN2,
    "deepseek-r1-qwen": _QWEN2,
    "stablelm2": _QWEN2,
    "megrez": _QWEN2,
}


def from_gguf(metadata: Mapping[str, Any], where: str) -> Tokenizer:
    """Build the tokenizer of a GGUF file.

    Raises InvalidArgument naming the metadata key that is missing or unknown.
    """
    model = metadata.get("tokenizer.ggml.model")
    tokens = _list(metadata, "tokens", where)
    types = metadata.get("tokenizer.ggml.token_type") or [NORMAL] * len(tokens)
    if len(types) != len(tokens):
        raise InvalidArgument(f"{where}: {len(tokens)} tokens and {len(types)} token types.")
    if model == "gpt2":
        return _byte_bpe(metadata, tokens, types, where)
    if model == "llama":
        return _sentencepiece(metadata, tokens, types, where)
    raise InvalidArgument(f"{where}: tokenizer.ggml.model is {model!r}; known are gpt2 and llama.")


def _byte_bpe(
    metadata: Mapping[str, Any], tokens: Sequence[str], types: Sequence[int], where: str
) -> Tokenizer:
    merges = [tuple(merge.split(" ", 1)) for merge in _list(metadata, "merges", where)]
    try:
        core = JsonTokenizer(models.BPE({text: at for at, text in enumerate(tokens)}, merges))
    except Exception as error:  # The library raises bare Exception for a merge outside the vocabulary.
        raise InvalidArgument(f"{where}: tokens and merges do not fit together: {error}") from error
    core.pre_tokenizer = _cutter(str(metadata.get("tokenizer.ggml.pre", "default")), where)
    core.decoder = decoders.ByteLevel()
    specials = [text for text, kind in zip(tokens, types, strict=True) if kind in {CONTROL, UNKNOWN}]
    core.add_special_tokens([AddedToken(text, special=True, normalized=False) for text in specials])
    own = [text for text, kind in zip(tokens, types, strict=True) if kind == USER_DEFINED]
    core.add_tokens([AddedToken(text, normalized=False) for text in own])
    endings = ending_ids(
        (text, at) for at, (text, kind) in enumerate(zip(tokens, types, strict=True)) if kind == CONTROL
    )
    start = _start_id(metadata, adds_by_default=False)
    prefix = [] if start is None else [start]

    def encode(text: str) -> list[int]:
        return list(core.encode(text, add_special_tokens=False).ids)

    hidden = {CONTROL, UNKNOWN}
    return Tokenizer(
        table=[
            None if kind in hidden else text.encode() if kind == USER_DEFINED else piece_bytes(text)
            for text, kind in zip(tokens, types, strict=True)
        ],
        encode_prompt=lambda text: prefix + encode(text),
        encode_plain=encode,
        encode_chat=encode,
        eos_ids=_eos_ids(metadata) | endings,
        start_id=start,
        special_texts=_special_texts(metadata, tokens),
    )


def _cutter(pre: str, where: str) -> pre_tokenizers.PreTokenizer:
    gpt2 = pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=True)
    if pre in _GPT2:
        return gpt2
    if pre in _DIGITS_THEN_GPT2:
        return pre_tokenizers.Sequence([pre_tokenizers.Digits(individual_digits=True), gpt2])
    if pre in _SPLIT:
        split = pre_tokenizers.Split(Regex(_SPLIT[pre]), behavior="isolated")
        plain = pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False)
        return pre_tokenizers.Sequence([split, plain])
    known = ", ".join(sorted(_GPT2 | _DIGITS_THEN_GPT2 | set(_SPLIT)))
    raise InvalidArgument(f"{where}: tokenizer.ggml.pre is {pre!r}; known are {known}.")


def _sentencepiece(
    metadata: Mapping[str, Any], tokens: Sequence[str], types: Sequence[int], where: str
) -> Tokenizer:
    scores = _list(metadata, "scores", where)
    if len(scores) != len(tokens):
        raise InvalidArgument(f"{where}: {len(tokens)} tokens and {len(scores)} scores.")
    model: Any = sentencepiece_model_pb2.ModelProto()  # type: ignore[attr-defined]  # Made at import.
    for text, score, kind in zip(tokens, scores, types, strict=True):
        model.pieces.add(piece=text, score=score, type=kind)
    model.trainer_spec.model_type = model.trainer_spec.BPE
    model.trainer_spec.byte_fallback = True
    model.normalizer_spec.name = "identity"
    model.normalizer_spec.add_dummy_prefix = bool(metadata.get("tokenizer.ggml.add_space_prefix", True))
    model.normalizer_spec.remove_extra_whitespaces = False
    model.normalizer_spec.escape_whitespaces = True
    endings = ending_ids(
        (text, at) for at, (text, kind) in enumerate(zip(tokens, types, strict=True)) if kind == CONTROL
    )
    settings = SpmSettings(
        start_id=_start_id(metadata, adds_by_default=True),
        eos_ids=_eos_ids(metadata) | endings,
        special_texts=_special_texts(metadata, tokens),
    )
    return from_spm(model.SerializeToString(), settings, where)


def _start_id(metadata: Mapping[str, Any], *, adds_by_default: bool) -> int | None:
    if not metadata.get("tokenizer.ggml.add_bos_token", adds_by_default):
        return None
    start = metadata.get("tokenizer.ggml.bos_token_id")
    return start if type(start) is int else None


def _eos_ids(metadata: Mapping[str, Any]) -> frozenset[int]:
    """Ends of text, of a turn (eot) and of a message (eom): whichever the model was taught."""
    keys = ("eos_token_id", "eot_token_id", "eom_token_id")
    found = (metadata.get(f"tokenizer.ggml.{key}") for key in keys)
    return frozenset(token for token in found if type(token) is int)


def _special_texts(metadata: Mapping[str, Any], tokens: Sequence[str]) -> dict[str, str]:
    texts = {}
    for name, key in (
        ("bos_token", "bos"),
        ("eos_token", "eos"),
        ("unk_token", "unknown"),
        ("pad_token", "padding"),
    ):
        token = metadata.get(f"tokenizer.ggml.{key}_token_id")
        if type(token) is int and 0 <= token < len(tokens):
            texts[name] = tokens[token]
    return texts


def _list(metadata: Mapping[str, Any], key: str, where: str) -> list[Any]:
    value = metadata.get(f"tokenizer.ggml.{key}")
    if not isinstance(value, list) or not value:
        raise InvalidArgument(f"{where}: tokenizer.ggml.{key} is missing.")
    return value
