"""The program `saxutil` (also called `sax`): read the command line, run one subcommand, say how it ended.

    saxutil [top-level flags] <subcommand> [its flags] [arguments]

The life of an invocation: top-level flags up to the first other argument; the subcommand from the
catalogue, or from a plugin; its flags and arguments are counted; then one `AsyncClient` lives as long as
the subcommand runs. Exit status: 0 done, 1 failed (why is on standard error, with hints), 2 the command
line is wrong, 130 Ctrl-C.

Imports are late on purpose: nothing that can be answered from the catalogue loads gRPC.
"""

from __future__ import annotations

import asyncio
import importlib
import os
import sys
import traceback
from typing import TYPE_CHECKING, Any

from sax_common.errors import SaxError, kind
from sax_common.roots import MissingRoot

from sax_util import commands_help, goflags, plugins
from sax_util.catalogue import BY_NAME, TOP_FLAGS, Command
from sax_util.context import BlockingCall, Call, CommandFailed, Progress, say

if TYPE_CHECKING:
    from collections.abc import Sequence

    from sax_util.goflags import Parsed

FAILED, USAGE, INTERRUPTED = 1, 2, 130
LOCAL = "commands_help:"
HELP_FLAGS = frozenset({"-h", "--h", "-help", "--help"})
CHANGES = frozenset({"publish", "unpublish", "update", "update_checkpoint", "setacl", "create", "delete"})

HINTS = """
 - If it took too long, raise --sax_timeout (it is {timeout:g}s).
 - The admin server's status page shows its models and servers (sax-admin-server --help: --status_port).
 - On permission errors, see who may do this with: {program} getacl <cell or model ID>.
"""


def main(argv: Sequence[str] | None = None) -> int:
    """Run the program with these arguments (default: those of the process) and give its exit status."""
    arguments = list(sys.argv[1:] if argv is None else argv)
    try:
        return _main(arguments)
    except goflags.UsageError as error:
        say(f"{commands_help.PROGRAM}: {error}")
        return USAGE
    except KeyboardInterrupt:
        say("Interrupted.")
        return INTERRUPTED
    except BrokenPipeError:
        # The reader has gone (`| head`): end quietly, and keep the interpreter from flushing into nowhere.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return FAILED


def _main(arguments: list[str]) -> int:
    if arguments and arguments[0] in HELP_FLAGS:
        return commands_help.show_help(())
    top = goflags.parse(arguments, TOP_FLAGS)
    if not top.rest:
        say(commands_help.top_usage())
        return USAGE
    name, *rest = top.rest
    command = BY_NAME.get(name)
    return _plugin(name, rest) if command is None else _subcommand(command, rest, top)


def _subcommand(command: Command, rest: list[str], top: Parsed) -> int:
    if rest and rest[0] in HELP_FLAGS:
        return commands_help.show_help((command.name,))
    try:
        own = goflags.parse(rest, command.flags)
        _check_count(command, own.rest)
        if command.runner.startswith(LOCAL):
            status: int = _runner(command)(own.rest)
            return status
        return _run(command, top, own)
    except goflags.UsageError as error:
        say(f"{command.name}: {error}\n{commands_help.usage_of(command.name)}")
        return USAGE


def _plugin(name: str, rest: list[str]) -> int:
    point = plugins.plugin_commands().get(name)
    if point is None:
        say(f"{commands_help.unknown(name)}\n\n{commands_help.top_usage()}")
        return USAGE
    return plugins.load(point)(rest)


def _check_count(command: Command, args: Sequence[str]) -> None:
    if len(args) < command.least or (command.most is not None and len(args) > command.most):
        wanted = command.arguments or "no arguments"
        raise goflags.UsageError(f"expects {wanted}, got {len(args)} argument{'s' if len(args) != 1 else ''}")


def _runner(command: Command):  # type: ignore[no-untyped-def] # noqa: ANN202 - two shapes: local or async
    module, _, function = command.runner.partition(":")
    return getattr(importlib.import_module(f"sax_util.{module}"), function)


def _run(command: Command, top: Parsed, own: Parsed) -> int:
    timeout_s = float(top.values["sax_timeout"])
    output = str(own.values.get("output") or top.values["output"])
    if output not in {"", "json", "table"}:
        raise goflags.UsageError(f"-output must be json or table, not {output!r}")
    said = {
        "name": command.name,
        "flags": own.values,
        "given": own.given,
        "args": own.rest,
        "timeout_s": timeout_s,
        "is_json": output == "json",
    }
    try:
        return _call(command, top, said)
    except MissingRoot as error:
        say(error.message)
    except CommandFailed as error:
        say(f"{command.name}: {error}")
    except SaxError as error:
        say(f"{command.name}: {kind(error).name}: {error.message}")
        say(HINTS.format(timeout=timeout_s, program=commands_help.PROGRAM))
        if int(top.values["v"]) > 0:
            traceback.print_exception(error)
    except KeyboardInterrupt:
        if command.name in CHANGES:
            say(f"Interrupted: the change may have been made or not; `saxutil ls {own.rest[0]}` tells.")
        raise
    return FAILED


def _call(command: Command, top: Parsed, said: dict[str, Any]) -> int:
    root = str(top.values["sax_root"]) or None
    if command.is_blocking:
        from sax_client import Client  # noqa: PLC0415 - see the module docstring

        with Client(root, notice=Progress()) as client:
            status: int = _runner(command)(BlockingCall(client=client, **said))
            return status
    return asyncio.run(_call_async(command, root, said))


async def _call_async(command: Command, root: str | None, said: dict[str, Any]) -> int:
    from sax_client import AsyncClient  # noqa: PLC0415

    async with AsyncClient(root, notice=Progress()) as client:
        status: int = await _runner(command)(Call(client=client, **said))
        return status


if __name__ == "__main__":
    sys.exit(main())
