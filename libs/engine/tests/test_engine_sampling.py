"""The sampler's rule in numpy, and that the device follows it."""

import jax.numpy as jnp
import numpy as np
import pytest
from sax_engine.backends.jax import sampler
from sax_engine.core.requests import SamplingParams
from sax_engine.core.sampling import choose, gumbel, kept_tokens, log_softmax, noise_key, threefry2x32

U = np.uint32


@pytest.mark.parametrize(
    ("key", "counter", "out"),
    [
        ((0, 0), (0, 0), (0x6B200159, 0x99BA4EFE)),
        ((0xFFFFFFFF,) * 2, (0xFFFFFFFF,) * 2, (0x1CB996FC, 0xBB002BE7)),
        ((0x13198A2E, 0x03707344), (0x243F6A88, 0x85A308D3), (0xC4923A9C, 0x483DF7A0)),
    ],
)
@pytest.mark.parametrize("xp", [np, jnp], ids=["numpy", "jax"])
def test_threefry_gives_the_published_numbers(key, counter, out, xp):
    """Known answers of Random123 (kat_vectors, threefry2x32, 20 rounds)."""

    def words(pair):
        return tuple(xp.asarray([word], dtype=xp.uint32) for word in pair)

    left, right = threefry2x32(words(key), words(counter))
    assert (int(left[0]), int(right[0])) == out


def test_noise_is_gumbel():
    """Mean and variance are those of the standard Gumbel distribution, and nothing is infinite."""
    noise = gumbel(np, (U([3]), U([4])), np.arange(200_000, dtype=np.uint32))
    assert np.isfinite(noise).all()
    assert noise.mean() == pytest.approx(0.5772, abs=0.01)
    assert noise.var() == pytest.approx(np.pi**2 / 6, abs=0.03)


def test_noise_differs_by_seed_sample_and_position():
    """Each part of the key matters; so do the high bits of the seed."""
    keys = [noise_key((U([a]), U([b])), U([c]), U([d])) for a, b, c, d in np.eye(4, dtype=int).tolist()]
    assert len({(int(a[0]), int(b[0])) for a, b in keys}) == 4


LOGITS = np.log(np.array([0.05, 0.4, 0.1, 0.3, 0.15], np.float32))


@pytest.mark.parametrize(
    ("top_k", "top_p", "kept"),
    [
        (0, 1.0, [0, 1, 2, 3, 4]),
        (1, 1.0, [1]),
        (3, 1.0, [1, 3, 4]),
        (9, 1.0, [0, 1, 2, 3, 4]),
        (0, 0.0, [1]),
        (0, 0.39, [1]),
        (0, 0.41, [1, 3]),  # The token that crosses is in.
        (0, 0.71, [1, 3, 4]),
        (2, 0.55, [1]),  # Over the two that top-k kept, 0.4 is 0.571.
        (2, 0.6, [1, 3]),
    ],
)
def test_top_k_comes_before_top_p(top_k, top_p, kept):
    """The nucleus is measured over what top-k kept, and never shrinks to nothing."""
    mask = kept_tokens(LOGITS, SamplingParams(top_k=top_k, top_p=top_p))
    assert np.flatnonzero(mask).tolist() == kept


def test_equals_of_the_last_kept_are_kept():
    """Ties are not broken by chance."""
    assert kept_tokens(np.zeros(4, np.float32), SamplingParams(top_k=2)).all()


def test_frequencies_are_those_of_the_softmax():
    """At temperature 1 tokens come as often as the model says."""
    params = SamplingParams(temperature=1.0, seed=9)
    tokens = [choose(LOGITS, params, sample=0, position=position) for position in range(4000)]
    shares = np.bincount(tokens, minlength=5) / len(tokens)
    assert shares == pytest.approx(np.exp(LOGITS), abs=0.03)


def test_temperature_scales_the_noise_and_not_the_nucleus():
    """A hot nucleus holds the same tokens as a cold one (Praxis; unlike most others)."""
    for temperature in (0.1, 1.0, 30.0):
        params = SamplingParams(temperature=temperature, top_p=0.6, seed=1)
        chosen = {choose(LOGITS, params, sample=s, position=0) for s in range(200)}
        assert chosen <= {1, 3}


def params_grid() -> list[SamplingParams]:
    """Every combination that takes another path."""
    return [
        SamplingParams(temperature=temperature, top_k=top_k, top_p=top_p, seed=seed)
        for temperature in (0.0, 0.7, 1.5)
        for top_k in (0, 1, 7, 2000)
        for top_p in (0.0, 0.3, 0.95, 1.0)
        for seed in (0, 2**40 + 3)
    ]


def test_the_device_chooses_as_the_rule_says():
    """All combinations in one batch on the device give numpy's tokens."""
    grid = params_grid()
    rng = np.random.default_rng(0)
    logits = 3 * rng.standard_normal((len(grid), 500)).astype(np.float32)
    logits[::5, 3] = logits[::5, 4]
    seeds = np.array([p.seed for p in grid], np.uint64).view(np.uint32).reshape(-1, 2)
    rows = np.arange(len(grid), dtype=np.int32)
    choice = sampler.Choice(
        jnp.asarray([p.temperature for p in grid], jnp.float32),
        jnp.asarray([p.top_k for p in grid], jnp.int32),
        jnp.asarray([p.top_p for p in grid], jnp.float32),
        (jnp.asarray(seeds[:, 0]), jnp.asarray(seeds[:, 1])),
        jnp.asarray(rows % 3),
        jnp.asarray(rows + 11),
    )
    wanted = [choose(logits[i], p, sample=i % 3, position=i + 11) for i, p in enumerate(grid)]
    assert np.asarray(sampler.choose(jnp.asarray(logits), choice)).tolist() == wanted


def test_alternatives_and_normaliser_are_log_softmax():
    """The device's log-probabilities are those of numpy's log_softmax."""
    logits = np.random.default_rng(1).standard_normal((3, 50)).astype(np.float32)
    normaliser = sampler.log_normaliser(jnp.asarray(logits))
    tokens, numbers = sampler.alternatives(jnp.asarray(logits), normaliser, 4, jnp.asarray(True))  # noqa: FBT003
    every = log_softmax(logits)
    assert np.asarray(tokens).tolist() == np.argsort(-every, axis=1)[:, :4].tolist()
    np.testing.assert_allclose(numbers, -np.sort(-every, axis=1)[:, :4], atol=1e-6)


def test_greedy_takes_the_first_of_equals_and_survives_nan():
    """Ties go to the lowest id; a row of nan gives a legal id."""
    logits = jnp.asarray([[1.0, 2.0, 2.0], [jnp.nan] * 3])
    assert np.asarray(sampler.first_best(logits)).tolist() == [1, 2]
