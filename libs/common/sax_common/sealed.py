"""Bytes in a frame with a checksum: how a state record is written, so that damage is always seen.

    8 bytes  magic
    4 bytes  payload length, little endian
    4 bytes  CRC-32C of the length and the payload, little endian
    n bytes  payload

A CRC-32C finds every single burst of up to 32 bits, so every flipped byte; the length finds every truncation
and every extension. What the payload means is the caller's business.
"""

import struct

import google_crc32c

from sax_common.errors import DataLoss

STATE_MAGIC = b"SAXSTAT1"
_HEAD = struct.Struct("<8sII")
_LENGTH = struct.Struct("<I")


def seal(payload: bytes) -> tuple[bytes, int]:
    """Return the framed payload and its checksum."""
    crc = _crc(payload)
    return _HEAD.pack(STATE_MAGIC, len(payload), crc) + payload, crc


def unseal(data: bytes) -> tuple[bytes, int]:
    """Return payload and checksum. Raises DataLoss for anything that `seal` did not write."""
    if len(data) < _HEAD.size:
        raise DataLoss(f"a state record of {len(data)} bytes is shorter than its head of {_HEAD.size}")
    magic, length, crc = _HEAD.unpack_from(data)
    payload = data[_HEAD.size :]
    if magic != STATE_MAGIC:
        raise DataLoss(f"a state record begins with {STATE_MAGIC!r}, not with {magic!r}")
    if length != len(payload):
        raise DataLoss(f"a state record says it has {length} bytes and has {len(payload)}")
    if crc != _crc(payload):
        raise DataLoss("a state record's checksum does not match its bytes")
    return payload, crc


def _crc(payload: bytes) -> int:
    return int(google_crc32c.extend(google_crc32c.value(_LENGTH.pack(len(payload))), payload))
