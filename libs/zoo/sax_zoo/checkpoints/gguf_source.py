"""Tensors of a GGUF file, dequantised one at a time by the `gguf` library.

Names and values are the file's own (`blk.0.attn_q.weight`). Q and k of the "llama" architecture are stored
in the interleaved-rotary order; nothing is permuted here, the family says so in its `rotary`.
"""

import mmap
from pathlib import Path

import numpy as np
from gguf.quants import dequantize
from sax_common.errors import InvalidArgument

from sax_zoo.checkpoints.gguf_header import read_header
from sax_zoo.checkpoints.source import Array, TensorInfo


class GgufWeights:
    """An open GGUF file. One thread at a time."""

    def __init__(self, path: Path) -> None:
        self.path = path
        with path.open("rb") as file:
            if path.stat().st_size < 24:  # noqa: PLR2004 - magic, version and two counts.
                raise InvalidArgument(f"{path}: too short for a GGUF file.")
            self._map = mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ)
        with memoryview(self._map) as data:
            header = read_header(path, data)
        self.metadata = header.metadata
        self._stored = header.tensors
        self.tensors = {
            name: TensorInfo(name, tensor.quantization.name, tensor.shape, path, tensor.stored_bytes)
            for name, tensor in header.tensors.items()
        }

    def read(self, name: str) -> Array:
        """Values of one tensor as float32 (a view of the file when they are stored that way)."""
        tensor = self._stored[name]
        raw = np.frombuffer(self._map, dtype=np.uint8, count=tensor.stored_bytes, offset=tensor.begin)
        rows = raw.reshape(int(np.prod(tensor.shape[:-1], dtype=np.int64)), -1)
        try:
            values: Array = dequantize(rows, tensor.quantization)
        except NotImplementedError as error:
            raise InvalidArgument(
                f"{self.path}: tensor {name} is stored as {tensor.quantization.name}, which cannot be "
                f"read: {error}"
            ) from error
        return values.reshape(tensor.shape)

    def close(self) -> None:
        """Unmap the file; if views are still alive the operating system keeps it until they are gone."""
        try:
            self._map.close()
        except BufferError:
            # Somebody still holds a view. Dropping our reference leaves it to the last view's end.
            del self._map
