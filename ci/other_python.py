"""Run the core tests on another Python of this machine as well: 3.12, with the JAX that belongs to it.

    python ci/other_python.py 3.12      exit code 0: they passed; 1: they failed; 3: no such interpreter here

GPU environments bring Python 3.12 and a newer JAX than 3.11 can have, so the cores and the JAX backend must
work there too. The interpreter is looked for in PATH and in pyenv's folders; its environment is kept under
.cache and made again when the pins change.
"""

import hashlib
import os
import shutil
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
NOT_FOUND = 3
# The engine with its JAX backend, and the cores: what is version-specific in the rest is in their libraries.
CORES = ("assignment", "commands", "lease", "liveness", "machine", "reconcile", "record")
TESTS = [
    "libs/engine",
    "services/model/tests/test_model_core.py",
    *(f"services/admin/tests/test_admin_{core}.py" for core in CORES),
]
# What needs processes, weights or much time runs on the main Python only.
SELECTION = "not processes and not model and not slow"


def interpreter(version: str) -> Path | None:
    """Find a working interpreter of this version."""
    pyenv = Path(os.environ.get("PYENV_ROOT", Path.home() / ".pyenv")) / "versions"
    candidates = [shutil.which(f"python{version}"), *sorted(map(str, pyenv.glob(f"{version}.*/bin/python")))]
    for candidate in filter(None, candidates):
        asked = subprocess.run([candidate, "--version"], check=False, capture_output=True, text=True)
        if asked.returncode == 0 and f" {version}." in asked.stdout:
            return Path(candidate)
    return None


def environment(python: Path, version: str) -> Path:
    """Make (or reuse) the environment of that interpreter; the path of its Python."""
    folder = ROOT / ".cache" / f"venv-{version}"
    pins = ROOT / "requirements" / "dev.txt"
    digest = hashlib.sha256(pins.read_bytes() + str(python).encode()).hexdigest()
    stamp = folder / "pins"
    target = folder / "bin" / "python"
    if not (stamp.exists() and stamp.read_text() == digest):
        uv = [sys.executable, "-m", "uv"]
        subprocess.run([*uv, "venv", "--quiet", "--clear", "--python", str(python), str(folder)], check=True)
        members = [
            path.parent
            for place in ("protos", "libs/*", "services/*")
            for path in ROOT.glob(place + "/pyproject.toml")
        ]
        install = [*uv, "pip", "install", "--quiet", "--python", str(target)]
        subprocess.run([*install, "-r", str(pins)], check=True)
        editable = [argument for member in sorted(members) for argument in ("-e", str(member))]
        subprocess.run([*install, "--no-deps", *editable], check=True)
        stamp.write_text(digest)
    return target


def main() -> int:
    """Run the tests; see the module for the exit codes."""
    version = sys.argv[1]
    python = interpreter(version)
    if python is None:
        print(f"no Python {version} on this machine: its tests did not run")
        return NOT_FOUND
    target = environment(python, version)
    jax = subprocess.run(
        [str(target), "-c", "import jax, sys; print(sys.version.split()[0], 'jax', jax.__version__)"],
        check=True,
        capture_output=True,
        text=True,
    )
    print(f"core tests on Python {jax.stdout.strip()}", flush=True)
    command = [str(target), "-m", "pytest", "-q", "-n", "2", "--dist", "worksteal", "-m", SELECTION, *TESTS]
    return int(subprocess.run(command, cwd=ROOT, check=False).returncode != 0)


if __name__ == "__main__":
    sys.exit(main())
