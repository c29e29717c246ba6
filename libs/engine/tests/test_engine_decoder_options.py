"""Every option of a DecoderConfig: JAX over pages against plain numpy, and numpy against formulas."""

import math
from dataclasses import replace

import numpy as np
import pytest
from sax_engine.backends import naive
from sax_engine.backends.jax import BadWeights, make_jax_backend
from sax_engine.core.engine import Engine
from sax_engine.core.requests import Request
from sax_engine.core.sampling import log_softmax
from sax_engine.decoder import Activation, DecoderConfig, Norm, Position, RopeScaling, Rotary, param_shapes

BASE = DecoderConfig(
    vocab_size=61, num_layers=2, model_dim=32, hidden_dim=40, num_heads=4, num_kv_heads=2, head_dim=8,
    max_len=64,
)  # fmt: skip
LLAMA31 = RopeScaling(factor=8.0, low_freq_factor=1.0, high_freq_factor=4.0, original_max_len=16)
FAMILIES = {
    "llama": replace(BASE, rotary=Rotary.INTERLEAVED),
    "llama3.1": replace(BASE, rope_theta=100.0, rope_scaling=LLAMA31),
    "linear-rope": replace(BASE, rope_scaling=RopeScaling(factor=4.0, linear=True)),
    "gemma": replace(
        BASE, num_kv_heads=1, norm_eps=1e-6, norm_plus_one=True, activation=Activation.GELU_TANH,
        tied_embedding=True, embedding_scale=math.sqrt(32),
    ),
    "gpt-j": replace(
        BASE, num_kv_heads=4, norm=Norm.LAYER, rotary=Rotary.INTERLEAVED, rotary_dim=4, max_positions=20,
        activation=Activation.GELU_TANH, gated=False, parallel_residual=True, shared_norm=True, ffn_bias=True,
        unembed_bias=True,
    ),
    "gpt-neox": replace(
        BASE, num_kv_heads=4, norm=Norm.LAYER, rotary_dim=2, activation=Activation.GELU, gated=False,
        parallel_residual=True, qkv_bias=True, attn_out_bias=True, ffn_bias=True,
    ),
    "lm-cloud": replace(
        BASE, num_kv_heads=4, norm=Norm.LAYER, norm_eps=1e-6, norm_plus_one=True,
        position=Position.SINUSOIDAL, activation=Activation.GELU_TANH, gated=False, ffn_bias=True,
        per_dim_scale=True, attention_cap=5.0,
        logits_cap=3.0, tied_embedding=True, unembed_bias=True, embedding_scale=math.sqrt(32),
    ),
    "c4-gpt3": replace(
        BASE, num_kv_heads=4, norm=Norm.LAYER, norm_plus_one=True, position=Position.LEARNED,
        max_positions=24, activation=Activation.GELU_TANH, gated=False, qkv_bias=True,
        attn_out_bias=True, ffn_bias=True, tied_embedding=True,
    ),
    "qwen2": replace(BASE, qkv_bias=True, tied_embedding=True, rope_theta=1e6),
    "qwen3": replace(BASE, qk_norm=True, head_dim=16),
    "mistral": replace(BASE, sliding_window=5),
    "relu-scaled": replace(BASE, activation=Activation.RELU, query_scale=0.3, position=Position.NONE),
}  # fmt: skip


def random_params(config: DecoderConfig) -> dict[str, np.ndarray]:
    """Random tensors, biases and scales included, so that a forgotten one shows."""
    rng = np.random.default_rng(3)
    shapes = param_shapes(config)
    params = {name: 0.3 * rng.standard_normal(shape).astype(np.float32) for name, shape in shapes.items()}
    return {name: 1 + p if name.endswith(("norm.scale", "_norm")) else p for name, p in params.items()}


def scores(family: str, new: int) -> tuple[tuple[int, ...], list[float]]:
    """Score a prompt in chunks over pages, then decode: all tokens, and log-probabilities."""
    config, params = FAMILIES[family], random_params(FAMILIES[family])
    backend = make_jax_backend(
        config, params, dtype="float32", max_rows=4, page_size=4, prefill_block=8, max_prefill_tokens=8
    )
    prompt = tuple(np.random.default_rng(5).integers(0, config.vocab_size, 29).tolist())
    engine = Engine(backend)
    engine.submit(Request(request_id="r", prompt=prompt, max_new_tokens=new, score_from=1), 0)
    emissions = []
    while engine.has_work:
        emissions += engine.step(0)
    backend.release()
    tokens = prompt + tuple(token for emission in emissions for token in emission.tokens)
    return tokens, [*emissions[0].prompt_logprobs, *(p for emission in emissions for p in emission.logprobs)]


