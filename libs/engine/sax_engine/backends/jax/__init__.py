"""The decoder of `sax_engine.decoder` on JAX, over a paged cache."""
