"""How the next token is chosen: the rule in numpy, which every backend must match.

    kept    = the top_k largest logits (0: all; equals of the k-th are kept too)
    kept   &= the nucleus: largest logits whose softmax mass *at temperature 1, over what top-k kept* first
    exceeds top_p;
              the token that crosses is in (1: off; 0: the best alone)
    token   = argmax over kept of  logit + temperature * gumbel        (lowest id wins a tie; temperature 0:
    plain argmax)

This is Praxis' order (reference: `sample_decode`, DefaultNextTokenSampler): temperature scales the noise and
never the nucleus. The reported log-probability is log_softmax of the raw logits, whatever was kept.

Noise has no state. Threefry-2x32 (Salmon et al., "Parallel random numbers: as easy as 1, 2, 3", SC11; 20
rounds) turns (seed, sample, position, token id) into 23 bits, so a token's noise depends neither on the
batch nor on the vocabulary's padding nor on which other tokens are looked at. All functions here also run on
`jax.numpy` arrays (`xp`), which is how the integers are the same everywhere; logarithms may differ in the
last bit.
"""

from types import ModuleType
from typing import Any

import numpy as np
from numpy.typing import NDArray

from sax_engine.core.requests import SamplingParams

_ROTATIONS = ((13, 15, 26, 6), (17, 29, 16, 24))
_PARITY = 0x1BD11BDA  # Threefish' key schedule constant, lower half.
_GROUPS = 5  # Of four rounds each.
_UNIT = 2.0**-23

# Arrays of numpy or jax.numpy, by the `xp` that came with them.
Array = Any


def threefry2x32(key: tuple[Array, Array], counter: tuple[Array, Array]) -> tuple[Array, Array]:
    """Encrypt two uint32 counters under two uint32 keys; arrays broadcast, overflow wraps."""
    schedule = (*key, key[0] ^ key[1] ^ np.uint32(_PARITY))
    left, right = counter[0] + key[0], counter[1] + key[1]
    for group in range(_GROUPS):
        for turn in _ROTATIONS[group % 2]:
            left = left + right
            right = left ^ ((right << np.uint32(turn)) | (right >> np.uint32(32 - turn)))
        left = left + schedule[(group + 1) % 3]
        right = right + (schedule[(group + 2) % 3] + np.uint32(group + 1))
    return left, right


def noise_key(seed: tuple[Array, Array], sample: Array, position: Array) -> tuple[Array, Array]:
    """Key of one choice: `seed` as (low, high) uint32 words, sample and position as uint32."""
    return threefry2x32(seed, (sample, position))


def gumbel(xp: ModuleType, key: tuple[Array, Array], token: Array) -> Array:
    """Standard Gumbel noise (float32) of each token id under a choice's key."""
    bits, _ = threefry2x32(key, (token, xp.zeros_like(token)))
    uniform = ((bits >> np.uint32(9)).astype(np.float32) + np.float32(0.5)) * np.float32(_UNIT)
    return -xp.log(-xp.log(uniform))


def kept_tokens(logits: NDArray[np.float32], params: SamplingParams) -> NDArray[np.bool_]:
    """Say which tokens may be chosen; never none."""
    order = np.sort(logits)[::-1]
    if params.top_k:
        order = order[order >= order[min(params.top_k, len(order)) - 1]]
    if params.top_p < 1:
        mass = np.cumsum(np.exp(order - order[0]))
        crossing = int(np.count_nonzero(mass <= np.float32(params.top_p) * mass[-1]))
        order = order[: crossing + 1]
    kept: NDArray[np.bool_] = logits >= order[-1]
    return kept


def choose(logits: NDArray[np.float32], params: SamplingParams, *, sample: int, position: int) -> int:
    """Choose the token at `position` (counted from the prompt's first) for one sample."""
    if params.temperature == 0:
        return int(np.argmax(logits))
    seed = (np.array(params.seed & 0xFFFFFFFF, np.uint32), np.array(params.seed >> 32, np.uint32))
    with np.errstate(over="ignore"):
        key = noise_key(seed, np.array(sample, np.uint32), np.array(position, np.uint32))
        noise = gumbel(np, key, np.arange(len(logits), dtype=np.uint32))
    scores = logits + np.float32(params.temperature) * noise
    return int(np.argmax(np.where(kept_tokens(logits, params), scores, -np.inf)))


def log_softmax(logits: NDArray[np.float32]) -> NDArray[np.float32]:
    """Log-probabilities of the raw logits, in float32."""
    shifted = logits - logits.max(axis=-1, keepdims=True)
    result: NDArray[np.float32] = shifted - np.log(np.exp(shifted).sum(axis=-1, keepdims=True))
    return result
