"""Model server of a Sax cell."""
