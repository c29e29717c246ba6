"""Names, errors, clock, backoff, configuration and object stores shared by every part of a Sax cell."""
