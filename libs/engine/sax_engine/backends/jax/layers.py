"""The small pieces of a decoder layer, as pure functions on JAX arrays.

Everything elementwise is float32; matrix products take the weights' dtype and accumulate in float32. Weights
are [outputs, inputs]. `sax_engine.backends.naive` says the same things in plain numpy, and the tests hold
the two together.
"""

import math

import jax
import jax.numpy as jnp
from jax import lax

from sax_engine.decoder import Activation, DecoderConfig, Norm, RopeScaling, Rotary

Weights = dict[str, jax.Array]


def linear(x: jax.Array, weight: jax.Array, bias: jax.Array | None = None) -> jax.Array:
    """Multiply [rows, inputs] by [outputs, inputs]; float32 comes out.

    A bfloat16 result would take a path 10 to 50 times slower on CPU; so would one row alone (callers pad to
    four).
    """
    contract = (((x.ndim - 1,), (1,)), ((), ()))
    y = lax.dot_general(
        x.astype(weight.dtype),
        weight,
        contract,
        precision=None if weight.dtype == jnp.bfloat16 else lax.Precision.HIGHEST,
        preferred_element_type=jnp.float32,
    )
    return y if bias is None else y + bias


def normalise(config: DecoderConfig, x: jax.Array, weights: Weights, name: str) -> jax.Array:
    """RMSNorm or LayerNorm of float32 [rows, width]."""
    scale = weights[f"{name}.scale"]
    if config.norm is Norm.LAYER:
        x = x - jnp.mean(x, axis=-1, keepdims=True)
    x = x * lax.rsqrt(jnp.mean(x * x, axis=-1, keepdims=True) + config.norm_eps)
    x = x * (1.0 + scale if config.norm_plus_one else scale)
    return x + weights[f"{name}.bias"] if config.norm is Norm.LAYER else x


def activate(kind: Activation, x: jax.Array) -> jax.Array:
    """Apply the FFN's function."""
    if kind is Activation.SILU:
        return x * lax.logistic(x)
    if kind is Activation.RELU:
        return jnp.maximum(x, 0.0)
    return jax.nn.gelu(x, approximate=kind is Activation.GELU_TANH)


def soft_cap(x: jax.Array, cap: float | None) -> jax.Array:
    """Bend values into (-cap, cap)."""
    return x if cap is None else cap * jnp.tanh(x / cap)


def rope_frequencies(config: DecoderConfig) -> jax.Array:
    """Radians per position of each pair, [rotary_dim / 2]."""
    width = config.rotary_dim if config.rotary_dim is not None else config.head_dim
    frequencies = config.rope_theta ** (-jnp.arange(0, width, 2, dtype=jnp.float32) / width)
    return _scaled(frequencies, config.rope_scaling) if config.rope_scaling else frequencies


def _scaled(frequencies: jax.Array, scaling: RopeScaling) -> jax.Array:
    if scaling.linear:
        return frequencies / scaling.factor
    turns = scaling.original_max_len * frequencies / (2 * math.pi)  # Within the original context.
    low, high = scaling.low_freq_factor, scaling.high_freq_factor
    smooth = jnp.clip((turns - low) / (high - low), 0.0, 1.0)
    return frequencies * ((1 - smooth) / scaling.factor + smooth)


def rope_table(config: DecoderConfig, positions: jax.Array) -> tuple[jax.Array, jax.Array]:
    """Cosines and sines for each position, [rows, 1, rotary_dim / 2]; computed once a step for all layers."""
    clamped = jnp.minimum(positions, config.positions_table_len - 1).astype(jnp.float32)
    angles = clamped[:, None, None] * rope_frequencies(config)
    return jnp.cos(angles), jnp.sin(angles)


def rotate(config: DecoderConfig, x: jax.Array, table: tuple[jax.Array, jax.Array]) -> jax.Array:
    """Turn the leading rotary_dim dimensions of [rows, heads, head_dim] by their positions."""
    cos, sin = table
    width = 2 * cos.shape[-1]
    turned, rest = x[..., :width], x[..., width:]
    if config.rotary is Rotary.HALF_SPLIT:
        first, second = turned[..., : width // 2], turned[..., width // 2 :]
        parts = [first * cos - second * sin, second * cos + first * sin]
        return jnp.concatenate([*parts, rest] if rest.shape[-1] else parts, axis=-1)
    pairs = turned.reshape(*turned.shape[:-1], width // 2, 2)
    even, odd = pairs[..., 0], pairs[..., 1]
    turned = jnp.stack([even * cos - odd * sin, odd * cos + even * sin], axis=-1).reshape(turned.shape)
    return jnp.concatenate([turned, rest], axis=-1) if rest.shape[-1] else turned


def sinusoids(config: DecoderConfig, positions: jax.Array) -> jax.Array:
    """Pax' additive position embedding, [rows, model_dim]."""
    half = config.model_dim // 2
    steps = math.log(10_000.0) / max(half - 1, 1)
    angles = positions.astype(jnp.float32)[:, None] * jnp.exp(-steps * jnp.arange(half, dtype=jnp.float32))
    return jnp.concatenate([jnp.sin(angles), jnp.cos(angles)], axis=-1)
