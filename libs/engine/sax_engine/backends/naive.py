"""What a `DecoderConfig` means, in plain numpy float32: the reference for every backend.

No cache, no batch, no tricks: one sequence goes through all layers at once with a full [length, length]
attention matrix. It reads canonical tensors (`sax_engine.decoder`) as they are. Good for a few hundred
positions; speed is nobody's concern here.
"""

import math
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from sax_engine.decoder import Activation, DecoderConfig, Norm, Position, Rotary

Array = NDArray[np.float32]
Params = Mapping[str, Any]


def forward(config: DecoderConfig, params: Params, tokens: Sequence[int]) -> Array:
    """Compute the raw logits [length, vocab_size] after each token of one sequence."""
    x = _get(params, "embed")[list(tokens)] * np.float32(config.embedding_scale)
    positions = np.arange(len(tokens))
    if config.position is Position.SINUSOIDAL:
        x = x + sinusoids(len(tokens), config.model_dim)
    if config.position is Position.LEARNED:
        x = x + _get(params, "embed_positions")[np.minimum(positions, config.positions_table_len - 1)]
    for index in range(config.num_layers):
        x = _layer(config, _getter(params, f"layers.{index}."), x)
    x = norm(config, x, _getter(params, ""), "final_norm")
    logits = x @ _get(params, "embed" if config.tied_embedding else "unembed").T
    if config.unembed_bias:
        logits = logits + _get(params, "unembed_bias")
    return _cap(logits, config.logits_cap)


def _get(params: Params, name: str) -> Array:
    return np.asarray(params[name], np.float32)


def _getter(params: Params, prefix: str) -> Callable[[str], Array]:
    return lambda name: _get(params, prefix + name)


def _cap(x: Array, cap: float | None) -> Array:
    if cap is None:
        return x
    capped: Array = np.float32(cap) * np.tanh(x / np.float32(cap))
    return capped


def norm(config: DecoderConfig, x: Array, get: Callable[[str], Array], name: str) -> Array:
    """RMSNorm or LayerNorm over the last axis."""
    scale = get(f"{name}.scale") + np.float32(config.norm_plus_one)
    if config.norm is Norm.RMS:
        same: Array = x / np.sqrt((x * x).mean(-1, keepdims=True) + np.float32(config.norm_eps)) * scale
        return same
    deviation = np.sqrt(x.var(-1, keepdims=True) + np.float32(config.norm_eps))
    standard: Array = (x - x.mean(-1, keepdims=True)) / deviation
    return standard * scale + get(f"{name}.bias")


def sinusoids(length: int, width: int) -> Array:
    """Pax' position embedding: sines, then cosines, timescales from 1 to 10 000."""
    half = width // 2
    timescales = 10_000.0 ** (np.arange(half) / max(half - 1, 1))
    angles = np.arange(length)[:, None] / timescales
    return np.concatenate([np.sin(angles), np.cos(angles)], axis=1).astype(np.float32)


