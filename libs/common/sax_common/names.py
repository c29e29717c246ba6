r"""Legal names: the one place that knows how a cell, a model, a path or an ACL may be spelled.

The life of a name: a person types `/sax/test/smollm2`; the first program that sees it calls `parse_model`
and from then on passes a `ModelName` around, so nobody checks twice and nobody joins strings by hand.
A full name is what travels on the wire and what users read; a short name is only for objects in a store.

    /sax/test/smollm2      ModelName
    ---------              CellName  (cell_of)
              -------      short     (short_name)

Patterns are those of the original (Go RE2, where `\d` and `\w` are ASCII and `$` is the end of the text,
hence `re.ASCII` and `fullmatch` here; reference/control_plane.md 2.12). The length bounds are ours: 128
bytes for a name keeps every object name far below what file systems (255) and buckets (1024) allow.

This module refuses to know whether a thing of that name exists.
"""

import re
from typing import NewType

from sax_common.errors import InvalidArgument

CellName = NewType("CellName", str)
"""A full cell name such as `/sax/test`."""

ModelName = NewType("ModelName", str)
"""A full model name such as `/sax/test/smollm2`."""

NAME_BYTES_MAX = 128
MODEL_PATH_BYTES_MAX = 256
CHECKPOINT_BYTES_MAX = 4096
SHOWN_CHARS_MAX = 80

_SHORT = "[a-z][a-z0-9_-]*"
_SHORT_FORM = "a lower-case letter followed by lower-case letters, digits, '-' or '_'"
_CELL = re.compile(f"/sax/({_SHORT})", re.ASCII)
_MODEL = re.compile(f"(/sax/({_SHORT}))/({_SHORT})", re.ASCII)
_MODEL_PATH = re.compile(r"[a-zA-Z][a-zA-Z0-9_.-]*", re.ASCII)
_CHECKPOINT = re.compile(r"[\w/.%:=|+-]+", re.ASCII)
_ACL = re.compile(r"acl/[\w./-]+", re.ASCII)

DATA_METHODS = frozenset(
    {
        "am.recognize",
        "lm.embed",
        "lm.generate",
        "lm.generate_stream",
        "lm.gradient",
        "lm.score",
        "mm.embed",
        "mm.generate",
        "mm.generate_stream",
        "mm.score",
        "vm.classify",
        "vm.detect",
        "vm.embed",
        "vm.generate",
        "vm.image_to_image",
        "vm.image_to_text",
        "vm.text_and_image_to_image",
        "vm.text_and_image_to_text",
        "vm.token_to_video",
        "vm.video_to_text",
        "vm.video_to_token",
    }
)
"""Methods that may carry an ACL: every data method, and the original's misspelt `vm.text_and_image_to_text`.

The original's list lacks six of them (reference/control_plane.md 2.12, W22).
"""


def parse_cell(text: str) -> CellName:
    """Take `/sax/<cell>` as a cell name. Raises InvalidArgument for anything else."""
    match = _CELL.fullmatch(text)
    if match is None:
        raise InvalidArgument(f"Cell name {shown(text)} must be /sax/<cell>, where <cell> is {_SHORT_FORM}.")
    _check_length("Cell name", match[1], NAME_BYTES_MAX)
    return CellName(text)


def parse_model(text: str) -> ModelName:
    """Take `/sax/<cell>/<model>` as a model name. Raises InvalidArgument for anything else."""
    match = _MODEL.fullmatch(text)
    if match is None:
        raise InvalidArgument(
            f"Model name {shown(text)} must be /sax/<cell>/<model>, "
            f"where <cell> and <model> are {_SHORT_FORM}."
        )
    _check_length("Cell name", match[2], NAME_BYTES_MAX)
    _check_length("Model name", match[3], NAME_BYTES_MAX)
    return ModelName(text)


def cell_of(model: ModelName) -> CellName:
    """Say which cell a model lives in: `/sax/test/m` -> `/sax/test`."""
    return CellName(model.rpartition("/")[0])


def short_name(model: ModelName) -> str:
    """Say the last part of a model's name: `/sax/test/m` -> `m`."""
    return model.rpartition("/")[2]


def short_cell(cell: CellName) -> str:
    """Say the last part of a cell's name: `/sax/test` -> `test`."""
    return cell.rpartition("/")[2]


def check_model_path(text: str) -> str:
    """Return a registry key such as `hf.CausalLM` unchanged, or raise InvalidArgument."""
    if _MODEL_PATH.fullmatch(text) is None:
        raise InvalidArgument(
            f"Model path {shown(text)} must be a letter followed by letters, digits, '_', '.' or '-', "
            "such as hf.CausalLM."
        )
    return _check_length("Model path", text, MODEL_PATH_BYTES_MAX)


def check_checkpoint_path(text: str) -> str:
    """Return a checkpoint path (or the word `None`) unchanged, or raise InvalidArgument."""
    if _CHECKPOINT.fullmatch(text) is None:
        raise InvalidArgument(
            f"Checkpoint path {shown(text)} must not be empty and may hold only letters, digits "
            "and / _ . - % : = | + (the word None stands for no checkpoint)."
        )
    return _check_length("Checkpoint path", text, CHECKPOINT_BYTES_MAX)


def check_acl_name(text: str) -> str:
    """Return an ACL name (empty means: no restriction) unchanged, or raise InvalidArgument."""
    if text and _ACL.fullmatch(text) is None:
        raise InvalidArgument(f"ACL name {shown(text)} must be empty or start with acl/, such as acl/all.")
    return _check_length("ACL name", text, NAME_BYTES_MAX)


def check_data_method(text: str) -> str:
    """Return the name of a method that may carry an ACL unchanged, or raise InvalidArgument."""
    if text not in DATA_METHODS:
        raise InvalidArgument(f"Method {shown(text)} must be one of: {', '.join(sorted(DATA_METHODS))}.")
    return text


def shown(text: str) -> str:
    """Quote what a user gave so that it is safe in a log line or a status message: ASCII, bounded."""
    if len(text) <= SHOWN_CHARS_MAX:
        return ascii(text)
    return f"{text[:SHOWN_CHARS_MAX]!a}... ({len(text)} characters)"


def _check_length(what: str, text: str, bytes_max: int) -> str:
    if len(text) > bytes_max:  # Every pattern above is ASCII, so characters are bytes.
        raise InvalidArgument(f"{what} {shown(text)} is longer than {bytes_max} bytes.")
    return text
