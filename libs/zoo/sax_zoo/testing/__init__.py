"""For tests and for people who try things out: tiny checkpoints in the real layouts."""
