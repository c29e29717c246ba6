"""Text of one sample on its way to the client: what a stream message says and what it repeats.

A stream message says `prefix_len` and `text`, and the client keeps `result[:prefix_len] + text`. Original
clients count bytes there and original servers count characters, so anything but ASCII came out garbled.
`SentText` follows DESIGN D17: `prefix_len` counts only the leading all-ASCII part already sent, where
both counts agree, and `text` repeats the rest:

    already sent   new      prefix_len  text
    ""             "Hel"    0           "Hel"
    "Hel"          "lo "    3           "lo "
    "Hello "       "Zoë"    6           "Zoë"
    "Hello Zoë"    "!"      8           "ë!"
"""


class SentText:
    """What one sample's reader has got so far. Owned by the stream's task."""

    __slots__ = ("_ascii_chars", "_tail")

    def __init__(self) -> None:
        self._ascii_chars = 0
        self._tail = ""

    def add(self, new: str) -> tuple[int, str]:
        """Return (prefix_len, text) of the message that brings `new`; "" brings nothing and says so."""
        if self._tail:
            self._tail += new
            return self._ascii_chars, self._tail
        kept = self._ascii_chars
        if new.isascii():
            self._ascii_chars += len(new)
        else:
            split = next(index for index, char in enumerate(new) if not char.isascii())
            self._ascii_chars += split
            self._tail = new[split:]
        return kept, new
