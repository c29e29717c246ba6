"""What a running command has at hand: its flags and arguments, the client, and where to write.

Results go to standard output and nothing else does: `say` and `progress` use standard error, `progress`
only on a terminal.
"""

from __future__ import annotations

import json
import sys
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from sax_client import ClientOptions

from sax_util import table

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from sax_client import AsyncClient, Client

    from sax_util.goflags import FlagValue


class CommandFailed(Exception):  # noqa: N818 - it ends the program with status 1, that is its name
    """A command cannot go on; the message says why, for a person. Ends with status 1."""


@dataclass(frozen=True, kw_only=True)
class Invocation:
    """What the command line said."""

    name: str
    flags: Mapping[str, FlagValue]
    given: frozenset[str]
    args: tuple[str, ...]
    timeout_s: float
    is_json: bool

    def text_flag(self, name: str) -> str:
        """The value of a string flag."""
        return str(self.flags[name])

    @property
    def options(self) -> ClientOptions:
        """How this invocation calls models; for subcommands with a `-proxy` flag."""
        return ClientOptions(proxy_address=self.text_flag("proxy"), timeout_s=self.timeout_s)

    def show(self, header: Sequence[str], rows: Sequence[Sequence[str]], *, is_csv: bool = False) -> None:
        """Print a table, or its `-csv` form."""
        write(table.csv(header, rows) if is_csv else table.draw(header, rows))

    def show_json(self, value: Any) -> None:
        """Print one JSON document, on one line so that a stream of them can be read line by line."""
        write(json.dumps(value, ensure_ascii=False) + "\n")


@dataclass(frozen=True, kw_only=True)
class Call(Invocation):
    """An invocation of a subcommand that runs on the event loop."""

    client: AsyncClient


@dataclass(frozen=True, kw_only=True)
class BlockingCall(Invocation):
    """An invocation of a subcommand that waits for a person, on the main thread."""

    client: Client


def write(text: str) -> None:
    """Write to standard output at once."""
    sys.stdout.write(text)
    sys.stdout.flush()


def say(text: str) -> None:
    """Write one line for a person to standard error."""
    sys.stderr.write(f"{text}\n")
    sys.stderr.flush()


def is_watched() -> bool:
    """Whether a person reads standard error."""
    return sys.stderr.isatty()


class Progress:
    """Tells a person at a terminal what is being waited for; says each thing once."""

    def __init__(self) -> None:
        self._last = ""

    def __call__(self, text: str) -> None:
        """Say it, if somebody reads it and it is new."""
        if is_watched() and text != self._last:
            self._last = text
            say(f"... {text}")


def number(value: float) -> str:
    """Format a score as C's ``%.8G``."""
    return f"{value:.8G}"
