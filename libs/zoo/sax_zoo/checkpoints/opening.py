"""A located checkpoint, opened: its decoder, its tensors, its tokenizer and chat template.

One function per format.

The architecture is what the checkpoint says it is; nothing about the model is taken from the publisher's
words.
"""

from dataclasses import dataclass

from sax_common.errors import InvalidArgument
from sax_engine.decoder import DecoderConfig

from sax_zoo.checkpoints.gguf_source import GgufWeights
from sax_zoo.checkpoints.hf_directory import HfWeights
from sax_zoo.checkpoints.locate import Format, Located
from sax_zoo.checkpoints.small_json import read_object
from sax_zoo.checkpoints.source import TensorSource
from sax_zoo.families.family import Family, Fields, find_family
from sax_zoo.families.llama import GGUF_FAMILIES, HF_FAMILIES
from sax_zoo.families.rope import FACTORS_KEY
from sax_zoo.text.chat import ChatTemplate
from sax_zoo.text.directory import read_chat_template, read_tokenizer
from sax_zoo.text.gguf_vocab import from_gguf
from sax_zoo.text.tokenizer import Tokenizer


@dataclass(frozen=True, slots=True)
class OpenCheckpoint:
    """All that a checkpoint says. `source` is open and belongs to whoever opened it."""

    config: DecoderConfig
    family: Family
    source: TensorSource
    tokenizer: Tokenizer
    chat_template: ChatTemplate | None


def open_checkpoint(located: Located) -> OpenCheckpoint:
    """Open a checkpoint. Raises InvalidArgument with the file and the key that cannot be understood."""
    opened = _open_gguf(located) if located.format is Format.GGUF else _open_hugging_face(located)
    if opened.tokenizer.size > opened.config.vocab_size:
        opened.source.close()
        raise InvalidArgument(
            f"{located.path}: the tokenizer has {opened.tokenizer.size} ids and the model a vocabulary "
            f"of {opened.config.vocab_size}."
        )
    return opened


def _open_hugging_face(located: Located) -> OpenCheckpoint:
    path = located.path / "config.json"
    values = read_object(path)
    fields = Fields(values, str(path))
    if values.get("quantization_config"):
        raise fields.refuse(
            "quantization_config",
            values["quantization_config"],
            "none (float16, bfloat16 or float32 weights)",
        )
    architectures = values.get("architectures") or [None]
    family = find_family(
        HF_FAMILIES, architectures[0] if isinstance(architectures, list) else architectures, str(path)
    )
    config = _config(family, fields, {})
    tokenizer = read_tokenizer(located.path, values)
    template = read_chat_template(located.path)
    chat = ChatTemplate(template, tokenizer.special_texts) if template is not None else None
    return OpenCheckpoint(config, family, HfWeights(located.path), tokenizer, chat)


def _open_gguf(located: Located) -> OpenCheckpoint:
    where = str(located.path)
    source = GgufWeights(located.path)
    try:
        metadata = dict(source.metadata)
        if FACTORS_KEY in source.tensors:
            metadata[FACTORS_KEY] = source.read(FACTORS_KEY).reshape(-1).tolist()
        family = find_family(GGUF_FAMILIES, metadata.get("general.architecture"), where)
        shapes = {name: info.shape for name, info in source.tensors.items()}
        config = _config(family, Fields(metadata, where), shapes)
        tokenizer = from_gguf(metadata, where)
        template = metadata.get("tokenizer.chat_template")
        chat = ChatTemplate(template, tokenizer.special_texts) if isinstance(template, str) else None
    except BaseException:
        source.close()
        raise
    return OpenCheckpoint(config, family, source, tokenizer, chat)


def _config(family: Family, fields: Fields, shapes: dict[str, tuple[int, ...]]) -> DecoderConfig:
    """The decoder of a configuration; the engine's own complaints about its numbers get the file's name."""
    try:
        return family.config(fields, shapes)
    except ValueError as error:
        raise InvalidArgument(f"{fields.where}: {error}.") from error
