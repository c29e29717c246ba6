"""Our engine as a contestant of `bench/engine.py`: one JSON task per line in, tokens per second out."""

import argparse
import json
import sys
import time
from collections.abc import Iterator, Mapping

import jax
import jax.numpy as jnp
from sax_engine.backends.jax import make_jax_backend
from sax_engine.core.engine import Engine
from sax_engine.core.requests import Request
from sax_engine.decoder import Activation, DecoderConfig, Norm, Rotary, param_shapes

MODELS = {
    "smollm2": DecoderConfig(
        vocab_size=49152, num_layers=30, model_dim=576, hidden_dim=1536, num_heads=9, num_kv_heads=3,
        head_dim=64, max_len=2048, rope_theta=1e5, tied_embedding=True,
    ),
    "llama-7b-shape": DecoderConfig(
        vocab_size=32000, num_layers=32, model_dim=4096, hidden_dim=11008, num_heads=32, num_kv_heads=32,
        head_dim=128, max_len=2048, rotary=Rotary.INTERLEAVED,
    ),
    "llama3-8b-shape": DecoderConfig(
        vocab_size=128256, num_layers=32, model_dim=4096, hidden_dim=14336, num_heads=32, num_kv_heads=8,
        head_dim=128, max_len=2048, rope_theta=5e5, rotary=Rotary.INTERLEAVED,
    ),
    "gptj-6b-shape": DecoderConfig(
        vocab_size=50401, num_layers=28, model_dim=4096, hidden_dim=16384, num_heads=16, num_kv_heads=16,
        head_dim=256, max_len=2048, norm=Norm.LAYER, rotary=Rotary.INTERLEAVED, rotary_dim=64, gated=False,
        activation=Activation.GELU_TANH, parallel_residual=True, shared_norm=True, ffn_bias=True,
        unembed_bias=True,
    ),
}  # fmt: skip


class RandomWeights(Mapping[str, jax.Array]):
    """Makes each tensor when it is asked for, on the device, so that only one is there twice."""

    def __init__(self, config: DecoderConfig) -> None:
        self._shapes = param_shapes(config)

    def __getitem__(self, name: str) -> jax.Array:
        if name.endswith("norm.scale"):
            return jnp.ones(self._shapes[name], jnp.float32)
        key = jax.random.key(sum(name.encode()))
        return 0.04 * jax.random.normal(key, self._shapes[name], jnp.bfloat16)

    def __iter__(self) -> Iterator[str]:
        return iter(self._shapes)

    def __len__(self) -> int:
        return len(self._shapes)


def prompt(length: int, stream: int, vocab_size: int) -> tuple[int, ...]:
    """Ids that every contestant uses: a fixed walk through the vocabulary."""
    return tuple((7919 * (stream + 1) + 104729 * i) % (vocab_size - 10) + 5 for i in range(length))


def measure(engine: Engine, vocab_size: int, *, streams: int, prompt_len: int, new: int) -> float:
    """Run one batch: decode rate while all streams run, or for one new token the rate of prefill."""
    for stream in range(streams):
        ids = prompt(prompt_len, stream, vocab_size)
        engine.submit(Request(request_id=f"s{stream}", prompt=ids, max_new_tokens=new), 0)
    began = time.perf_counter()
    started: set[str] = set()
    window, tokens = [0.0, 0.0], 0
    while engine.has_work:
        emissions = engine.step(0)
        now = time.perf_counter()
        if len(started) < streams:
            started |= {emission.request_id for emission in emissions}
            window = [now, now]
        elif engine.snapshot().running == streams:
            tokens += sum(len(emission.tokens) for emission in emissions)
            window[1] = now
    if new == 1:
        return prompt_len * streams / (time.perf_counter() - began)
    return tokens / max(window[1] - window[0], 1e-9)


def main() -> None:
    """Load, say so, then answer tasks until the input ends."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--model", choices=MODELS, required=True)
    parser.add_argument("--device", required=True)
    parser.add_argument("--max-streams", type=int, required=True)
    options = parser.parse_args()
    config = MODELS[options.model]
    began = time.perf_counter()
    backend = make_jax_backend(config, RandomWeights(config), max_len=512, max_rows=options.max_streams)
    about = {"jax": jax.__version__, "device": jax.devices()[0].device_kind}
    print(json.dumps({**about, "load_s": round(time.perf_counter() - began, 1)}), flush=True)
    engine = Engine(backend)
    for line in sys.stdin:
        task = json.loads(line)
        rate = measure(
            engine, config.vocab_size, streams=task["streams"], prompt_len=task["prompt"], new=task["new"]
        )
        print(json.dumps({"tokens_per_s": rate}), flush=True)


if __name__ == "__main__":
    main()
