"""Checkpoint formats: where the tensors of a model lie and how they are read without trusting the file."""
