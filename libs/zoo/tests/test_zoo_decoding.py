"""How extra inputs and options become sampling parameters: the original's rules, as values."""

import math

import pytest
from sax_common.errors import InvalidArgument
from sax_zoo.lm.calls import GenerateOptions
from sax_zoo.lm.decoding import DecodingRules, resolve
from sax_zoo.models.hf import LX

NOTHING = GenerateOptions()


def rules(**changes) -> DecodingRules:
    """Rules of a class such as hf.CausalLM."""
    values = {
        "top_k": 40,
        "temperature": 0.0,
        "num_samples": 1,
        "decode_steps_max": None,
        "stop_ids": frozenset({2}),
    }
    return DecodingRules(**{**values, **changes})


def decide(extra=None, options=NOTHING, **changes):
    """Resolve with the LLaMA classes' defaults."""
    return resolve(rules(**changes), {**LX, **(extra or {})}, options, seed=11)


def test_defaults_are_those_of_the_llama_classes():
    """Temperature 0.5, 128 steps, top-p 0.95; per_example_top_k 200 means TOP_K 40."""
    decided = decide()
    assert (decided.sampling.temperature, decided.sampling.top_k, decided.sampling.top_p) == (0.5, 40, 0.95)
    assert (decided.steps, decided.num_samples, decided.stop_ids) == (128, 1, {2})


@pytest.mark.parametrize(
    ("top_k", "sent", "option", "expected"),
    [
        (40, 5, None, 5),
        (40, 200, None, 40),
        (40, None, None, 40),
        (0, 5, None, 0),
        (0, 5, 7, 7),
        (1, 9, 9, 1),
        (40, 5, 9, 9),
        (40, 5, 0, 5),
    ],
)
def test_top_k_narrows_what_the_class_keeps(top_k, sent, option, expected):
    """A request never widens TOP_K; 0 keeps the vocabulary and ignores the extra input."""
    decided = decide({"per_example_top_k": sent}, GenerateOptions(top_k=option), top_k=top_k)
    assert decided.sampling.top_k == expected


def test_top_k_of_one_is_argmax():
    """With TOP_K 1 no temperature matters."""
    assert decide({"temperature": 2.0}, top_k=1).sampling.temperature == 0.0


def test_disabled_inputs_fall_back():
    """None: the class's temperature, no nucleus, as many steps as fit."""
    decided = decide(dict.fromkeys(LX), temperature=0.25)
    assert (decided.sampling.temperature, decided.sampling.top_p, decided.steps) == (0.25, 1.0, None)


def test_a_nucleus_above_one_keeps_everything():
    """top_p >= 1 is off."""
    assert decide({"per_example_top_p": 3.0}).sampling.top_p == 1.0


def test_options_win_over_extra_inputs():
    """A set option has the last word; zero is set."""
    options = GenerateOptions(
        max_tokens=3, temperature=0.0, top_p=0.5, seed=-1, num_samples=4, top_logprobs=2
    )
    decided = decide({"temperature": 1.0, "gumbel_prng_key": 5}, options)
    assert (decided.sampling.temperature, decided.sampling.top_p, decided.sampling.seed) == (
        0.0,
        0.5,
        2**64 - 1,
    )
    assert (decided.steps, decided.steps_are_exact, decided.num_samples, decided.top_logprobs) == (
        3,
        True,
        4,
        2,
    )


def test_steps_are_the_smaller_of_wish_and_class():
    """per_example_max_decode_steps is min(value, MAX_DECODE_STEPS)."""
    assert decide({"per_example_max_decode_steps": 500}, decode_steps_max=32).steps == 32
    assert decide({"per_example_max_decode_steps": 5}, decode_steps_max=32).steps == 5


def test_noise_keys():
    """gumbel_prng_key is the seed, 15753 means not set, and an option's seed wins."""
    assert decide({"gumbel_prng_key": 5}).sampling.seed == 5
    assert decide({"gumbel_prng_key": 15753}).sampling.seed == 11
    assert decide({"gumbel_prng_key": 5}, GenerateOptions(seed=6)).sampling.seed == 6


def test_a_stop_sequence_replaces_the_stop_ids():
    """eos_id loses the zeros on its left; all zeros is no sequence."""
    decided = decide({"eos_id": (0.0, 0.0, 13.0, 0.0, 7.0)})
    assert (decided.stop_ids, decided.stop_sequences) == (set(), ((13, 0, 7),))
    assert decide({"eos_id": (0.0, 0.0)}).stop_ids == {2}


@pytest.mark.parametrize(
    ("extra", "options", "words"),
    [
        ({"temperature": -0.1}, {}, "temperature is -0.1"),
        ({"temperature": (1.0, 2.0)}, {}, "temperature"),
        ({"per_example_top_p": -1.0}, {}, "per_example_top_p"),
        ({"per_example_top_k": 0}, {}, "per_example_top_k is 0"),
        ({"per_example_top_k": 1.5}, {}, "whole number"),
        ({"per_example_max_decode_steps": 0}, {}, "per_example_max_decode_steps"),
        ({"num_per_token_logprobs": 6}, {}, "num_per_token_logprobs is 6"),
        ({"eos_id": (1.5,)}, {}, "eos_id"),
        ({"eos_id": (-1.0,)}, {}, "eos_id"),
        ({"gumbel_prng_key": -1}, {}, "gumbel_prng_key"),
        ({}, {"temperature": math.nan}, "options.temperature is nan"),
        ({}, {"temperature": math.inf}, "options.temperature is inf"),
        ({}, {"top_p": -0.5}, "options.top_p"),
        ({}, {"top_k": -1}, "options.top_k"),
        ({}, {"max_tokens": 0}, "options.max_tokens is 0"),
        ({}, {"num_samples": 0}, "options.num_samples"),
        ({}, {"num_samples": 9}, "between 1 and 8"),
        ({}, {"top_logprobs": 21}, "options.top_logprobs"),
        ({}, {"stop": ("",)}, "options.stop"),
        ({}, {"stop": ("x" * 257,)}, "257 bytes"),
        ({}, {"stop": ("x",) * 17}, "17 strings"),
    ],
)
def test_a_value_out_of_range_is_named(extra, options, words):
    """The key or option, the value and the legal range are in the error."""
    with pytest.raises(InvalidArgument, match=words):
        decide(extra, GenerateOptions(**options))
