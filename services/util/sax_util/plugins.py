"""Subcommands that other installed packages bring, such as `serve`.

An entry point of the group ``sax.commands`` names a function ``main(argv: list[str]) -> int``; it gets
everything after its name and gives the exit status. The first line of its docstring is its help.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable
    from importlib.metadata import EntryPoint

GROUP = "sax.commands"


def plugin_commands() -> dict[str, EntryPoint]:
    """All plugin subcommands by name; reading them loads none."""
    from importlib.metadata import entry_points  # noqa: PLC0415 - 15 ms that most commands do not need

    return {point.name: point for point in entry_points(group=GROUP)}


def load(point: EntryPoint) -> Callable[[list[str]], int]:
    """Import a plugin. Raises what the import raises."""
    function: Callable[[list[str]], int] = point.load()
    return function


def synopsis(point: EntryPoint) -> str:
    """One line of help. A plugin that cannot be imported says so instead of spoiling the list."""
    try:
        text = load(point).__doc__ or ""
    except ImportError as error:
        return f"(not usable: {error})"
    return text.strip().split("\n")[0].rstrip(".") or f"provided by {point.value}"
