"""The whole step as one program: embed, layers over the paged cache, logits, choice.

Inputs of a step are D decode rows followed by B blocks of Q prompt tokens. The products run over all of them
together; only attention treats the two kinds apart (`attention.Blocks`). Layers are unrolled: `lax.scan`
over stacked weights copies every slice on CPU and is four to five times slower. The residual stream is
float32.

`run_step` is traced once per bucket and donates the cache and the slots' latest tokens, so both are changed
in place.
"""

import math
from dataclasses import dataclass
from typing import NamedTuple

import jax
import jax.numpy as jnp
from jax import lax

from sax_engine.backends.jax import sampler
from sax_engine.backends.jax.attention import Blocks, attend, write_cache
from sax_engine.backends.jax.layers import (
    Weights,
    activate,
    linear,
    normalise,
    rope_table,
    rotate,
    sinusoids,
    soft_cap,
)
from sax_engine.backends.jax.packing import ALTERNATIVES, Bucket, Unpacked, pack_result, unpack
from sax_engine.backends.jax.weights import Parameters
from sax_engine.decoder import DecoderConfig, Position

LOG2_E = 1.442695041  # As Praxis writes it in per-dim scaling.


class State(NamedTuple):
    """What lives on the device between steps."""

    keys: list[jax.Array]
    values: list[jax.Array]
    latest: jax.Array  # [max_rows + 1]: each slot's latest token; the last entry is for padding.


@dataclass(frozen=True, slots=True)
class _Inputs:
    """Where this step's inputs stand, computed once for all layers."""

    positions: jax.Array  # [T]
    pages: jax.Array  # [T]
    offsets: jax.Array  # [T]
    rope: tuple[jax.Array, jax.Array] | None
    decode: Blocks
    chunks: Blocks | None


@dataclass(frozen=True, slots=True)
class StepSettings:
    """What is fixed when a step is traced. Groups: blocks that attention computes together."""

    config: DecoderConfig
    page_size: int
    decode_group: int
    chunk_group: int


def run_step(
    settings: StepSettings, bucket: Bucket, params: Parameters, state: State, packed: jax.Array
) -> tuple[State, jax.Array]:
    """Run one packed plan; see `packing` for what goes in and comes out."""
    config, plan = settings.config, unpack(packed, bucket)
    inputs = _inputs(settings, bucket, plan)
    x = _embed(config, params.outside, _tokens(bucket, plan, state.latest), inputs.positions)
    keys, values = [], []
    for weights, old_keys, old_values in zip(params.layers, state.keys, state.values, strict=True):
        x, new_keys, new_values = _layer(config, bucket, inputs, weights, (x, old_keys, old_values))
        keys.append(new_keys)
        values.append(new_values)
    tokens, logprobs, top = _choose(config, bucket, params.outside, plan, x)
    latest = state.latest.at[plan.slots].set(tokens)
    targets = _score(config, bucket, params.outside, plan, x)
    return State(keys, values, latest), pack_result(tokens, logprobs, top, targets)


def copy_pages(state: State, copies: jax.Array) -> State:
    """Copy pages, [n, 2] of (source, target), in every layer."""
    source, target = copies[:, 0], copies[:, 1]
    keys = [cache.at[target].set(cache[source]) for cache in state.keys]
    values = [cache.at[target].set(cache[source]) for cache in state.values]
    return State(keys, values, state.latest)


def _tokens(bucket: Bucket, plan: Unpacked, latest: jax.Array) -> jax.Array:
    """Input tokens [T]: literal, or what a slot sampled last."""
    sources = plan.sources[: bucket.decode]
    decode = jnp.where(sources >= 0, latest[jnp.maximum(sources, 0)], plan.tokens[: bucket.decode])
    return jnp.concatenate([decode, plan.tokens[bucket.decode :]])


