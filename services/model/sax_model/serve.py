"""`sax serve <directory or .gguf>`: a model on this machine, over HTTP and gRPC, with one command.

Starts an admin server, a model server and an HTTP server on loopback, publishes the model, prints the
phases with their times and then a line to copy. Ctrl-C stops everything in order; a second one at once.
"""

import asyncio
import json
import os
import re
import shlex
import signal
import sys
from collections.abc import Awaitable, Callable, Sequence
from pathlib import Path

from pydantic import Field
from sax_common.config import Config, load_with_rest
from sax_common.errors import InvalidArgument, SaxError
from sax_common.names import check_checkpoint_path, parse_model

from sax_model.local_cell import CellPlan, LocalCell

PROGRAM = "sax serve"
DESCRIPTION = "Serve a model on this machine: admin, model and HTTP server in one command."
QUESTION = "The capital of France is"


class ServeConfig(Config):
    """Flags of `sax serve`."""

    model_name: str = Field(
        default="", description="Short name of the model; empty: made from the name of the file or folder."
    )
    sax_cell: str = Field(default="/sax/test", description="Cell to make, /sax/<cell>.")
    model_path: str = Field(default="hf.CausalLM", description="Registry path of the servable.")
    port: int = Field(default=0, ge=0, le=65535, description="gRPC port of the model server; 0: any.")
    http_port: int = Field(default=8888, ge=0, le=65535, description="HTTP port; 0: any free one.")
    sax_root: str = Field(
        default="", description="Folder for the cell's state; empty: a temporary one, removed at the end."
    )
    jax_platforms: str = Field(default="", description="Platforms JAX may use, in order: cpu, cuda, tpu.")
    jax_cache_dir: str = Field(
        default="", description="Folder that keeps compiled programs; empty: ~/.cache/sax/xla."
    )
    v: int = Field(default=0, description="1 and more shows the servers' logs.")


def main(argv: Sequence[str]) -> int:
    """Serve a model on this machine: admin, model and HTTP server in one command.

    Returns the exit code: 0 after Ctrl-C, 1 when something failed, 2 for wrong usage.
    """
    config, path = parse(argv)
    try:
        plan = make_plan(config, path)
    except SaxError as error:
        sys.stderr.write(f"{PROGRAM}: {error.message}\n")
        return 2
    return run_cell(plan, _serve_until_stopped)


def parse(argv: Sequence[str]) -> tuple[ServeConfig, str]:
    """Return flags and the model's path, which may stand before, between or after them."""

    def read(arguments: Sequence[str]) -> tuple[ServeConfig, list[str]]:
        return load_with_rest(
            ServeConfig,
            arguments,
            {},
            program=PROGRAM,
            description=DESCRIPTION,
            usage="<directory or .gguf file> [flags]",
        )

    config, rest = read(argv)
    paths = rest[:1]
    if len(rest) > 1:
        flags = [*argv[: len(argv) - len(rest)], *rest[1:]]
        config, rest = read(flags)
        paths += rest
    if len(paths) != 1:
        what = f"one model is served at a time, not {len(paths)}" if paths else "which model?"
        sys.stderr.write(f"{PROGRAM}: {what} usage: {PROGRAM} <directory or .gguf file> [flags]\n")
        raise SystemExit(2)
    return config, paths[0]


def make_plan(config: ServeConfig, path: str) -> CellPlan:
    """Return what to start; raises InvalidArgument for a path or a name that cannot be."""
    checkpoint = Path(path).expanduser().resolve()
    if not checkpoint.exists():
        raise InvalidArgument(f"{path} does not exist: give a model directory or a .gguf file")
    check_checkpoint_path(str(checkpoint))
    model = parse_model(f"{config.sax_cell}/{config.model_name or model_name(checkpoint)}")
    return CellPlan(
        model=model,
        model_path=config.model_path,
        checkpoint=str(checkpoint),
        port=config.port,
        http_port=config.http_port,
        root=config.sax_root,
        jax_cache_dir=config.jax_cache_dir or str(cache_folder()),
        jax_platforms=config.jax_platforms,
        shows_logs=config.v > 0,
    )


def model_name(checkpoint: Path) -> str:
    """Return a legal short name from a file or folder: `SmolLM2-135M.Q4_1.gguf` is `smollm2-135m-q4_1`."""
    stem = checkpoint.name.removesuffix(".gguf").lower()
    return re.sub(r"[^a-z0-9_-]+", "-", stem).strip("-_").lstrip("0123456789-_") or "model"


def cache_folder() -> Path:
    """Return where compiled programs are kept between runs."""
    base = os.environ.get("XDG_CACHE_HOME", "")
    return (Path(base) if base else Path.home() / ".cache") / "sax" / "xla"


def curl_line(cell: LocalCell, question: str) -> str:
    """Return a command that asks the model over HTTP."""
    body = json.dumps({"model": cell.plan.model, "query": question})
    return f"curl -s {cell.http_url}/generate -H 'Content-type: application/json' -d {shlex.quote(body)}"


def run_cell(plan: CellPlan, work: Callable[[LocalCell, asyncio.Event], Awaitable[int]]) -> int:
    """Start a cell, do `work` with it, stop it; returns the exit code. Failures are told in one message."""
    try:
        return asyncio.run(_run_cell(plan, work))
    except SaxError as error:
        sys.stderr.write(f"{error.message}\n")
        return 1


def say(line: str) -> None:
    """Write one line to the terminal."""
    sys.stdout.write(f"{line}\n")
    sys.stdout.flush()


async def _run_cell(plan: CellPlan, work: Callable[[LocalCell, asyncio.Event], Awaitable[int]]) -> int:
    cell = LocalCell(plan, say)
    stop = asyncio.Event()
    running = asyncio.create_task(_within(cell, work, stop))

    def on_signal() -> None:
        if stop.is_set():
            cell.kill()
            os._exit(128 + signal.SIGINT)
        stop.set()

    for number in (signal.SIGINT, signal.SIGTERM):
        asyncio.get_running_loop().add_signal_handler(number, on_signal)
    stopping = asyncio.create_task(stop.wait())
    await asyncio.wait({running, stopping}, return_when=asyncio.FIRST_COMPLETED)
    if not running.done():
        say("stopping; Ctrl-C once more ends everything at once")
        running.cancel()
    stopping.cancel()
    try:
        return await running
    except asyncio.CancelledError:
        return 0


async def _within(
    cell: LocalCell, work: Callable[[LocalCell, asyncio.Event], Awaitable[int]], stop: asyncio.Event
) -> int:
    async with cell:
        return await work(cell, stop)


async def _serve_until_stopped(cell: LocalCell, _stop: asyncio.Event) -> int:
    say(f"\n{cell.plan.model} answers at {cell.http_url} (OpenAI-compatible routes under /v1):\n")
    say(f"  {curl_line(cell, QUESTION)}")
    say(f"  saxutil --sax_root={cell.root} lm.generate {cell.plan.model} {shlex.quote(QUESTION)}")
    say("\nCtrl-C stops everything.")
    await cell.child_death()
    return 1
