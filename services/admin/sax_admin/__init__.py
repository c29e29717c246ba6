"""Admin server of a Sax cell."""
