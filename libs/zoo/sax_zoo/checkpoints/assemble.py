"""From stored tensors to the decoder's parameters: all is checked first, each is read when asked for.

`Parameters` is a mapping from canonical name to values that makes a tensor at the moment of the look-up and
keeps nothing. A backend that takes them one after another therefore needs memory for the model plus one
tensor, whatever the format, and that is where progress is counted, cancellation is noticed and NaN is found.
"""

from collections.abc import Callable, Iterator, Mapping
from typing import Final

import ml_dtypes
import numpy as np
from sax_common.errors import InvalidArgument
from sax_engine.decoder import DecoderConfig, param_shapes

from sax_zoo.checkpoints.source import Array, LoadProgress, Phase, Report, TensorSource, nonfinite_count
from sax_zoo.families.family import Family

DTYPES: Mapping[str, type] = {"bfloat16": ml_dtypes.bfloat16, "float32": np.float32}
SHOWN_MAX: Final = 20


class Parameters(Mapping[str, Array]):
    """Canonical name -> values, made on look-up.

    A name looked up twice is made twice. One thread at a time.
    """

    def __init__(
        self,
        sizes: Mapping[str, int],
        make: Callable[[str], Array],
        *,
        report: Report,
        check_cancelled: Callable[[], None],
    ) -> None:
        self._sizes = dict(sizes)
        self._make = make
        self._report = report
        self._check_cancelled = check_cancelled
        self._done: set[str] = set()
        self._done_bytes = 0
        self.total_bytes = sum(sizes.values())

    def __getitem__(self, name: str) -> Array:
        size = self._sizes[name]  # KeyError for a name that is not a parameter, as mappings do.
        self._check_cancelled()
        values = self._make(name)
        if name not in self._done:
            self._done.add(name)
            self._done_bytes += size
            self._report(LoadProgress(Phase.READING, self._done_bytes, self.total_bytes))
        return values

    def __contains__(self, name: object) -> bool:
        # The one that Mapping gives would make the tensor to find out.
        return name in self._sizes

    def __iter__(self) -> Iterator[str]:
        return iter(self._sizes)

    def __len__(self) -> int:
        return len(self._sizes)


def from_source(
    source: TensorSource,
    family: Family,
    config: DecoderConfig,
    *,
    dtype: str,
    report: Report,
    check_cancelled: Callable[[], None],
) -> Parameters:
    """Compare the checkpoint with what the decoder needs; give its parameters, matrices as `dtype`.

    Raises InvalidArgument listing every missing, unexpected or misshapen tensor at once; nothing has been
    read by then.
    """
    stored = family.stored_names(config)
    shapes = param_shapes(config)
    faults = list(_faults(source, family, config, stored))
    if faults:
        shown = "\n  ".join(faults[:SHOWN_MAX])
        more = f"\n  ... and {len(faults) - SHOWN_MAX} more" if len(faults) > SHOWN_MAX else ""
        raise InvalidArgument(
            f"The checkpoint does not fit the model, {len(faults)} mismatches:\n  {shown}{more}"
        )

    def make(name: str) -> Array:
        info = source.tensors[stored[name]]
        values = source.read(info.name)
        bad = nonfinite_count(values)
        if bad:
            raise InvalidArgument(
                f"{info.file}: tensor {info.name} holds {bad} values that are NaN or infinite."
            )
        # Always a copy: the file may change or be unmapped after the load, and the model must not.
        # Norms and biases stay float32: they are tiny, and backends use them elementwise in float32.
        target = DTYPES[dtype] if len(shapes[name]) > 1 else np.float32
        converted: Array = np.array(values, dtype=target).reshape(shapes[name])
        overflown = nonfinite_count(converted) if values.dtype == np.float64 else 0
        if overflown:
            raise InvalidArgument(
                f"{info.file}: tensor {info.name} holds {overflown} values too large for {converted.dtype}."
            )
        return converted

    sizes = {name: source.tensors[stored[name]].stored_bytes for name in shapes}
    return Parameters(sizes, make, report=report, check_cancelled=check_cancelled)


def _faults(
    source: TensorSource, family: Family, config: DecoderConfig, stored: Mapping[str, str]
) -> Iterator[str]:
    shapes = param_shapes(config)
    tensors = source.tensors
    for name, stored_name in stored.items():
        info = tensors.get(stored_name)
        if info is None:
            yield f"missing: {stored_name} {list(shapes[name])}"
        elif info.shape != shapes[name]:
            expected = list(shapes[name])
            yield f"wrong shape: {info.file.name}: {stored_name} is {list(info.shape)}, expected {expected}"
        elif not info.is_weight:
            yield f"wrong dtype: {info.file.name}: {stored_name} is {info.dtype}, expected floating point"
    needed = set(stored.values())
    for stored_name, info in tensors.items():
        if stored_name not in needed and not family.is_ignored(stored_name, config):
            yield f"unexpected: {info.file.name}: {stored_name} {list(info.shape)}"
