"""From the publisher's checkpoint argument to a thing on this machine.

    None                                  no checkpoint (test classes only; decided by the class)
    /models/smol.gguf                     GGUF file
    /models/smol/                         directory with config.json: Hugging Face
                                          directory with exactly one .gguf: that file directory with exactly
                                          one checkpoint_<digits>: that one, looked at again

Anything else is refused with what was found, because "no such file" at 3 a.m. is not enough.
"""

import re
from dataclasses import dataclass
from enum import Enum
from pathlib import Path
from typing import Final

from sax_common.errors import InvalidArgument, NotFound, Unimplemented

NO_CHECKPOINT: Final = "None"
_STEP_DIRECTORY: Final = re.compile(r"checkpoint_[0-9]+", re.ASCII)


class Format(Enum):
    """How a checkpoint is laid out."""

    HUGGING_FACE = "Hugging Face directory"
    GGUF = "GGUF file"


@dataclass(frozen=True, slots=True)
class Located:
    """An existing checkpoint: a directory for HUGGING_FACE, a file for GGUF."""

    path: Path
    format: Format


def locate(checkpoint_path: str) -> Located:
    """Find the checkpoint.

    Raises NotFound (nothing there) or InvalidArgument (not a checkpoint), naming the path.
    """
    if "://" in checkpoint_path:
        raise Unimplemented(f"Checkpoint {checkpoint_path}: only local paths are read by this server.")
    path = Path(checkpoint_path)
    if not path.exists():
        raise NotFound(f"Checkpoint {path} does not exist on this model server.")
    if path.is_file():
        return _locate_file(path)
    return _locate_directory(_single_step(path))


def _locate_file(path: Path) -> Located:
    if path.suffix == ".gguf":
        return Located(path, Format.GGUF)
    if path.suffix == ".safetensors":
        raise InvalidArgument(
            f"Checkpoint {path} is one file; publish its directory, which also has config.json."
        )
    if path.suffix in {".bin", ".pt", ".pth", ".pkl", ".ckpt"}:
        raise InvalidArgument(
            f"Checkpoint {path} is a pickle, which can run code and is never read by a server. Convert "
            "it to safetensors first."
        )
    raise InvalidArgument(f"Checkpoint {path} is neither a .gguf file nor a directory.")


def _single_step(directory: Path) -> Path:
    steps = sorted(
        path for path in directory.iterdir() if path.is_dir() and _STEP_DIRECTORY.fullmatch(path.name)
    )
    return steps[0] if len(steps) == 1 else directory


def _locate_directory(directory: Path) -> Located:
    if (directory / "config.json").is_file():
        return Located(directory, Format.HUGGING_FACE)
    models = sorted(directory.glob("*.gguf"))
    if len(models) == 1:
        return Located(models[0], Format.GGUF)
    if models:
        names = ", ".join(path.name for path in models[:8])
        raise InvalidArgument(
            f"Checkpoint {directory} holds {len(models)} .gguf files ({names}): publish one of them."
        )
    found = ", ".join(sorted(path.name for path in directory.iterdir())[:8]) or "nothing"
    raise InvalidArgument(
        f"Checkpoint {directory} has neither config.json (Hugging Face) nor a .gguf file; it holds: {found}."
    )
