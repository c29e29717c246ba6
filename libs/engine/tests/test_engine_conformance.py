"""The conformance suite on both backends."""

from collections.abc import Sequence
from functools import cache
from typing import Any

import numpy as np
import pytest
from sax_engine.backends.jax import JaxBackend, make_jax_backend
from sax_engine.backends.naive import forward
from sax_engine.backends.toy import make_toy_backend
from sax_engine.decoder import DecoderConfig, param_shapes
from sax_engine.port import Backend
from sax_testing.engine_suite import EngineSuite

VOCABULARY = 97


def random_params(config: DecoderConfig, seed: int = 0) -> dict[str, np.ndarray]:
    """Random tensors with norms near one, so that nothing saturates."""
    rng = np.random.default_rng(seed)
    params = {}
    for name, shape in param_shapes(config).items():
        noise = rng.standard_normal(shape).astype(np.float32)
        params[name] = 1 + 0.1 * noise if name.endswith("norm.scale") else 0.2 * noise
    return params


CONFIG = DecoderConfig(
    vocab_size=VOCABULARY, num_layers=2, model_dim=48, hidden_dim=64, num_heads=6, num_kv_heads=2,
    head_dim=8, max_len=64,
)  # fmt: skip
PARAMS = random_params(CONFIG)


@cache
def jax_backend(dtype: str) -> JaxBackend:
    """A small model; pages for few requests at a time, so that pages are reused within each test."""
    return make_jax_backend(
        CONFIG, PARAMS, dtype=dtype, max_rows=6, num_pages=48, page_size=4, prefill_block=8,
        max_prefill_tokens=32,
    )  # fmt: skip


class TestToy(EngineSuite):
    """The toy keeps the port's promises."""

    @pytest.fixture
    def backend(self) -> Backend:
        """A fresh toy."""
        return make_toy_backend(vocab_size=VOCABULARY)

    def expected(self, tokens: Sequence[int]) -> np.ndarray:
        """The rule of the toy's docstring."""
        total = sum((p + 1) * token for p, token in enumerate(tokens))
        return -((np.arange(VOCABULARY) - total) % VOCABULARY).astype(np.float32)


class TestJax(EngineSuite):
    """The JAX backend keeps the port's promises in float32, against the naive forward.

    XLA's float32 products choose their order of summing by the number of rows, so only tokens are the same.
    """

    company_tolerance = 1e-5

    @pytest.fixture
    def backend(self) -> Backend:
        """One backend for all tests of a dtype: idle means as good as new."""
        return jax_backend("float32")

    def expected(self, tokens: Sequence[int]) -> np.ndarray:
        """The naive forward."""
        return forward(CONFIG, PARAMS, tokens)[-1]


class TestJaxBfloat16(TestJax):
    """The same promises with bfloat16 weights and cache; only the numbers are coarser."""

    tolerance = 0.1
    company_tolerance = 0.0

    @pytest.fixture
    def backend(self) -> Backend:
        """As above."""
        return jax_backend("bfloat16")

    def check_against_expected(self, request: Any, answers: Any) -> None:
        """Only log-probabilities are compared: a near tie may fall the other way in bfloat16."""
        for sample in range(request.num_samples):
            answer, tokens = answers[request.request_id, sample], list(request.prompt)
            for token, logprob in zip(answer.tokens, answer.logprobs, strict=True):
                logits = self.expected(tokens)
                exact = logits[token] - np.log(np.exp(logits).sum())
                assert logprob == pytest.approx(exact, abs=self.tolerance)
                tokens.append(token)
            assert len(answer.tokens) == request.max_new_tokens
