"""Weights of a Hugging Face directory: one .safetensors file, or many with an index.

Which files count: those of `model.safetensors.index.json`; else `model.safetensors`; else every
*.safetensors there is. The index comes from the publisher, so it may name plain files of its own directory
and nothing else. (A file may itself be a symbolic link: that is how the hub's cache is built, and who can
write a link there can write the weights.)
"""

from collections.abc import Mapping
from pathlib import Path
from typing import Final

from sax_common.errors import InvalidArgument

from sax_zoo.checkpoints.safetensors_file import SafetensorsFile
from sax_zoo.checkpoints.small_json import read_object
from sax_zoo.checkpoints.source import Array, TensorInfo

INDEX_NAME: Final = "model.safetensors.index.json"
SINGLE_NAME: Final = "model.safetensors"
_PICKLE_SUFFIXES: Final = frozenset({".bin", ".pt", ".pth", ".pkl", ".ckpt"})


class HfWeights:
    """The open weight files of one directory. One thread at a time."""

    def __init__(self, directory: Path) -> None:
        index = _read_index(directory) if (directory / INDEX_NAME).is_file() else None
        names = sorted(set(index.values())) if index is not None else _weight_files(directory)
        self._files: list[SafetensorsFile] = []
        self._file_of: dict[str, SafetensorsFile] = {}
        try:
            for name in names:
                self._add(SafetensorsFile(directory / name))
            if index is not None:
                self._check_index(directory, index)
        except BaseException:
            self.close()
            raise
        self._tensors = {name: file.tensors[name] for name, file in self._file_of.items()}

    @property
    def tensors(self) -> Mapping[str, TensorInfo]:
        """Every tensor of every file."""
        return self._tensors

    def read(self, name: str) -> Array:
        """Values of one tensor as a read-only view of its file."""
        return self._file_of[name].read(name)

    def close(self) -> None:
        """Unmap all files."""
        for file in self._files:
            file.close()

    def _add(self, file: SafetensorsFile) -> None:
        self._files.append(file)
        for name in file.tensors:
            other = self._file_of.setdefault(name, file)
            if other is not file:
                raise InvalidArgument(f"{file.path}: tensor {name} is also in {other.path.name}.")

    def _check_index(self, directory: Path, index: Mapping[str, str]) -> None:
        lost = [
            f"{name} (said to be in {file})"
            for name, file in sorted(index.items())
            if name not in self._file_of or self._file_of[name].path.name != file
        ]
        if lost:
            raise InvalidArgument(
                f"{directory / INDEX_NAME}: {len(lost)} tensors are not where the index says: "
                f"{', '.join(lost[:8])}"
                f"{', ...' if len(lost) > 8 else '.'}"  # noqa: PLR2004 - enough to see the pattern.
            )


def _read_index(directory: Path) -> dict[str, str]:
    path = directory / INDEX_NAME
    weight_map = read_object(path).get("weight_map")
    if not isinstance(weight_map, dict) or not all(isinstance(name, str) for name in weight_map.values()):
        raise InvalidArgument(f"{path}: weight_map is not an object of tensor name -> file name.")
    for name in set(weight_map.values()):
        if Path(name).name != name or "\\" in name or "\0" in name or not name.endswith(".safetensors"):
            raise InvalidArgument(
                f"{path}: {name!r} is not the name of a .safetensors file in this directory. An index "
                "may not point elsewhere."
            )
        if not (directory / name).is_file():
            raise InvalidArgument(f"{directory / name}: missing, though {INDEX_NAME} names it.")
    return weight_map


def _weight_files(directory: Path) -> list[str]:
    if (directory / SINGLE_NAME).is_file():
        return [SINGLE_NAME]
    names = sorted(path.name for path in directory.glob("*.safetensors") if path.is_file())
    if names:
        return names
    pickles = sorted(path.name for path in directory.iterdir() if path.suffix in _PICKLE_SUFFIXES)
    if pickles:
        raise InvalidArgument(
            f"{directory}: the weights are pickles ({', '.join(pickles[:4])}), which can run code and "
            "are never read by a server. "
            "Convert them to safetensors first (transformers: model.save_pretrained writes safetensors)."
        )
    raise InvalidArgument(f"{directory}: no .safetensors file in it.")
