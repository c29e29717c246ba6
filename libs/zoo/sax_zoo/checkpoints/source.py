"""What every checkpoint format gives: a list of tensors, and each one's values on demand.

Formats differ in how a file is laid out; from here on they are the same. A source is opened (the header is
checked, nothing is read), its `tensors` are compared with what the model needs, and only then are values
read, one tensor at a time.

All errors are SaxError with the file's name and, where there is one, the tensor's.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from enum import Enum
from pathlib import Path
from typing import Any, Final, Protocol

import numpy as np
from numpy.typing import NDArray

Array = NDArray[Any]


@dataclass(frozen=True, slots=True)
class TensorInfo:
    """One stored tensor.

    `is_weight` is False for dtypes that cannot hold weights (integers, booleans, fp8).
    """

    name: str
    dtype: str
    shape: tuple[int, ...]
    file: Path
    stored_bytes: int
    is_weight: bool = True


class TensorSource(Protocol):
    """An open checkpoint. Owned by one thread; values of two tensors may be held at once."""

    @property
    def tensors(self) -> Mapping[str, TensorInfo]:
        """Every stored tensor by its own name."""

    def read(self, name: str) -> Array:
        """Values in the stored shape: float16, bfloat16 or float32 (quantised formats come as float32).

        May be a view of the mapped file: copy what must outlive `close`.
        """

    def close(self) -> None:
        """Let go of files. Reading afterwards is an error."""


class Phase(Enum):
    """What a load is doing."""

    CHECKING = "checking"
    READING = "reading"
    PREPARING = "preparing"


@dataclass(frozen=True, slots=True)
class LoadProgress:
    """How far a load is: `done_bytes` of `total_bytes` of the checkpoint have been converted."""

    phase: Phase
    done_bytes: int = 0
    total_bytes: int = 0


Report = Callable[[LoadProgress], None]

_LAYOUTS: Final[dict[str, tuple[type[np.unsignedinteger[Any]], int, int]]] = {
    "float64": (np.uint64, 52, 11),
    "float32": (np.uint32, 23, 8),
    "float16": (np.uint16, 10, 5),
    "bfloat16": (np.uint16, 7, 8),
}
"""Bits as an integer, mantissa and exponent widths: a value is not finite when its exponent is all ones."""


def nonfinite_count(values: Array) -> int:
    """Count NaN and infinite values; integers have none.

    Reads the bits, which is several times faster than isnan on bfloat16.
    """
    if values.dtype.name not in _LAYOUTS or values.size == 0:
        return 0
    if values.dtype == np.float32 and np.isfinite(values.sum()):
        return 0  # The common case: a sum is finite only if every term is, and needs no second array.
    unsigned, mantissa_bits, exponent_bits = _LAYOUTS[values.dtype.name]
    mask = ((1 << exponent_bits) - 1) << mantissa_bits
    exponents: Array = np.ascontiguousarray(values).view(unsigned) & unsigned(mask)
    if exponents.max() != mask:
        return 0
    return int(np.count_nonzero(exponents == mask))
