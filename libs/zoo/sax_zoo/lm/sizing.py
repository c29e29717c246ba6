"""How large an engine a class gets: rows, sequence length, cache.

    rows     samples decoded together   NUM_CACHE_SLOTS, else what admission lets in; at most 64 max_len
    prompt + answer            MAX_SEQ_LEN, else INPUT_SEQ_LEN + MAX_DECODE_STEPS, else the context cache
    tokens of keys and values  every row full, at most KV_CACHE_BYTES (2 GiB), at least one full sequence

64 rows because products of a CPU are compute-bound from there on (DESIGN section 6). The cache has the dtype
of the weights.
"""

import math
from dataclasses import dataclass
from typing import Final

from sax_common.errors import InvalidArgument
from sax_engine.decoder import DecoderConfig, param_shapes

from sax_zoo.lm.template import LanguageModelTemplate, as_tuple

ROWS_MAX: Final = 64
CACHE_BYTES: Final = 2 * 2**30
ITEM_BYTES: Final = {"bfloat16": 2, "float32": 4}
PAGE_SIZE: Final = 16


@dataclass(frozen=True, kw_only=True, slots=True)
class Sizes:
    """Sizes of one engine. Lengths are tokens; the bytes are predictions, for plans and refusals."""

    max_rows: int
    max_len: int
    max_prompt: int
    num_pages: int
    page_size: int
    weight_bytes: int
    cache_bytes: int


def sizes(cls: type[LanguageModelTemplate], config: DecoderConfig) -> Sizes:
    """Choose the sizes. Raises InvalidArgument when an override asks for more than the model can do."""
    max_len = _max_len(cls, config)
    pages_per_sequence = -(-max_len // PAGE_SIZE)
    rows = _rows(cls)
    item_bytes = ITEM_BYTES[cls.FPROP_DTYPE]
    page_bytes = PAGE_SIZE * cached_numbers(config) * item_bytes
    budget = cls.KV_CACHE_BYTES if cls.KV_CACHE_BYTES is not None else CACHE_BYTES
    num_pages = max(min(rows * pages_per_sequence, budget // page_bytes), pages_per_sequence)
    return Sizes(
        max_rows=rows,
        max_len=max_len,
        max_prompt=min(cls.INPUT_SEQ_LEN if cls.INPUT_SEQ_LEN is not None else max_len, max_len),
        num_pages=num_pages,
        page_size=PAGE_SIZE,
        weight_bytes=item_bytes * parameter_count(config),
        cache_bytes=num_pages * page_bytes,
    )


def parameter_count(config: DecoderConfig) -> int:
    """Numbers in the model's weights."""
    return sum(math.prod(shape) for shape in param_shapes(config).values())


def cached_numbers(config: DecoderConfig) -> int:
    """Numbers that the cache holds per token: a key and a value per layer and key/value head."""
    return 2 * config.num_layers * config.num_kv_heads * config.head_dim


def _max_len(cls: type[LanguageModelTemplate], config: DecoderConfig) -> int:
    if cls.MAX_SEQ_LEN is not None:
        wanted = cls.MAX_SEQ_LEN
    elif cls.INPUT_SEQ_LEN is not None and cls.MAX_DECODE_STEPS is not None:
        wanted = cls.INPUT_SEQ_LEN + max(as_tuple(cls.MAX_DECODE_STEPS))
    else:
        wanted = config.max_len
    if wanted > config.max_len:
        raise InvalidArgument(
            f"{cls.__name__} asks for sequences of {wanted} tokens; the model's context is {config.max_len}."
        )
    return wanted


def _rows(cls: type[LanguageModelTemplate]) -> int:
    admitted = max(as_tuple(cls.BATCH_SIZE)) * cls.MAX_LIVE_BATCHES * cls.NUM_SAMPLES
    return min(cls.NUM_CACHE_SLOTS or admitted, ROWS_MAX)
