"""One .safetensors file, checked before it is believed.

    8 bytes  header length n, little endian n bytes  JSON: {"name": {"dtype": "BF16", "shape": [..],
    "data_offsets": [begin, end]}, "__metadata__": {..}} rest     data; offsets count from here, lie end to
    end, and end where the file ends

A file comes from whoever published the model, so every number is checked against the file's real size before
it is used (limits: reliability 5.3.2; the format: huggingface/safetensors README). Values are views of the
mapped file.
"""

import json
import mmap
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any, Final, TypeGuard

import ml_dtypes
import numpy as np
from sax_common.errors import InvalidArgument

from sax_zoo.checkpoints.source import Array, TensorInfo

HEADER_BYTES_MAX: Final = 16 * 2**20
TENSORS_MAX: Final = 100_000
DIMENSIONS_MAX: Final = 8
_WEIGHTS: Final[dict[str, np.dtype[Any]]] = {
    "F64": np.dtype(np.float64),
    "F32": np.dtype(np.float32),
    "F16": np.dtype(np.float16),
    "BF16": np.dtype(ml_dtypes.bfloat16),
}
_OTHER_BYTES: Final = {"BOOL": 1, "U8": 1, "I8": 1, "F8_E5M2": 1, "F8_E4M3": 1, "U16": 2, "I16": 2}
_OTHER_BYTES_WIDE: Final = {"U32": 4, "I32": 4, "U64": 8, "I64": 8}
_ITEM_BYTES: Final = (
    {name: dtype.itemsize for name, dtype in _WEIGHTS.items()} | _OTHER_BYTES | _OTHER_BYTES_WIDE
)
_PICKLES: Final = (b"PK\x03\x04", b"\x80\x02", b"\x80\x03", b"\x80\x04", b"\x80\x05")


class SafetensorsFile:
    """An open file whose header has passed every check. One thread at a time."""

    def __init__(self, path: Path) -> None:
        self.path = path
        with path.open("rb") as file:
            size = path.stat().st_size
            if size < 10:  # noqa: PLR2004 - the length field and the smallest JSON object, "{}".
                raise InvalidArgument(f"{path}: {size} bytes are too few for a safetensors file.")
            self._map = mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ)
        self._begin: dict[str, int] = {}
        self.tensors: Mapping[str, TensorInfo] = self._read_header(size)

    def read(self, name: str) -> Array:
        """Values of one tensor as a read-only view of the file."""
        info = self.tensors[name]
        dtype = _WEIGHTS[info.dtype]
        count = info.stored_bytes // dtype.itemsize
        flat: Array = np.frombuffer(self._map, dtype=dtype, count=count, offset=self._begin[name])
        return flat.reshape(info.shape)

    def close(self) -> None:
        """Unmap the file; if views are still alive the operating system keeps it until they are gone."""
        try:
            self._map.close()
        except BufferError:
            # Somebody still holds a view. Dropping our reference leaves it to the last view's end.
            del self._map

    def _read_header(self, size: int) -> dict[str, TensorInfo]:
        head = self._map[:8]
        if head.startswith(_PICKLES):
            raise InvalidArgument(
                f"{self.path}: this is a pickle (PyTorch) file, not safetensors. Pickles can run code "
                "and are never read "
                "here; convert it to safetensors first."
            )
        length = int.from_bytes(head, "little")
        if length > min(HEADER_BYTES_MAX, size - 8):
            raise InvalidArgument(
                f"{self.path}: the header says it is {length} bytes long; at most {HEADER_BYTES_MAX} "
                "are accepted and the "
                f"file has {size - 8} after the length. The file is damaged, truncated or not safetensors."
            )
        entries = self._parse(self._map[8 : 8 + length])
        data_bytes = size - 8 - length
        return self._check_entries(entries, data_at=8 + length, data_bytes=data_bytes)

    def _parse(self, text: bytes) -> dict[str, Any]:
        try:
            header = json.loads(text, object_pairs_hook=_without_duplicates)
        except (ValueError, RecursionError) as error:
            raise InvalidArgument(f"{self.path}: the header is not the JSON it should be: {error}") from error
        if not isinstance(header, dict):
            raise InvalidArgument(f"{self.path}: the header is not a JSON object.")
        header.pop("__metadata__", None)
        if len(header) > TENSORS_MAX:
            raise InvalidArgument(f"{self.path}: {len(header)} tensors; at most {TENSORS_MAX} are accepted.")
        return header

    def _check_entries(
        self, entries: Mapping[str, Any], *, data_at: int, data_bytes: int
    ) -> dict[str, TensorInfo]:
        tensors: dict[str, TensorInfo] = {}
        spans: list[tuple[int, int, str]] = []
        for name, entry in entries.items():
            dtype, shape, begin, end = self._check_entry(name, entry)
            spans.append((begin, end, name))
            self._begin[name] = data_at + begin
            tensors[name] = TensorInfo(name, dtype, shape, self.path, end - begin, dtype in _WEIGHTS)
        expected = 0
        for begin, end, name in sorted(spans):
            if begin != expected:
                raise InvalidArgument(
                    f"{self.path}: tensor {name} begins at byte {begin} where {expected} is due (data "
                    "overlaps or has a gap)."
                )
            expected = end
        if expected != data_bytes:
            raise InvalidArgument(
                f"{self.path}: the header describes {expected} bytes of data and the file has {data_bytes}: "
                f"{'it is truncated' if expected > data_bytes else 'something follows the data'}."
            )
        return tensors

    def _check_entry(self, name: str, entry: Any) -> tuple[str, tuple[int, ...], int, int]:
        where = f"{self.path}: tensor {name}"
        if not isinstance(entry, dict):
            raise InvalidArgument(f"{where}: the header's entry is not an object.")
        dtype, shape, offsets = entry.get("dtype"), entry.get("shape"), entry.get("data_offsets")
        if dtype not in _ITEM_BYTES:
            raise InvalidArgument(
                f"{where}: dtype {dtype!r} is not known; known are {', '.join(_ITEM_BYTES)}."
            )
        if not _are_sizes(shape) or len(shape) > DIMENSIONS_MAX:
            raise InvalidArgument(
                f"{where}: shape {shape!r} is not a list of at most {DIMENSIONS_MAX} sizes."
            )
        if not _are_sizes(offsets) or len(offsets) != 2 or offsets[0] > offsets[1]:  # noqa: PLR2004 - begin and end.
            raise InvalidArgument(f"{where}: data_offsets {offsets!r} are not [begin, end].")
        needed = _ITEM_BYTES[dtype]
        for size in shape:
            needed *= size
        begin, end = offsets
        if needed != end - begin:
            raise InvalidArgument(
                f"{where}: {dtype} {shape} takes {needed} bytes, data_offsets span {end - begin}."
            )
        return dtype, tuple(shape), begin, end


def _are_sizes(value: Any) -> TypeGuard[list[int]]:
    return isinstance(value, list) and all(type(item) is int and item >= 0 for item in value)


def _without_duplicates(pairs: Iterable[tuple[str, Any]]) -> dict[str, Any]:
    items = list(pairs)
    result = dict(items)
    if len(result) != len(items):
        raise ValueError("a name occurs twice")
    return result
