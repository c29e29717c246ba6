"""Where the inputs of a step stand: positions, pages, rotation, and the blocks for attention.

Computed once per step for all layers. Inputs are D decode rows followed by B blocks of Q prompt tokens; T =
D + B * Q.
"""

import math
from collections.abc import Callable
from dataclasses import dataclass

import jax
import jax.numpy as jnp
from jax import lax

from sax_engine.backends.jax.attention import Blocks
from sax_engine.backends.jax.layers import Weights, rope_table, sinusoids
from sax_engine.backends.jax.packing import Bucket, Unpacked
from sax_engine.decoder import DecoderConfig, Position


@dataclass(frozen=True, slots=True)
class StepSettings:
    """What is fixed when a step is traced.

    Groups: blocks that attention computes together (None: all). A small cache likes few, but what is not
    used is only left out by whole groups. layers_per_program: None makes the step one program.
    """

    config: DecoderConfig
    page_size: int
    decode_group: int | None
    chunk_group: int | None
    layers_per_program: int | None


@jax.tree_util.register_dataclass
@dataclass(frozen=True, slots=True)
class Inputs:
    """What every layer needs to know."""

    pages: jax.Array  # [T]
    offsets: jax.Array  # [T]
    rope: tuple[jax.Array, jax.Array] | None
    decode: Blocks
    chunks: Blocks | None


def make_inputs(
    settings: StepSettings, bucket: Bucket, weights: Weights, latest: jax.Array, plan: Unpacked
) -> tuple[jax.Array, Inputs]:
    """Embed the inputs, [T, model_dim], and say where they stand."""
    decode, config = bucket.decode, settings.config
    # At least two groups, so that a batch that fills half its bucket pays for half the attention.
    decode_group = None if settings.decode_group is None else min(settings.decode_group, decode // 2)
    within = jnp.arange(bucket.block_len)
    chunk_positions = plan.starts[decode:, None] + within
    positions = jnp.concatenate([plan.starts[:decode], chunk_positions.ravel()])
    # Padding writes to the null page, whatever its position.
    is_real = jnp.concatenate([plan.lengths[:decode] > 0, (within < plan.lengths[decode:, None]).ravel()])
    blocks = decode + jnp.repeat(jnp.arange(bucket.blocks), bucket.block_len)
    rows = jnp.concatenate([jnp.arange(decode), blocks])
    index = jnp.minimum(positions // settings.page_size, bucket.pages - 1)
    inputs = Inputs(
        pages=jnp.where(is_real, plan.tables[rows, index], 0),
        offsets=positions % settings.page_size,
        rope=_rope(config, positions),
        decode=_blocks(plan, slice(0, decode), plan.decode_used, decode_group),
        chunks=_blocks(plan, slice(decode, None), plan.blocks_used, settings.chunk_group)
        if bucket.blocks
        else None,
    )
    return _embed(config, weights, _tokens(bucket, plan, latest), positions), inputs


def _blocks(plan: Unpacked, rows: slice, used: jax.Array, group: int | None) -> Blocks:
    starts = plan.starts[rows]
    count = starts.shape[0]
    together = count if group is None else math.gcd(group, count)
    return Blocks(plan.tables[rows], starts, plan.lengths[rows], used, together)


_barrier: Callable[[tuple[jax.Array, jax.Array]], tuple[jax.Array, jax.Array]] = lax.optimization_barrier


def _rope(config: DecoderConfig, positions: jax.Array) -> tuple[jax.Array, jax.Array] | None:
    if config.position is not Position.ROTARY:
        return None
    # Without the barrier XLA computes the cosines again in every layer, for every head.
    cos, sin = _barrier(rope_table(config, positions))
    return cos, sin


def _tokens(bucket: Bucket, plan: Unpacked, latest: jax.Array) -> jax.Array:
    """Input tokens [T]: literal, or what a slot sampled last."""
    sources = plan.sources[: bucket.decode]
    decode = jnp.where(sources >= 0, latest[jnp.maximum(sources, 0)], plan.tokens[: bucket.decode])
    return jnp.concatenate([decode, plan.tokens[bucket.decode :]])


def _embed(config: DecoderConfig, weights: Weights, tokens: jax.Array, positions: jax.Array) -> jax.Array:
    x = weights["embed"].at[tokens].get(mode="clip").astype(jnp.float32) * config.embedding_scale
    if config.position is Position.SINUSOIDAL:
        return x + sinusoids(config, positions)
    if config.position is Position.LEARNED:
        at = jnp.minimum(positions, config.positions_table_len - 1)
        return x + weights["embed_positions"].at[at].get(mode="clip")
    return x
