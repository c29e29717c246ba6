"""A bucket's step as compiled programs: one in all, or a few that are called one after another.

One program is best where launching costs (accelerators). On CPU a launch costs some 30 microseconds of a
step of milliseconds, while XLA needs a fifth of a second per unrolled layer to compile: so there a step is
begin, the same program for each group of layers, and end. Groups of equal size share one compilation, which
makes a 30-layer model ready three to five times sooner.
"""

from collections.abc import Callable
from functools import partial

import jax

from sax_engine.backends.jax.inputs import StepSettings
from sax_engine.backends.jax.packing import Bucket
from sax_engine.backends.jax.step import State, begin, end, run_layers, run_step
from sax_engine.backends.jax.weights import Parameters
from sax_engine.port import Int32

Step = Callable[[Parameters, State, Int32], tuple[State, jax.Array]]


def make_step(settings: StepSettings, bucket: Bucket) -> Step:
    """Make the step of one bucket; it is compiled when it first runs. The state is donated."""
    if settings.layers_per_program is None:
        return jax.jit(partial(run_step, settings, bucket), donate_argnums=1)
    return _staged(settings, bucket, settings.layers_per_program)


def _staged(settings: StepSettings, bucket: Bucket, size: int) -> Step:
    first = jax.jit(partial(begin, settings, bucket))
    middle = jax.jit(partial(run_layers, settings), donate_argnums=1)
    last = jax.jit(partial(end, settings, bucket), donate_argnums=1)

    def step(params: Parameters, state: State, packed: Int32) -> tuple[State, jax.Array]:
        x, inputs = first(params.outside, state.latest, packed)
        keys, values = [], []
        for start in range(0, len(params.layers), size):
            group = slice(start, start + size)
            x, new_keys, new_values = middle(
                params.layers[group], (x, state.keys[group], state.values[group]), inputs
            )
            keys += new_keys
            values += new_values
        latest, result = last(params.outside, state.latest, (x, packed))
        return State(keys, values, latest), result

    return step
