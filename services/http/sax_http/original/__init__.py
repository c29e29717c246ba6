"""The HTTP routes that users of the original deployed, kept as they are."""
