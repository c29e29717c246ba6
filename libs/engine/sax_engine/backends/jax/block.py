"""One decoder layer over the paged cache, in every variation a `DecoderConfig` can ask for.

The products run over decode rows and prompt tokens together; only attention treats the two kinds apart. The
residual stream is float32.
"""

import math

import jax
import jax.numpy as jnp
from jax import lax

from sax_engine.backends.jax.attention import attend, write_cache
from sax_engine.backends.jax.inputs import Inputs
from sax_engine.backends.jax.layers import Weights, activate, linear, normalise, rotate
from sax_engine.decoder import DecoderConfig

LOG2_E = 1.442695041  # As Praxis writes it in per-dim scaling.


def run_layer(
    config: DecoderConfig,
    inputs: Inputs,
    weights: Weights,
    carried: tuple[jax.Array, jax.Array, jax.Array],
) -> tuple[jax.Array, jax.Array, jax.Array]:
    """Run one layer over `carried`, (residual [T, model_dim], keys, values), and give back the three."""
    x, keys, values = carried
    normed = normalise(config, x, weights, "attn_norm")
    queries, new_keys, new_values = _project(config, inputs, weights, normed)
    keys = write_cache(keys, inputs.pages, inputs.offsets, new_keys)
    values = write_cache(values, inputs.pages, inputs.offsets, new_values)
    decode = inputs.decode.starts.shape[0]
    seen = attend(config, queries[:decode, None], keys, values, inputs.decode).reshape(decode, -1)
    if inputs.chunks is not None:
        blocks = queries[decode:].reshape(inputs.chunks.starts.shape[0], -1, *queries.shape[1:])
        chunks = attend(config, blocks, keys, values, inputs.chunks)
        seen = jnp.concatenate([seen, chunks.reshape(-1, seen.shape[1])])
    attended = linear(seen, weights["attn.o"], weights.get("attn.o_bias"))
    if not config.parallel_residual:
        x = x + attended
        return x + _feed_forward(config, weights, normalise(config, x, weights, "ffn_norm")), keys, values
    if not config.shared_norm:
        normed = normalise(config, x, weights, "ffn_norm")
    return x + attended + _feed_forward(config, weights, normed), keys, values


def _project(
    config: DecoderConfig, inputs: Inputs, weights: Weights, x: jax.Array
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
