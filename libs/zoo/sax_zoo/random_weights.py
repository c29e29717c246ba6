"""Random weights for test classes: 2.1 billion of them in seconds, the same ones for the same seed.

A bfloat16 value has 65 536 possible bit patterns, so a normal variate needs 16 random bits and one look-up
in a table of the normal distribution's quantiles: about a nanosecond per weight, five times faster than
drawing floats and rounding them. Each tensor has a generator of its own, keyed by (seed, name): any tensor
can be made alone, and adding one changes no other.

Matrices are scaled by 1/sqrt(inputs) so that a signal keeps its size through the layers; norms' scales and
all biases start where a trained model starts (1 or 0).
"""

import functools
import math
import zlib
from collections.abc import Callable
from statistics import NormalDist

import ml_dtypes
import numpy as np
from sax_engine.decoder import DecoderConfig, param_shapes

from sax_zoo.checkpoints.assemble import DTYPES, Parameters
from sax_zoo.checkpoints.source import Array, Report

CHUNK = 2**22
EMBEDDING_GAIN = 0.3
"""Less than 1, or a model whose output table is its input table would only ever repeat its last token."""


def random_parameters(
    config: DecoderConfig, *, seed: int, dtype: str, report: Report, check_cancelled: Callable[[], None]
) -> Parameters:
    """Parameters of a decoder, made tensor by tensor on look-up."""
    shapes = param_shapes(config)
    bytes_each = np.dtype(DTYPES[dtype]).itemsize

    def make(name: str) -> Array:
        shape = shapes[name]
        if len(shape) == 1:
            ones = name.endswith((".scale", "q_norm", "k_norm")) and not config.norm_plus_one
            return np.full(shape, float(ones), dtype=np.float32)
        std = (EMBEDDING_GAIN if name == "embed" else 1) / math.sqrt(shape[1])
        return _normal(shape, std=std, seed=seed, name=name).astype(DTYPES[dtype], copy=False)

    sizes = {name: math.prod(shape) * bytes_each for name, shape in shapes.items()}
    return Parameters(sizes, make, report=report, check_cancelled=check_cancelled)


def _normal(shape: tuple[int, ...], *, std: float, seed: int, name: str) -> Array:
    generator = np.random.SFC64(np.random.SeedSequence([seed & (2**64 - 1), zlib.crc32(name.encode())]))
    table = (_quantiles() * np.float32(std)).astype(ml_dtypes.bfloat16).view(np.uint16)
    out = np.empty(math.prod(shape), dtype=np.uint16)
    for begin in range(0, out.size, CHUNK):
        part = out[begin : begin + CHUNK]
        bits = generator.random_raw(-(-part.size // 4)).view(np.uint16)[: part.size]
        np.take(
            table, bits, out=part, mode="clip"
        )  # Nothing is out of range; "raise" would go through a buffer.
    values: Array = out.view(ml_dtypes.bfloat16)
    return values.reshape(shape)


@functools.cache
def _quantiles() -> Array:
    normal = NormalDist()
    return np.array([normal.inv_cdf((place + 0.5) / 65536) for place in range(65536)], dtype=np.float32)