@pytest.mark.parametrize(
    ("family", "new"),
    [(family, 4 if family in {"gpt-j", "lm-cloud", "mistral"} else 0) for family in FAMILIES],
)
def test_a_family_scores_as_plain_numpy_does(family, new):
    """Chunked prefill, then decode, over pages: log-probabilities of both are those of one full forward."""
    config = FAMILIES[family]
    tokens, given = scores(family, new)
    every = log_softmax(naive.forward(config, random_params(config), tokens))
    wanted = every[np.arange(len(tokens) - 1), tokens[1:]]
    np.testing.assert_allclose(given, wanted, atol=2e-4)
    assert len(tokens) == 29 + new


def test_every_option_changes_the_answer():
    """No option is read and then forgotten: each changes what the plain decoder says."""
    options = {
        "norm_plus_one": True, "rotary": Rotary.INTERLEAVED, "rotary_dim": 4, "rope_theta": 5.0,
        "rope_scaling": LLAMA31, "max_positions": 3, "activation": Activation.GELU,
        "parallel_residual": True, "query_scale": 0.1, "attention_cap": 0.5, "logits_cap": 0.5,
        "sliding_window": 2,
        "embedding_scale": 3.0, "norm_eps": 0.5, "position": Position.NONE,
    }  # fmt: skip
    params = random_params(BASE)
    plain = naive.forward(BASE, params, range(9))[-1]
    for name, value in options.items():
        changed = naive.forward(replace(BASE, **{name: value}), params, range(9))[-1]
        assert np.abs(changed - plain).max() > 1e-4, name


def test_llama31_scaling_is_the_published_rule():
    """Short wavelengths stay, long ones are divided by the factor, between them is a blend."""
    config = replace(BASE, head_dim=128, rope_theta=5e5, rope_scaling=RopeScaling(factor=8.0))
    scaled = naive.rope_frequencies(config)
    plain = naive.rope_frequencies(replace(config, rope_scaling=None))
    ratio = plain / scaled
    wavelength = 2 * np.pi / plain
    assert ratio[wavelength < 2048] == pytest.approx(1.0)
    assert ratio[wavelength > 8192] == pytest.approx(8.0)
    between = (wavelength > 2048) & (wavelength < 8192)
    assert between.any()
    assert ((ratio[between] > 1) & (ratio[between] < 8)).all()


def test_sinusoids_are_pax_positions():
    """Sines, then cosines; the first timescale is 1 and the last 10 000."""
    table = naive.sinusoids(3, 8)
    assert table[0].tolist() == [0] * 4 + [1] * 4
    assert table[2, 0] == pytest.approx(math.sin(2))
    assert table[2, 3] == pytest.approx(math.sin(2 / 10_000))
    assert table[2, 4] == pytest.approx(math.cos(2))


def test_a_missing_or_misshapen_tensor_is_named():
    """Nothing is padded or guessed."""
    params = random_params(BASE)
    with pytest.raises(BadWeights, match=r"layers\.1\.attn\.k is \[3, 32\]; .* wants \[16, 32\]"):
        make_jax_backend(BASE, params | {"layers.1.attn.k": np.zeros((3, 32))})
    del params["final_norm.scale"]
    with pytest.raises(BadWeights, match=r"final_norm\.scale is missing"):
        make_jax_backend(BASE, params)


@pytest.mark.parametrize(
    "change",
    [
        {"num_kv_heads": 3},
        {"shared_norm": True},
        {"rotary_dim": 3},
        {"rotary_dim": 10},
        {"rope_scaling": RopeScaling(factor=2.0, low_freq_factor=4.0, high_freq_factor=4.0)},
    ],
)
def test_combinations_that_mean_nothing_are_refused(change):
    """A configuration is checked when it is made."""
    with pytest.raises(ValueError, match=r"share|needs|rotary_dim"):
        replace(BASE, **change)
