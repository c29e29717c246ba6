"""`help`, `flags`, `commands`: what there is, without touching the network."""

from __future__ import annotations

from sax_util import goflags, plugins
from sax_util.catalogue import BY_NAME, COMMANDS, TOP_FLAGS
from sax_util.context import say, write

PROGRAM = "saxutil"


def top_usage() -> str:
    """The usage of the whole program: every subcommand with its synopsis, sorted."""
    lines = {command.name: command.synopsis for command in COMMANDS}
    lines |= {name: plugins.synopsis(point) for name, point in plugins.plugin_commands().items()}
    width = max(map(len, lines)) + 2
    listed = "".join(f"\t{name:<{width}}{lines[name]}\n" for name in sorted(lines))
    return (
        f"Usage: {PROGRAM} <flags> <subcommand> <subcommand args>\n\nSubcommands:\n{listed}\n\n"
        f'Use "{PROGRAM} flags" for a list of top-level flags.\n'
    )


def usage_of(name: str) -> str | None:
    """The usage of one subcommand; None when there is none of that name."""
    command = BY_NAME.get(name)
    if command is not None:
        return command.usage + goflags.describe(command.flags)
    point = plugins.plugin_commands().get(name)
    return None if point is None else f"{name} [flags]:\n\t{plugins.synopsis(point)}\n"


def unknown(name: str) -> str:
    """Say that there is no such subcommand, and which one may be meant."""
    names = [*BY_NAME, *plugins.plugin_commands()]
    return f"Subcommand {name} not understood{goflags.near(name, names)}"


def show_help(args: tuple[str, ...]) -> int:
    """Print the usage of the program or of one subcommand."""
    if not args:
        write(top_usage())
        return 0
    usage = usage_of(args[0])
    if usage is None:
        say(unknown(args[0]))
        return 2
    write(usage)
    return 0


def show_flags(args: tuple[str, ...]) -> int:
    """Print the top-level flags or those of one subcommand."""
    if args and args[0] not in BY_NAME:
        say(unknown(args[0]))
        return 1
    write(goflags.describe(BY_NAME[args[0]].flags if args else TOP_FLAGS))
    return 0


def show_commands(args: tuple[str, ...]) -> int:  # noqa: ARG001 - every runner gets its arguments
    """Print one subcommand name per line."""
    write("".join(f"{name}\n" for name in [*BY_NAME, *plugins.plugin_commands()]))
    return 0
