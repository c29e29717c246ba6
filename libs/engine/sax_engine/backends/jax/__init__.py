"""The decoder of `sax_engine.decoder` on JAX, over a paged cache."""

from sax_engine.backends.jax.backend import JaxBackend, make_jax_backend
from sax_engine.backends.jax.warmup import use_compilation_cache, warm_up
from sax_engine.backends.jax.weights import BadWeights

__all__ = ["BadWeights", "JaxBackend", "make_jax_backend", "use_compilation_cache", "warm_up"]
