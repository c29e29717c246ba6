"""Build every image, check what it promises, run a whole cell of them and ask it a question.

    ci/containers            everything
    ci/containers --keep     leave the cell running until Enter is pressed

Each promise is one counted check, named as a sentence; a failed one does not stop the others where they can
still say something. The last line is "N passed, N failed". With SAX_CI_REPORT=FILE the two numbers are
appended to that file. Nothing is skipped: without an engine the program fails.
"""

import argparse
import json
import os
import socket
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Callable
from functools import partial
from pathlib import Path

from container_engine import Engine, engine

ROOT = Path(__file__).resolve().parent.parent
COMPOSE_FILE = "compose/cell.yaml"
MB = 1_000_000
# How much larger than its base an image may be.
SIZE_LIMITS_MB = {"admin": 130, "util": 130, "http": 130, "model": 1_100}
TARGETS = {
    "bucket": "bucket",
    "admin": "admin",
    "model": "model",
    "http": "http",
    "util": "util",
    "models": "util",
}
READY_TIMEOUT_S = 240
MODEL = "/sax/test/smollm2"
QUESTION = "The capital of France is"


class Checks:
    """Counts promises kept and broken, and prints each with the time it took."""

    def __init__(self) -> None:
        self.passed = 0
        self.failed = 0

    def check(self, promise: str, prove: Callable[[], None]) -> bool:
        """Run one proof; any exception it raises breaks the promise and is shown."""
        started = time.monotonic()
        try:
            prove()
        except Exception as error:  # noqa: BLE001 - whatever went wrong, it is this promise that is broken.
            self.failed += 1
            print(f"FAILED {promise}: {type(error).__name__}: {error}", flush=True)
            return False
        self.passed += 1
        print(f"ok     {promise} ({time.monotonic() - started:.1f} s)", flush=True)
        return True


def build(machine: Engine, name: str) -> None:
    """Build one image from the working tree."""
    dockerfile = f"images/{TARGETS[name]}/Dockerfile"
    flags = [*machine.build_flags, "--build-arg", f"BASE_IMAGE={machine.base_image}"]
    machine.run(
        "build", "--quiet", *flags, "-f", dockerfile, "--target", name, "-t", f"sax-{name}", str(ROOT)
    )


def size_mb(machine: Engine, image: str) -> float:
    """Size of an image with all its layers, in megabytes."""
    return int(machine.run("image", "inspect", image, "--format", "{{.Size}}", capture=True)) / MB


def is_small(machine: Engine, name: str) -> None:
    """Compare an image with its base."""
    above = size_mb(machine, f"sax-{name}") - size_mb(machine, machine.base_image)
    print(f"       sax-{name} is {above:.0f} MB above its base (limit {SIZE_LIMITS_MB[name]})")
    if above > SIZE_LIMITS_MB[name]:
        raise ValueError(f"{above:.0f} MB above its base; at most {SIZE_LIMITS_MB[name]}")


def is_hardened(machine: Engine, name: str) -> None:
    """An image runs as an ordinary user and says how its health is checked."""
    config = json.loads(
        machine.run("image", "inspect", f"sax-{name}", "--format", "{{json .Config}}", capture=True)
    )
    if config["User"].split(":")[0] in {"", "0", "root"}:
        raise ValueError(f"runs as {config['User'] or 'root'}")
    if not config.get("Healthcheck"):
        raise ValueError("has no health check")


def post(url: str, body: dict[str, object]) -> object:
    """Send JSON, return the decoded JSON answer."""
    data = json.dumps(body).encode()
    request = urllib.request.Request(url, data, {"Content-Type": "application/json"})  # noqa: S310 - always http.
    with urllib.request.urlopen(request, timeout=60) as answer:  # noqa: S310
        return json.load(answer)


def answers(http_port: int) -> None:
    """Ask SmolLM2 through HTTP until it is loaded; the answer must be Paris."""
    body: dict[str, object] = {
        "model": MODEL,
        "query": QUESTION,
        "extra_inputs": {"temperature": 0, "per_example_max_decode_steps": 12},
    }
    deadline = time.monotonic() + READY_TIMEOUT_S
    while True:
        try:
            answer = post(f"http://127.0.0.1:{http_port}/generate", body)
            break
        except (urllib.error.URLError, OSError) as error:
            if time.monotonic() > deadline:
                raise TimeoutError(f"no answer within {READY_TIMEOUT_S} s: {error}") from error
            time.sleep(1)
    print(f"       {QUESTION} ... {answer}")
    if "Paris" not in json.dumps(answer):
        raise ValueError(f"expected Paris, got {answer}")


def free_port() -> int:
    """Find a port that is free now."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def run_cell(machine: Engine, checks: Checks, *, keep: bool) -> None:
    """Bring the cell up, ask it, look at it with the command line, take it down."""
    http_port = free_port()
    machine.environ.update(
        SAX_HTTP_PORT=str(http_port), SAX_ADMIN_PORT=str(free_port()), BASE_IMAGE=machine.base_image
    )
    compose = ("compose", "--project-name", f"sax-ci-{os.getpid()}", "-f", str(ROOT / COMPOSE_FILE))

    def up() -> None:
        machine.run(*compose, "up", "--detach", "--wait", "--no-build", "admin", "model", "http")
        machine.run(*compose, "run", "--rm", "publish")

    def command_line() -> None:
        table = machine.run(*compose, "run", "--rm", "-T", "util", "ls", MODEL, capture=True)
        print(table)
        if "smollm2" not in table:
            raise ValueError("saxutil ls does not show the model")

    try:
        checks.check("the cell comes up healthy and takes a publish", up)
        checks.check("SmolLM2 answers a question over HTTP", lambda: answers(http_port))
        checks.check("the command line image sees the model", command_line)
        if checks.failed:
            machine.run(*compose, "logs", "--no-color", "--tail", "60", check=False)
        if keep:
            input(f"the cell runs at http://127.0.0.1:{http_port}; press Enter to stop it ")
    finally:
        machine.run(*compose, "down", "--volumes", "--timeout", "10", check=False)


def main() -> int:
    """Run all checks; exit code 1 when a promise is broken."""
    parser = argparse.ArgumentParser(description="Build all images and run a cell of them.")
    parser.add_argument("--keep", action="store_true", help="leave the cell running until Enter is pressed")
    arguments = parser.parse_args()
    checks = Checks()
    with engine() as machine:
        built = [checks.check(f"the {name} image builds", partial(build, machine, name)) for name in TARGETS]
        for name in SIZE_LIMITS_MB:
            checks.check(f"the {name} image is small", partial(is_small, machine, name))
            checks.check(f"the {name} image is hardened", partial(is_hardened, machine, name))
        if all(built):
            run_cell(machine, checks, keep=arguments.keep)
        else:
            checks.failed += 1
            print("FAILED a cell of the images runs: an image is missing")
    if report := os.environ.get("SAX_CI_REPORT"):
        with Path(report).open("a") as file:
            file.write(f"{checks.passed} {checks.failed}\n")
    print(f"{checks.passed} passed, {checks.failed} failed")
    return int(checks.failed > 0)


if __name__ == "__main__":
    sys.exit(main())
