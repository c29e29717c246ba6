"""The alphabet of byte-level BPE: one printable character stands for each byte (GPT-2, and most since).

`Ġ` is a space, `Ċ` a line end. Bytes that print in Latin-1 stand for themselves; the other 68 are given the
characters from U+0100 on, in order (Radford et al. 2019, released code, `bytes_to_unicode`).
"""

from typing import Final


def _alphabet() -> dict[str, int]:
    own = [*range(0x21, 0x7F), *range(0xA1, 0xAD), *range(0xAE, 0x100)]
    table = {chr(byte): byte for byte in own}
    rest = [byte for byte in range(256) if byte not in set(own)]
    table.update({chr(0x100 + place): byte for place, byte in enumerate(rest)})
    return table


BYTE_OF: Final[dict[str, int]] = _alphabet()


def piece_bytes(piece: str) -> bytes:
    """Bytes of a piece in the byte alphabet; one with other characters (an added token) is plain text."""
    try:
        return bytes([BYTE_OF[char] for char in piece])
    except KeyError:
        return piece.encode("utf-8", "replace")
