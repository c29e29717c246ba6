"""Turn a parsed JSON object (or a query string) into a typed body, naming the field that is wrong.

Bodies are frozen pydantic models, checked strictly: "true" is not a boolean and 1.5 is not a count.
A field that the body does not have is an error with the nearest legal name, for a misspelt
`extra_inputs` that is silently ignored costs somebody an afternoon.

Pure. The messages never repeat a value: it may be a prompt.
"""

from __future__ import annotations

import difflib
from typing import TYPE_CHECKING, TypeVar

from pydantic import BaseModel, ConfigDict, ValidationError
from sax_common.errors import InvalidArgument

from sax_http.strict_json import printable

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from pydantic_core import ErrorDetails


class Body(BaseModel):
    """Base of every request body: frozen, strict, no unknown fields."""

    model_config = ConfigDict(frozen=True, strict=True, extra="forbid", hide_input_in_errors=True)


class InvalidField(InvalidArgument):
    """A field of the body is missing or wrong; `field` is its path, e.g. `messages.0.role`."""

    def __init__(self, field: str, problem: str) -> None:
        super().__init__(f"{field}: {problem}")
        self.field = field


def legal(field: str, check: Callable[[str], str], value: str) -> str:
    """Return `check(value)`; what it raises becomes an error about `field`."""
    try:
        return check(value)
    except InvalidArgument as error:
        raise InvalidField(field, error.message) from None


# Pydantic speaks of Python; a client wrote JSON.
_WORDS = {
    "a valid string": "a string",
    "a valid list": "an array",
    "a valid number": "a number",
    "a valid integer": "a whole number",
    "a valid boolean": "true or false",
    "a valid dictionary": "an object",
}

AnyBody = TypeVar("AnyBody", bound=Body)


def read_body(kind: type[AnyBody], values: Mapping[str, object]) -> AnyBody:
    """Make a body of `kind`, or raise InvalidField about the first field that is wrong."""
    try:
        return kind.model_validate(values)
    except ValidationError as error:
        details = _first_place(error.errors(include_url=False, include_input=False))
        raise InvalidField(_path(details[0]), _problem(kind, details)) from None


def _first_place(details: Sequence[ErrorDetails]) -> list[ErrorDetails]:
    """Keep what is said about the first wrong place.

    A value that fits no member of a union is reported once per member. A report from inside a member (an
    element of a list, say) knows more than "this is no text", so it is kept alone.
    """
    first = details[0]["loc"]
    branch = next((at for at, part in enumerate(first) if _is_type_name(part)), None)
    if branch is None:
        return [details[0]]
    place = [one for one in details if one["loc"][:branch] == first[:branch]]
    inside = [one for one in place if len(one["loc"]) > branch + 1]
    return inside[:1] or place


def _path(detail: ErrorDetails) -> str:
    # Pydantic adds the names of union members to the path; a client wrote none of them.
    parts = [str(part) for part in detail["loc"] if not _is_type_name(part)]
    return printable(".".join(parts)) or "body"


def _is_type_name(part: int | str) -> bool:
    return isinstance(part, str) and (
        part in {"str", "int", "float", "constrained-str", "constrained-int"} or "[" in part
    )


def _problem(kind: type[Body], details: Sequence[ErrorDetails]) -> str:
    detail = details[0]
    if detail["type"] == "missing":
        return "this field is required."
    if detail["type"] == "extra_forbidden":
        name = str(detail["loc"][-1])
        near = difflib.get_close_matches(name, list(kind.model_fields), n=1)
        hint = f" Did you mean {near[0]}?" if near and len(detail["loc"]) == 1 else ""
        return f"no such field.{hint}"
    if detail["type"] == "value_error":
        return detail["msg"].removeprefix("Value error, ")
    wanted = [one["msg"].removeprefix("Input should be ") for one in details]
    if wanted[0] == detail["msg"]:
        return f"{wanted[0]}."
    return f"must be {' or '.join(_WORDS.get(words, words) for words in wanted)}."
