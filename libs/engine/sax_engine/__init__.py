"""Continuous-batching engine over a paged KV cache; needs only numpy and jax."""
