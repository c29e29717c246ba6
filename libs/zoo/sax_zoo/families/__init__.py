"""Decoder families as data: how a checkpoint's configuration and names map to the engine's one decoder."""
