"""Implementations of the engine port: toy (by hand) and jax."""
