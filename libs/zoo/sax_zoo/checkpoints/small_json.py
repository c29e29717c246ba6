"""Small JSON files beside the weights (config.json, tokenizer_config.json, indexes), read with bounds.

Python's parser takes any depth until recursion ends and any size until memory ends; a file from a publisher
gets neither.
"""

import json
from pathlib import Path
from typing import Any, Final

from sax_common.errors import InvalidArgument

BYTES_MAX: Final = 32 * 2**20


def read_object(path: Path, *, bytes_max: int = BYTES_MAX) -> dict[str, Any]:
    """Read a JSON object.

    Raises InvalidArgument naming the file when it is too large or is something else.
    """
    size = path.stat().st_size
    if size > bytes_max:
        raise InvalidArgument(f"{path}: {size} bytes; at most {bytes_max} are read.")
    try:
        value = json.loads(path.read_bytes())
    except (ValueError, RecursionError) as error:
        raise InvalidArgument(f"{path}: not valid JSON: {error}") from error
    if not isinstance(value, dict):
        raise InvalidArgument(f"{path}: expected a JSON object, found {type(value).__name__}.")
    return value


def read_optional(path: Path) -> dict[str, Any]:
    """Read a JSON object that need not be there; absent is empty."""
    return read_object(path) if path.is_file() else {}
