"""Generated stubs of the Vertex prediction service."""
