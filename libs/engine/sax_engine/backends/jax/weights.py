"""A checkpoint's tensors, made ready for the device.

Canonical tensors (see `sax_engine.decoder`) come in one at a time, each name read once, so a loader may make
them on demand; a layer's q, k, v become one matrix and so do gate and up. Matrices take the compute dtype;
norms, biases and scales stay float32, for they are used elementwise. Shapes are checked against the
configuration: nothing is padded silently.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import jax
import jax.numpy as jnp

from sax_engine.backends.jax.layers import Weights
from sax_engine.decoder import DecoderConfig, param_shapes

MATRICES = frozenset(
    {"embed", "unembed", "attn.q", "attn.k", "attn.v", "attn.o", "ffn.gate", "ffn.up", "ffn.down"}
)


class BadWeights(ValueError):  # noqa: N818 - says what was found.
    """A tensor is missing or has another shape; the message names it."""


@jax.tree_util.register_dataclass
@dataclass(frozen=True, slots=True)
class Parameters:
    """Device arrays: one dictionary per layer, and one for what is outside the layers."""

    layers: list[Weights]
    outside: Weights


def prepare(config: DecoderConfig, params: Mapping[str, Any], dtype: jnp.dtype) -> Parameters:
    """Check, cast, fuse and place all tensors."""
    layers: list[Weights] = [{} for _ in range(config.num_layers)]
    outside: Weights = {}
    for name, shape in param_shapes(config).items():
        if name not in params:
            raise BadWeights(f"tensor {name} is missing; the configuration wants it as {list(shape)}")
        tensor = params[name]
        if tuple(tensor.shape) != shape:
            raise BadWeights(f"tensor {name} is {list(tensor.shape)}; the configuration wants {list(shape)}")
        _, _, rest = name.partition(".")
        index, _, short = rest.partition(".")
        home, key = (layers[int(index)], short) if name.startswith("layers.") else (outside, name)
        home[key] = jnp.asarray(tensor, dtype if key in MATRICES else jnp.float32)
        if key.startswith("ffn.down"):
            _fuse(home)
    return Parameters([_fuse(layer) for layer in layers], outside)


def _fuse(layer: Weights) -> Weights:
    """Join the matrices that multiply the same input, as soon as all of them are there."""
    for fused, parts in (
        ("attn.qkv", ("attn.q", "attn.k", "attn.v")),
        ("attn.qkv_bias", ("attn.q_bias", "attn.k_bias", "attn.v_bias")),
        ("ffn.in", ("ffn.gate", "ffn.up")),
        ("ffn.in_bias", ("ffn.gate_bias", "ffn.up_bias")),
    ):
        if all(part in layer for part in parts):
            layer[fused] = jnp.concatenate([layer.pop(part) for part in parts])
    for fused, alone in (("ffn.in", "ffn.up"), ("ffn.in_bias", "ffn.up_bias")):
        if alone in layer and "ffn.gate" not in layer:
            layer[fused] = layer.pop(alone)
    return layer
