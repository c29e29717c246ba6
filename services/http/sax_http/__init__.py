"""HTTP server of a Sax cell: the original routes and OpenAI-compatible ones."""