def _inputs(settings: StepSettings, bucket: Bucket, plan: Unpacked) -> _Inputs:
    decode, config = bucket.decode, settings.config
    within = jnp.arange(bucket.block_len)
    chunk_positions = plan.starts[decode:, None] + within
    positions = jnp.concatenate([plan.starts[:decode], chunk_positions.ravel()])
    # Padding writes to the null page, whatever its position.
    is_real = jnp.concatenate([plan.lengths[:decode] > 0, (within < plan.lengths[decode:, None]).ravel()])
    rows = jnp.concatenate(
        [jnp.arange(decode), decode + jnp.repeat(jnp.arange(bucket.blocks), bucket.block_len)]
    )
    index = jnp.minimum(positions // settings.page_size, bucket.pages - 1)
    pages = jnp.where(is_real, plan.tables[rows, index], 0)
    chunks = None
    if bucket.blocks:
        chunks = Blocks(
            plan.tables[decode:], plan.starts[decode:], plan.lengths[decode:], plan.blocks_used,
            math.gcd(settings.chunk_group, bucket.blocks),
        )  # fmt: skip
    return _Inputs(
        positions=positions,
        pages=pages,
        offsets=positions % settings.page_size,
        rope=rope_table(config, positions) if config.position is Position.ROTARY else None,
        decode=Blocks(
            plan.tables[:decode], plan.starts[:decode], plan.lengths[:decode], plan.decode_used,
            math.gcd(settings.decode_group, decode),
        ),
        chunks=chunks,
    )  # fmt: skip


def _embed(config: DecoderConfig, weights: Weights, tokens: jax.Array, positions: jax.Array) -> jax.Array:
    x = weights["embed"].at[tokens].get(mode="clip").astype(jnp.float32) * config.embedding_scale
    if config.position is Position.SINUSOIDAL:
        return x + sinusoids(config, positions)
    if config.position is Position.LEARNED:
        at = jnp.minimum(positions, config.positions_table_len - 1)
        return x + weights["embed_positions"].at[at].get(mode="clip")
    return x


def _layer(
    config: DecoderConfig,
    bucket: Bucket,
    inputs: _Inputs,
    weights: Weights,
    carried: tuple[jax.Array, jax.Array, jax.Array],
) -> tuple[jax.Array, jax.Array, jax.Array]:
    x, keys, values = carried
    normed = normalise(config, x, weights, "attn_norm")
    queries, new_keys, new_values = _project(config, inputs, weights, normed)
    keys = write_cache(keys, inputs.pages, inputs.offsets, new_keys)
    values = write_cache(values, inputs.pages, inputs.offsets, new_values)
    decode = bucket.decode
    seen = attend(config, queries[:decode, None], keys, values, inputs.decode).reshape(decode, -1)
    if inputs.chunks is not None:
        blocks = queries[decode:].reshape(bucket.blocks, bucket.block_len, *queries.shape[1:])
        chunks = attend(config, blocks, keys, values, inputs.chunks)
        seen = jnp.concatenate([seen, chunks.reshape(bucket.chunk_tokens, -1)])
    attended = linear(seen, weights["attn.o"], weights.get("attn.o_bias"))
    if not config.parallel_residual:
        x = x + attended
        return x + _feed_forward(config, weights, normalise(config, x, weights, "ffn_norm")), keys, values
    if not config.shared_norm:
        normed = normalise(config, x, weights, "ffn_norm")
    return x + attended + _feed_forward(config, weights, normed), keys, values


def _project(
    config: DecoderConfig, inputs: _Inputs, weights: Weights, x: jax.Array
) -> tuple[jax.Array, jax.Array, jax.Array]:
    """Queries (scaled), keys and values of every input, [T, heads, head_dim]."""
    heads, shared, width = config.num_heads, config.num_kv_heads, config.head_dim
    joined = linear(x, weights["attn.qkv"], weights.get("attn.qkv_bias"))
    joined = joined.reshape(x.shape[0], heads + 2 * shared, width)
    queries, keys, values = jnp.split(joined, [heads, heads + shared], axis=1)
    if config.qk_norm:
        queries, keys = (
            _head_norm(config, part, weights, name) for part, name in ((queries, "q"), (keys, "k"))
        )
    if inputs.rope is not None:
        turned = rotate(config, jnp.concatenate([queries, keys], axis=1), inputs.rope)
        queries, keys = turned[:, :heads], turned[:, heads:]
    if config.per_dim_scale:
        scale = LOG2_E / math.sqrt(width) * jax.nn.softplus(weights["attn.per_dim_scale"])
        return queries * scale, keys, values
    return queries * (config.query_scale if config.query_scale is not None else width**-0.5), keys, values


def _head_norm(config: DecoderConfig, x: jax.Array, weights: Weights, name: str) -> jax.Array:
    """RMSNorm over head_dim, before the rotation (Qwen 3)."""
    return (
        x
        * lax.rsqrt(jnp.mean(x * x, axis=-1, keepdims=True) + config.norm_eps)
        * weights[f"attn.{name}_norm"]
    )


def _feed_forward(config: DecoderConfig, weights: Weights, x: jax.Array) -> jax.Array:
    hidden = linear(x, weights["ffn.in"], weights.get("ffn.in_bias"))
    if config.gated:
        gate, up = jnp.split(hidden, 2, axis=1)
        hidden = activate(config.activation, gate) * up
    else:
        hidden = activate(config.activation, hidden)
    return linear(hidden, weights["ffn.down"], weights.get("ffn.down_bias"))


def _logits(config: DecoderConfig, weights: Weights, x: jax.Array) -> jax.Array:
    """Raw float32 logits of [rows, model_dim]."""
    table = weights["embed" if config.tied_embedding else "unembed"]
    logits = linear(normalise(config, x, weights, "final_norm"), table, weights.get("unembed_bias"))
    return soft_cap(logits, config.logits_cap)


def _choose(
    config: DecoderConfig, bucket: Bucket, weights: Weights, plan: Unpacked, x: jax.Array
) -> tuple[jax.Array, jax.Array, tuple[jax.Array, jax.Array]]:
    """Next token of each row, its log-probability, and the alternatives."""
    decode = bucket.decode
    ends = decode + jnp.arange(bucket.blocks) * bucket.block_len + jnp.maximum(plan.lengths[decode:] - 1, 0)
    logits = _logits(config, weights, x[jnp.concatenate([jnp.arange(decode), ends])])
    choice = sampler.Choice(
        plan.temperature, plan.top_k, plan.top_p, plan.seeds, plan.sample, plan.starts + plan.lengths
    )
    tokens = sampler.choose(logits, choice)
    normaliser = sampler.log_normaliser(logits)
    logprobs = jnp.take_along_axis(logits, tokens[:, None], axis=1)[:, 0] - normaliser
    count = min(ALTERNATIVES, config.vocab_size)
    return tokens, logprobs, sampler.alternatives(logits, normaliser, count, plan.wants_alternatives)


def _score(
    config: DecoderConfig, bucket: Bucket, weights: Weights, plan: Unpacked, x: jax.Array
) -> jax.Array:
    """Log-probabilities of the targets, [B * Q]; logits of one block at a time, none without targets."""
    scores = jnp.zeros(bucket.chunk_tokens, jnp.float32)
    if not bucket.blocks:
        return scores

    def one_block(index: jax.Array, scores: jax.Array) -> jax.Array:
        first = index * bucket.block_len
        rows = lax.dynamic_slice_in_dim(x, bucket.decode + first, bucket.block_len, 0)
        targets = lax.dynamic_slice_in_dim(plan.targets, first, bucket.block_len, 0)
        logits = _logits(config, weights, rows)
        chosen = jnp.take_along_axis(logits, jnp.maximum(targets, 0)[:, None], axis=1)[:, 0]
        return lax.dynamic_update_slice_in_dim(scores, chosen - sampler.log_normaliser(logits), first, 0)

    scored: jax.Array = lax.fori_loop(0, plan.blocks_scored, one_block, scores)
    return scored
