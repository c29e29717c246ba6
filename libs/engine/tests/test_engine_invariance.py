"""The same request gets the same bits in any company, at the widths of a real model."""

import numpy as np
from sax_engine.backends.jax import JaxBackend, make_jax_backend
from sax_engine.core.engine import Engine
from sax_engine.core.requests import Request
from sax_engine.decoder import DecoderConfig, param_shapes

# Two layers of SmolLM2, but for the vocabulary. The reductions' lengths are what decides.
CONFIG = DecoderConfig(
    vocab_size=4096, num_layers=2, model_dim=576, hidden_dim=1536, num_heads=9, num_kv_heads=3, head_dim=64,
    max_len=512, rope_theta=1e5, tied_embedding=True,
)  # fmt: skip
LENGTHS = [3, 10, 31, 32, 33, 64, 65, 90, 129, 200, 255, 256, 257, 300]


def backend() -> JaxBackend:
    """Bfloat16, random weights, sixteen rows."""
    rng = np.random.default_rng(0)
    params = {
        name: np.ones(shape, np.float32) if name.endswith("scale") else 0.06 * rng.standard_normal(shape)
        for name, shape in param_shapes(CONFIG).items()
    }
    return make_jax_backend(CONFIG, params, max_rows=16)


def answers(engine: Engine, requests: list[Request]) -> dict[str, list[tuple]]:
    """Every token with its log-probability, and the prompt's."""
    told: dict[str, list[tuple]] = {request.request_id: [] for request in requests}
    for request in requests:
        engine.submit(request, 0)
    while engine.has_work:
        for emission in engine.step(0):
            numbers = emission.tokens, emission.logprobs, emission.prompt_logprobs
            told[emission.request_id].append(numbers)
    return told


def test_company_changes_no_bit():
    """Together, backwards, one by one: tokens and log-probabilities are identical, prompts scored or not."""
    rng = np.random.default_rng(1)
    requests = [
        Request(
            request_id=str(length), prompt=tuple(rng.integers(0, CONFIG.vocab_size, length).tolist()),
            max_new_tokens=8, score_from=1 if length % 3 == 0 else None,
        )
        for length in LENGTHS
    ]  # fmt: skip
    engine = Engine(backend())
    together = answers(engine, requests)
    assert answers(engine, requests[::-1]) == together
    alone = {}
    for request in requests:
        alone |= answers(engine, [request])
    assert alone == together