def rope_frequencies(config: DecoderConfig) -> NDArray[np.float64]:
    """Radians per position of each rotated pair, LLaMA 3.1's piecewise rule included."""
    width = config.rotary_dim if config.rotary_dim is not None else config.head_dim
    frequencies = [config.rope_theta ** (-2 * i / width) for i in range(width // 2)]
    scaling = config.rope_scaling
    if scaling is None:
        return np.array(frequencies)
    scaled = []
    for frequency in frequencies:
        wavelength = 2 * math.pi / frequency
        if scaling.linear or wavelength > scaling.original_max_len / scaling.low_freq_factor:
            scaled.append(frequency / scaling.factor)
        elif wavelength < scaling.original_max_len / scaling.high_freq_factor:
            scaled.append(frequency)
        else:
            blend = scaling.original_max_len / wavelength - scaling.low_freq_factor
            blend /= scaling.high_freq_factor - scaling.low_freq_factor
            scaled.append((1 - blend) * frequency / scaling.factor + blend * frequency)
    return np.array(scaled)


def rotate(config: DecoderConfig, x: Array) -> Array:
    """Turn pairs of [length, heads, head_dim] by position * frequency."""
    positions = np.minimum(np.arange(len(x)), config.positions_table_len - 1)
    turned = x.copy()
    half = (config.rotary_dim if config.rotary_dim is not None else config.head_dim) // 2
    for pair, frequency in enumerate(rope_frequencies(config)):
        a, b = (pair, pair + half) if config.rotary is Rotary.HALF_SPLIT else (2 * pair, 2 * pair + 1)
        cos, sin = np.cos(positions * frequency)[:, None], np.sin(positions * frequency)[:, None]
        turned[..., a] = x[..., a] * cos - x[..., b] * sin
        turned[..., b] = x[..., b] * cos + x[..., a] * sin
    return turned


def _layer(config: DecoderConfig, get: Callable[[str], Array], x: Array) -> Array:
    normed = norm(config, x, get, "attn_norm")
    attended = _attention(config, get, normed)
    if not config.parallel_residual:
        x = x + attended
        return x + _feed_forward(config, get, norm(config, x, get, "ffn_norm"))
    second = normed if config.shared_norm else norm(config, x, get, "ffn_norm")
    return x + attended + _feed_forward(config, get, second)


def _project(get: Callable[[str], Array], x: Array, name: str, *, has_bias: bool) -> Array:
    y: Array = x @ get(name).T
    return y + get(f"{name}_bias") if has_bias else y


def _attention(config: DecoderConfig, get: Callable[[str], Array], x: Array) -> Array:
    length, width = len(x), config.head_dim
    q, k, v = (
        _project(get, x, f"attn.{name}", has_bias=config.qkv_bias).reshape(length, -1, width)
        for name in "qkv"
    )
    if config.qk_norm:
        q, k = (
            part / np.sqrt((part * part).mean(-1, keepdims=True) + config.norm_eps) * get(f"attn.{name}_norm")
            for part, name in ((q, "q"), (k, "k"))
        )
    if config.position is Position.ROTARY:
        q, k = rotate(config, q), rotate(config, k)
    if config.per_dim_scale:
        softplus = np.log1p(np.exp(get("attn.per_dim_scale")))
        q = q * np.float32(1.442695041 / math.sqrt(width)) * softplus
    else:
        q = q * (config.query_scale if config.query_scale is not None else width**-0.5)
    distance = np.arange(length)[:, None] - np.arange(length)
    visible = distance >= 0
    if config.sliding_window is not None:
        visible &= distance < config.sliding_window
    answers = []
    for head in range(config.num_heads):
        shared = head * config.num_kv_heads // config.num_heads
        scores = _cap((q[:, head] @ k[:, shared].T).astype(np.float32), config.attention_cap)
        weights = np.exp(np.where(visible, scores, -np.inf) - scores.max(-1, keepdims=True))
        answers.append(weights / weights.sum(-1, keepdims=True) @ v[:, shared])
    joined = np.concatenate(answers, axis=1).astype(np.float32)
    return _project(get, joined, "attn.o", has_bias=config.attn_out_bias)


def _feed_forward(config: DecoderConfig, get: Callable[[str], Array], x: Array) -> Array:
    up = _project(get, x, "ffn.up", has_bias=config.ffn_bias)
    if config.gated:
        hidden = activate(config, _project(get, x, "ffn.gate", has_bias=config.ffn_bias)) * up
    else:
        hidden = activate(config, up)
    return _project(get, hidden, "ffn.down", has_bias=config.ffn_bias)


def activate(config: DecoderConfig, x: Array) -> Array:
    """Apply the function between the two products."""
    kind = config.activation
    if kind is Activation.SILU:
        y = x / (1 + np.exp(-x))
    elif kind is Activation.RELU:
        y = np.maximum(x, 0)
    elif kind is Activation.GELU_TANH:
        y = 0.5 * x * (1 + np.tanh(math.sqrt(2 / math.pi) * (x + 0.044715 * x**3)))
    else:
        y = 0.5 * x * (1 + np.vectorize(math.erf)(x / math.sqrt(2)))
    result: Array = y.astype(np.float32)
    return result
