"""Things for tests and for people who try things out: tiny checkpoints in the real layouts. Not used by a server."""
