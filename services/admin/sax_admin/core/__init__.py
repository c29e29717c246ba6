"""Decisions of the admin: values in, values out. No clock, no I/O, no randomness, no protobuf."""
