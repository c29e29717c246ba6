"""The engine's rules: no I/O, no clock, no device; numpy and plain values only."""
