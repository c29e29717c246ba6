"""Generate the protobuf stubs, or check that the committed ones are up to date.

    python ci/protos.py generate     writes *_pb2.py, *_pb2.pyi and *_pb2_grpc.py beside the .proto files
    python ci/protos.py check        generates into a temporary folder and compares

The generator is pinned to grpcio-tools 1.71.2 although newer ones exist: its stubs import with protobuf
5.29 to 7 and grpcio 1.71 on, so a user's own environment (an older Pax one, say) can use our client. It
needs an older protobuf itself and therefore runs in an environment of its own, made on first use.
"""

import argparse
import filecmp
import subprocess
import sys
import tempfile
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
PROTOS = ROOT / "protos"
GENERATOR = "grpcio-tools==1.71.2"
SUFFIXES = ("_pb2.py", "_pb2.pyi", "_pb2_grpc.py")


def generate(target: Path) -> None:
    """Write the stubs of every .proto file below `target`; raise CalledProcessError on a syntax error."""
    sources = sorted(str(path.relative_to(PROTOS)) for path in PROTOS.glob("saxml/**/*.proto"))
    command = [sys.executable, "-m", "uv", "run", "--quiet", "--no-project", "--isolated"]
    command += ["--with", GENERATOR, "--with", "setuptools<81", "python", "-m", "grpc_tools.protoc", "-I."]
    outputs = [f"--{kind}={target}" for kind in ("python_out", "pyi_out", "grpc_python_out")]
    subprocess.run([*command, *outputs, *sources], cwd=PROTOS, check=True)


def stubs(folder: Path) -> set[Path]:
    """Name every stub below `folder`, relative to it."""
    return {path.relative_to(folder) for path in folder.glob("saxml/**/*") if path.name.endswith(SUFFIXES)}


def differences() -> list[str]:
    """Say which committed stubs are missing, stale or without a source."""
    with tempfile.TemporaryDirectory() as folder:
        fresh = Path(folder)
        generate(fresh)
        wanted, found = stubs(fresh), stubs(PROTOS)
        lines = [f"missing: {path}" for path in sorted(wanted - found)]
        lines += [f"without a .proto: {path}" for path in sorted(found - wanted)]
        same = (wanted & found) - {
            p for p in wanted & found if filecmp.cmp(fresh / p, PROTOS / p, shallow=False)
        }
        return lines + [f"stale: {path}" for path in sorted(same)]


def main() -> int:
    """Run one of the two commands; exit code 1 when `check` finds a difference."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("command", choices=("generate", "check"))
    if parser.parse_args().command == "generate":
        generate(PROTOS)
        return 0
    found = differences()
    for line in found:
        print(f"protos: {line}; run `make protos`", file=sys.stderr)
    return 1 if found else 0


if __name__ == "__main__":
    sys.exit(main())
