"""Attention over the paged cache: the one door behind which kernels may come.

The cache of a layer is two arrays (keys, values) of [pages, kv_heads, page_size, head_dim]. With bfloat16
weights they hold bfloat16 bit patterns as uint16: a bfloat16 scatter copies the whole buffer on CPU, one of
integers does not.

Queries come in *blocks* of Q consecutive positions of one sequence: decode rows are blocks of one, prompt
chunks are cut into blocks of `prefill_block`. Blocks are taken a few at a time, and keys in strips of STRIP
positions, with running maximum and sum (Milakov & Gimelshein, "Online normalizer calculation for softmax",
2018):

    block positions   40..47          strips   [0 .. 255] [256 .. 511]        trips = those that hold a
    position <= 47
    scores            [Q, strip] where key position <= query position

Every product has one fixed shape whatever the batch, and a strip that is masked out changes nothing, bit for
bit: that is why a request gets the same tokens in any company. How many groups and strips are visited is
data, not shape, so nothing is compiled again when contexts grow.
"""

from dataclasses import dataclass, field

import jax
import jax.numpy as jnp
from jax import lax

from sax_engine.backends.jax.layers import soft_cap
from sax_engine.decoder import DecoderConfig

STRIP = (
    256  # Key positions looked at together: 3 heads of 64 in bfloat16 for 8 rows stay in a 1 MiB L2 cache.
)
MASKED = -1e30


@jax.tree_util.register_dataclass
@dataclass(frozen=True, slots=True)
class Blocks:
    """Which queries there are: N blocks of Q, of which only the first `used` are computed."""

    tables: jax.Array  # [N, pages of max_len]
    starts: jax.Array  # [N]: position of the first query
    lengths: jax.Array  # [N]: real queries of the block
    used: jax.Array  # scalar
    group: int = field(metadata={"static": True})  # blocks computed together; divides N


def write_cache(cache: jax.Array, pages: jax.Array, offsets: jax.Array, values: jax.Array) -> jax.Array:
    """Put float32 [rows, kv_heads, head_dim] at (page, offset) of each row, in place if donated.

    What is not finite is stored as 0, or a broken sequence would poison the next owner of its pages: 0 * nan.
    """
    values = jnp.where(jnp.isfinite(values), values, 0.0)
    heads = jnp.arange(cache.shape[1])
    return cache.at[pages[:, None], heads, offsets[:, None]].set(encode(values, cache.dtype))


def encode(values: jax.Array, dtype: jnp.dtype) -> jax.Array:
    """Turn numbers into what a cache of `dtype` holds."""
    if dtype == jnp.uint16:
        return lax.bitcast_convert_type(values.astype(jnp.bfloat16), jnp.uint16)
    return values.astype(dtype)


def _read(cache: jax.Array, pages: jax.Array) -> jax.Array:
    """Gather [blocks, n] pages as [blocks, kv_heads, n * page_size, head_dim], ready for a product."""
    count, heads, size, width = cache.shape
    rows = pages[:, None, :] * heads + jnp.arange(heads)[None, :, None]
    strip = cache.reshape(count * heads, size * width)[rows]
    if strip.dtype == jnp.uint16:
        strip = lax.bitcast_convert_type(strip, jnp.bfloat16)
    return strip.reshape(pages.shape[0], heads, pages.shape[1] * size, width)


def attend(
    config: DecoderConfig, queries: jax.Array, keys: jax.Array, values: jax.Array, blocks: Blocks
) -> jax.Array:
    """Let scaled float32 queries [N, Q, heads, head_dim] see the cache; the same shape comes out."""
    count, length, heads, width = queries.shape
    shared = config.num_kv_heads
    # [N, kv_heads, group of heads x Q, head_dim]: heads that share keys become rows of one product.
    rows = queries.reshape(count, length, shared, heads // shared, width).transpose(0, 2, 3, 1, 4)
    rows = rows.reshape(count, shared, -1, width)

    def one_group(index: jax.Array, out: jax.Array) -> jax.Array:
        first = index * blocks.group
        part = _slice(rows, first, blocks.group)
        tables = _slice(blocks.tables, first, blocks.group)
        starts, lengths = (
            _slice(blocks.starts, first, blocks.group),
            _slice(blocks.lengths, first, blocks.group),
        )
        seen = _group(config, part, (keys, values), (tables, starts, lengths), length)
        return lax.dynamic_update_slice_in_dim(out, seen, first, 0)

    groups = (blocks.used + blocks.group - 1) // blocks.group
    out: jax.Array = lax.fori_loop(0, groups, one_group, jnp.zeros(rows.shape, jnp.float32))
    out = out.reshape(count, shared, heads // shared, length, width).transpose(0, 3, 1, 2, 4)
    return out.reshape(queries.shape)


def _slice(x: jax.Array, first: jax.Array, size: int) -> jax.Array:
    return x if size == x.shape[0] else lax.dynamic_slice_in_dim(x, first, size, 0)


def _group(
    config: DecoderConfig,
    rows: jax.Array,
    cache: tuple[jax.Array, jax.Array],
    where: tuple[jax.Array, jax.Array, jax.Array],
    length: int,
) -> jax.Array:
    """Attention of one group of blocks, strip by strip: [group, kv_heads, rows, head_dim]."""
    tables, starts, lengths = where
    size = cache[0].shape[2]
    pages = min(STRIP // size, tables.shape[1])
    strip = pages * size
    tables = jnp.pad(tables, ((0, 0), (0, -tables.shape[1] % pages)))
    positions = starts[:, None] + jnp.arange(length)  # [group, Q]
    positions = jnp.tile(positions, (1, rows.shape[2] // length))[:, None, :, None]

    def one_strip(
        index: jax.Array, carry: tuple[jax.Array, jax.Array, jax.Array]
    ) -> tuple[jax.Array, jax.Array, jax.Array]:
        top, total, out = carry
        here = lax.dynamic_slice_in_dim(tables, index * pages, pages, 1)
        scores = _product(rows, _read(cache[0], here), contract=3)
        scores = soft_cap(scores, config.attention_cap)
        at = index * strip + jnp.arange(strip)
        visible = at <= positions
        if config.sliding_window is not None:
            visible &= at > positions - config.sliding_window
        scores = jnp.where(visible, scores, MASKED)
        new_top = jnp.maximum(top, scores.max(axis=-1, keepdims=True))
        weights = jnp.where(visible, jnp.exp(scores - new_top), 0.0)
        fade = jnp.exp(top - new_top)
        total = total * fade + weights.sum(axis=-1, keepdims=True)
        return new_top, total, out * fade + _product(weights, _read(cache[1], here), contract=2)

    trips = (jnp.max(starts + lengths) + strip - 1) // strip
    column = jnp.zeros((*rows.shape[:3], 1), jnp.float32)
    _, total, out = lax.fori_loop(
        0, trips, one_strip, (column + MASKED, column, jnp.zeros(rows.shape, jnp.float32))
    )
    attended: jax.Array = out / jnp.maximum(total, 1e-30)
    return attended


def _product(left: jax.Array, right: jax.Array, *, contract: int) -> jax.Array:
    """Multiply over blocks and heads: axis 3 of `left` with axis `contract` of `right`, into float32."""
    exact = right.dtype != jnp.bfloat16
    product: jax.Array = lax.dot_general(
        left.astype(right.dtype),
        right,
        (((3,), (contract,)), ((0, 1), (0, 1))),
        precision=lax.Precision.HIGHEST if exact else None,
        preferred_element_type=jnp.float32,
    )
    return product
