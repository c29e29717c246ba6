"""The header of a GGUF file, read with bounds: metadata and the list of tensors.

    "GGUF"  u32 version  u64 tensors  u64 metadata entries metadata: string key, u32 type, value
    strings are u64 length + bytes; arrays are u32 type, u64 count, values tensors:  string name, u32
    dimensions, u64 each (innermost first), u32 quantisation type, u64 offset of its data padding to
    general.alignment (32), then the data

The `gguf` package reads this too, but it builds a numpy object per vocabulary entry (2 s for SmolLM2, 0.1 s
here) and believes every number in the file; this reader compares each with the file's size first. Values are
plain Python (arrays become lists). Format: ggml/docs/gguf.md; versions 2 and 3, little endian.
"""

import struct
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from gguf.constants import GGML_QUANT_SIZES, GGMLQuantizationType
from sax_common.errors import InvalidArgument

ENTRIES_MAX: Final = 4_096
TENSORS_MAX: Final = 100_000
ARRAY_MAX: Final = 4_000_000
STRING_BYTES_MAX: Final = 4 * 2**20
DIMENSIONS_MAX: Final = 4
_VERSIONS: Final = (2, 3)
_STRING: Final = 8
_ARRAY: Final = 9
_SCALARS: Final = {0: "B", 1: "b", 2: "H", 3: "h", 4: "I", 5: "i", 6: "f", 7: "?", 10: "Q", 11: "q", 12: "d"}


@dataclass(frozen=True, slots=True)
class GgufTensor:
    """One tensor: `shape` outermost first as in numpy; data at `begin` in the file, `stored_bytes` long."""

    name: str
    shape: tuple[int, ...]
    quantization: GGMLQuantizationType
    begin: int
    stored_bytes: int


@dataclass(frozen=True, slots=True)
class GgufHeader:
    """Metadata and tensors of one file."""

    metadata: dict[str, Any]
    tensors: dict[str, GgufTensor]


def read_header(path: Path, data: memoryview) -> GgufHeader:
    """Read the header of a mapped file.

    Raises InvalidArgument naming file and place when a number cannot be true.
    """
    cursor = _Cursor(path, data)
    if bytes(data[:4]) != b"GGUF":
        raise InvalidArgument(f"{path}: this is not a GGUF file (it begins with {bytes(data[:4])!r}).")
    cursor.at = 4
    version = cursor.scalar("I")
    if version not in _VERSIONS:
        raise InvalidArgument(f"{path}: GGUF version {version} is not read; known are {_VERSIONS}.")
    tensor_count = cursor.count("tensors", TENSORS_MAX)
    entry_count = cursor.count("metadata entries", ENTRIES_MAX)
    metadata: dict[str, Any] = {}
    for _ in range(entry_count):
        key = cursor.string()
        metadata[key] = cursor.value(cursor.scalar("I"))
    entries = [_tensor_entry(cursor) for _ in range(tensor_count)]
    alignment = metadata.get("general.alignment", 32)
    if type(alignment) is not int or alignment < 1 or alignment & (alignment - 1):
        raise InvalidArgument(f"{path}: general.alignment is {alignment!r}, not a power of two.")
    data_at = -(-cursor.at // alignment) * alignment
    tensors: dict[str, GgufTensor] = {}
    for name, shape, kind, offset in entries:
        tensor = _place(path, name, shape, kind, data_at + offset)
        if tensor.begin + tensor.stored_bytes > len(data):
            raise InvalidArgument(
                f"{path}: tensor {name} ends at byte {tensor.begin + tensor.stored_bytes} and the file "
                f"at {len(data)}: "
                "the file is truncated."
            )
        if name in tensors:
            raise InvalidArgument(f"{path}: tensor {name} is listed twice.")
        tensors[name] = tensor
    return GgufHeader(metadata, tensors)


class _Cursor:
    """A place in the mapped file that only moves forward and never past the end."""

    def __init__(self, path: Path, data: memoryview) -> None:
        self._path = path
        self._data = data
        self.at = 0

    def take(self, length: int, what: str) -> memoryview:
        """The next `length` bytes."""
        if length > len(self._data) - self.at:
            raise InvalidArgument(
                f"{self._path}: {what} at byte {self.at} needs {length} bytes and "
                f"{len(self._data) - self.at} are left: "
                "the file is truncated or damaged."
            )
        begin = self.at
        self.at += length
        return self._data[begin : self.at]

    def scalar(self, code: str) -> Any:
        """The next number."""
        return struct.unpack("<" + code, self.take(struct.calcsize("<" + code), "a number"))[0]

    def count(self, what: str, most: int) -> int:
        """A number of things that has to be reasonable."""
        number: int = self.scalar("Q")
        if number > most:
            raise InvalidArgument(f"{self._path}: says it has {number} {what}; at most {most} are accepted.")
        return number

    def string(self) -> str:
        """The next string; bytes that are not UTF-8 are kept as surrogates."""
        length = self.count("bytes in a string", STRING_BYTES_MAX)
        return str(self.take(length, "a string"), "utf-8", "surrogateescape")

    def value(self, kind: int) -> Any:
        """The next metadata value of GGUF type `kind`."""
        if kind in _SCALARS:
            return self.scalar(_SCALARS[kind])
        if kind == _STRING:
            return self.string()
        if kind != _ARRAY:
            raise InvalidArgument(f"{self._path}: metadata type {kind} at byte {self.at} is not known.")
        item = self.scalar("I")
        length = self.count("values in an array", ARRAY_MAX)
        if item == _STRING:
            return [self.string() for _ in range(length)]
        if item not in _SCALARS:
            raise InvalidArgument(f"{self._path}: arrays of type {item} are not read (byte {self.at}).")
        code = f"<{length}{_SCALARS[item]}"
        return list(struct.unpack(code, self.take(struct.calcsize(code), "an array")))


def _tensor_entry(cursor: _Cursor) -> tuple[str, tuple[int, ...], int, int]:
    name = cursor.string()
    dimensions = cursor.scalar("I")
    if dimensions > DIMENSIONS_MAX:
        raise InvalidArgument(
            f"Tensor {name} has {dimensions} dimensions; at most {DIMENSIONS_MAX} are accepted."
        )
    inner_first = [cursor.scalar("Q") for _ in range(dimensions)]
    return name, tuple(reversed(inner_first)), cursor.scalar("I"), cursor.scalar("Q")


def _place(path: Path, name: str, shape: tuple[int, ...], kind: int, begin: int) -> GgufTensor:
    try:
        quantization = GGMLQuantizationType(kind)
    except ValueError:
        raise InvalidArgument(
            f"{path}: tensor {name} has quantisation type {kind}, which is not known."
        ) from None
    block_items, block_bytes = GGML_QUANT_SIZES[quantization]
    items = 1
    for size in shape:
        items *= size
    if items == 0 or (shape and shape[-1] % block_items):
        raise InvalidArgument(
            f"{path}: tensor {name} {shape} does not fill blocks of {block_items} ({quantization.name})."
        )
    return GgufTensor(name, shape, quantization, begin, items // block_items * block_bytes)
