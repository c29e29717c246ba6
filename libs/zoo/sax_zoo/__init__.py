"""Servable models: registry, decoder families, tokenizers and checkpoint formats."""
