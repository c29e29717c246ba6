"""The rule of `sax_engine.core.sampling`, on the device, for all rows at once.

Only what a step needs is computed: greedy rows cost a maximum; noise, thresholds and alternatives sit behind
conditions. The kept set is found without sorting: a number is a threshold, thresholds are ordered as
integers, and 32 halvings find the largest one that keeps enough (counts for top-k, softmax mass for top-p).
A sort of 49 152 logits costs about five times as much on CPU.
"""

from dataclasses import dataclass

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax

from sax_engine.core.sampling import gumbel, noise_key


@dataclass(frozen=True, slots=True)
class Choice:
    """Sampling parameters of R rows, all arrays of [R]; `position` is where the new token will stand."""

    temperature: jax.Array
    top_k: jax.Array
    top_p: jax.Array
    seed: tuple[jax.Array, jax.Array]
    sample: jax.Array
    position: jax.Array


def first_best(scores: jax.Array) -> jax.Array:
    """Argmax over the last axis, the first index winning ties: half the time of jnp.argmax on CPU.

    For a row of nan this is the last index; its log-probability tells.
    """
    size = scores.shape[-1]
    indices = lax.broadcasted_iota(jnp.int32, scores.shape, scores.ndim - 1)
    best = scores.max(axis=-1, keepdims=True)
    return jnp.minimum(jnp.where(scores == best, indices, size).min(axis=-1), size - 1)


def log_normaliser(logits: jax.Array) -> jax.Array:
    """Log of the sum of exponentials over the last axis."""
    top = logits.max(axis=-1)
    return top + jnp.log(jnp.exp(logits - top[..., None]).sum(axis=-1))


def choose(logits: jax.Array, choice: Choice) -> jax.Array:
    """Choose the next token of each row of float32 logits [R, V]."""
    tokens: jax.Array = lax.cond(
        jnp.any(choice.temperature > 0), lambda: _sampled(logits, choice), lambda: first_best(logits)
    )
    return tokens


def _sampled(logits: jax.Array, choice: Choice) -> jax.Array:
    key = noise_key(choice.seed, choice.sample.astype(jnp.uint32), choice.position.astype(jnp.uint32))
    tokens = lax.broadcasted_iota(jnp.uint32, logits.shape, 1)
    noise = gumbel(jnp, (key[0][:, None], key[1][:, None]), tokens)
    is_random = choice.temperature > 0
    is_narrowed = is_random & ((choice.top_k > 0) | (choice.top_p < 1))
    threshold = lax.cond(
        jnp.any(is_narrowed), lambda: _threshold(logits, choice), lambda: jnp.full(logits.shape[:1], -jnp.inf)
    )
    kept = (logits >= threshold[:, None]) | ~is_random[:, None]
    scores = jnp.where(is_random[:, None], logits + choice.temperature[:, None] * noise, logits)
    return first_best(jnp.where(kept, scores, -jnp.inf))


def _threshold(logits: jax.Array, choice: Choice) -> jax.Array:
    """Smallest logit that is kept, per row; -inf where nothing narrows."""
    size = logits.shape[-1]
    ones = jnp.ones_like(logits)
    count = jnp.where(choice.top_k > 0, jnp.minimum(choice.top_k, size), size).astype(jnp.float32)
    by_count = _largest(logits, ones, count - 0.5)
    mass = jnp.where(logits >= by_count[:, None], jnp.exp(logits - logits.max(axis=-1, keepdims=True)), 0.0)
    by_mass = _largest(logits, mass, choice.top_p * mass.sum(axis=-1))
    return jnp.where(choice.top_p < 1, by_mass, by_count)


def _largest(logits: jax.Array, weights: jax.Array, needed: jax.Array) -> jax.Array:
    """Largest float t per row with sum(weights where logits >= t) > needed; -inf when there is none."""
    low = jnp.full(needed.shape, _ordered(jnp.float32(-jnp.inf)))
    high = _ordered(logits.max(axis=-1)) + np.uint32(1)

    def halve(_: int, bounds: tuple[jax.Array, jax.Array]) -> tuple[jax.Array, jax.Array]:
        low, high = bounds
        middle = low + (high - low) // np.uint32(2)
        enough = jnp.where(logits >= _number(middle)[:, None], weights, 0.0).sum(axis=-1) > needed
        return jnp.where(enough, middle, low), jnp.where(enough, high, middle)

    return _number(lax.fori_loop(0, 32, halve, (low, high))[0])


def _ordered(number: jax.Array) -> jax.Array:
    """Map float32 to uint32 so that order is kept."""
    bits = lax.bitcast_convert_type(number, jnp.uint32)
    return jnp.where(bits >> np.uint32(31), ~bits, bits | np.uint32(1 << 31))


def _number(ordered: jax.Array) -> jax.Array:
    """Undo `_ordered`."""
    bits = jnp.where(ordered >> np.uint32(31), ordered & np.uint32(0x7FFFFFFF), ~ordered)
    return lax.bitcast_convert_type(bits, jnp.float32)


def alternatives(
    logits: jax.Array, normaliser: jax.Array, count: int, wanted: jax.Array
) -> tuple[jax.Array, jax.Array]:
    """Best `count` tokens of each row with log-probabilities, best first; zeros when not `wanted`."""
    rows = logits.shape[0]

    def compute() -> tuple[jax.Array, jax.Array]:
        best, tokens = lax.top_k(logits, count)
        return tokens.astype(jnp.int32), best - normaliser[:, None]

    def skip() -> tuple[jax.Array, jax.Array]:
        return jnp.zeros((rows, count), jnp.int32), jnp.zeros((rows, count), jnp.float32)

    found: tuple[jax.Array, jax.Array] = lax.cond(wanted, compute, skip)
    return found
