"""The parts of a step: begin (embed), layers over the paged cache, end (logits, choice, scores).

Layers are unrolled: `lax.scan` over stacked weights copies every slice on CPU and is four to five times
slower. How the parts are joined into programs is `programs`' business. The cache and the slots' latest
tokens are donated there, so both change in place.
"""

from typing import NamedTuple

import jax
import jax.numpy as jnp
from jax import lax

from sax_engine.backends.jax import sampler
from sax_engine.backends.jax.block import run_layer
from sax_engine.backends.jax.inputs import Inputs, StepSettings, make_inputs
from sax_engine.backends.jax.layers import Weights, linear, normalise, soft_cap
from sax_engine.backends.jax.packing import ALTERNATIVES, Bucket, Unpacked, pack_result, unpack
from sax_engine.backends.jax.weights import Parameters
from sax_engine.decoder import DecoderConfig

Caches = list[jax.Array]


class State(NamedTuple):
    """What lives on the device between steps."""

    keys: Caches
    values: Caches
    latest: jax.Array  # [max_rows + 1]: each slot's latest token; the last entry is for padding.


def begin(
    settings: StepSettings, bucket: Bucket, weights: Weights, latest: jax.Array, packed: jax.Array
) -> tuple[jax.Array, Inputs]:
    """Unpack a plan and embed its inputs."""
    return make_inputs(settings, bucket, weights, latest, unpack(packed, bucket))


def run_layers(
    settings: StepSettings, layers: list[Weights], carried: tuple[jax.Array, Caches, Caches], inputs: Inputs
) -> tuple[jax.Array, Caches, Caches]:
    """Run consecutive layers over `carried`, (residual, keys, values), and give back the three."""
    x, keys, values = carried
    new_keys, new_values = [], []
    for weights, old_keys, old_values in zip(layers, keys, values, strict=True):
        x, written_keys, written_values = run_layer(
            settings.config, inputs, weights, (x, old_keys, old_values)
        )
        new_keys.append(written_keys)
        new_values.append(written_values)
    return x, new_keys, new_values


def end(
    settings: StepSettings,
    bucket: Bucket,
    weights: Weights,
    latest: jax.Array,
    run: tuple[jax.Array, jax.Array],
) -> tuple[jax.Array, jax.Array]:
    """Choose and score after `run`, (residual, packed plan); latest tokens and packed result come out."""
    x, packed = run
    config, plan = settings.config, unpack(packed, bucket)
    tokens, logprobs, top = _choose(config, bucket, weights, plan, x)
    targets = _score(config, bucket, weights, plan, x)
    return latest.at[plan.slots].set(tokens), pack_result(tokens, logprobs, top, targets)


def run_step(
    settings: StepSettings, bucket: Bucket, params: Parameters, state: State, packed: jax.Array
) -> tuple[State, jax.Array]:
    """Run one packed plan from begin to end."""
    x, inputs = begin(settings, bucket, params.outside, state.latest, packed)
    x, keys, values = run_layers(settings, params.layers, (x, state.keys, state.values), inputs)
    latest, result = end(settings, bucket, params.outside, state.latest, (x, packed))
    return State(keys, values, latest), result


def copy_pages(state: State, copies: jax.Array) -> State:
    """Copy pages, [n, 2] of (source, target), in every layer."""
    source, target = copies[:, 0], copies[:, 1]
    keys = [cache.at[target].set(cache[source]) for cache in state.keys]
    values = [cache.at[target].set(cache[source]) for cache in state.values]
    return State(keys, values, state.latest)


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
