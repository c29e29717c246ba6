"""Run the checks of this workspace, the same on a laptop and in CI.

    python ci/check.py all        everything
    python ci/check.py lint       one check by name (--list shows them)

Each check is one command. All of them run even when one fails, so that one run shows everything. The last
line is "N passed, N failed" over all checks and tests. With SAX_CI_REPORT=FILE the two numbers are also
appended to that file, which `.ci/run` adds up.
"""

import argparse
import os
import subprocess
import sys
import tempfile
import time
import xml.etree.ElementTree as ET
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
BIN = Path(sys.executable).parent
NOT_RUN = 3  # Exit code of a check that says itself that this machine lacks what it needs.


@dataclass(frozen=True)
class Check:
    """One command, and what it proves when it exits with 0."""

    name: str
    command: list[str]
    proves: str


@dataclass(frozen=True)
class Tally:
    """How many checks or tests passed and failed."""

    passed: int
    failed: int

    def __add__(self, other: "Tally") -> "Tally":
        return Tally(self.passed + other.passed, self.failed + other.failed)


def mypy_packages() -> list[str]:
    """Name every package of ours as mypy arguments."""
    found = sorted(path.parent.name for path in ROOT.glob("*/*/sax_*/__init__.py"))
    return [argument for name in [*found, "saxml.client.python"] for argument in ("-p", name)]


def checks() -> list[Check]:
    """List the checks in the order in which they run: cheap ones first."""
    python = sys.executable
    return [
        Check("stubs", [python, "ci/protos.py", "check"], "the committed stubs are those of the protos"),
        Check("buf", [str(BIN / "buf"), "lint", "protos"], "the protos are clean where the original allows"),
        Check("lint", [str(BIN / "ruff"), "check", "--quiet", "."], "all lint rules hold"),
        Check("format", [str(BIN / "ruff"), "format", "--quiet", "--check", "."], "the code is formatted"),
        Check("tidy", [python, "ci/tidy.py"], "files stay small, nothing unsafe is imported"),
        Check("layers", [str(BIN / "lint-imports"), "--no-cache"], "imports follow the layers"),
        Check("types", [str(BIN / "mypy"), *mypy_packages()], "mypy --strict passes on every package"),
        Check(
            "python3.12", [python, "ci/other_python.py", "3.12"], "the cores work there, with its newer JAX"
        ),
    ]


def run(check: Check) -> Tally:
    """Run one check, show its output, its verdict and its time."""
    started = time.monotonic()
    code = subprocess.run(check.command, cwd=ROOT, check=False).returncode
    if code == NOT_RUN:
        print(f"check {check.name}: NOT RUN here, and not counted", flush=True)
        return Tally(0, 0)
    passed = code == 0
    verdict = "passed" if passed else "FAILED"
    print(f"check {check.name}: {verdict} in {time.monotonic() - started:.1f} s ({check.proves})", flush=True)
    return Tally(int(passed), int(not passed))


def run_tests(arguments: list[str]) -> Tally:
    """Run pytest and count its tests; a run that collects nothing counts as one failure."""
    with tempfile.TemporaryDirectory() as folder:
        report = Path(folder) / "junit.xml"
        command = [str(BIN / "pytest"), "-q", "-n", "2", "--dist", "worksteal", "--durations", "10"]
        environ = os.environ | {"SAX_DEBUG_IPADDR": "1"}
        code = subprocess.run(
            [*command, f"--junit-xml={report}", *arguments], cwd=ROOT, check=False, env=environ
        ).returncode
        if not report.exists():
            return Tally(0, 1)
        suite = ET.parse(report).getroot().find("testsuite")  # noqa: S314 - our own file of a moment ago.
    counts = (
        {} if suite is None else {key: int(value) for key, value in suite.attrib.items() if value.isdigit()}
    )
    failed = counts.get("failures", 0) + counts.get("errors", 0)
    passed = counts.get("tests", 0) - failed - counts.get("skipped", 0)
    return Tally(passed, max(failed, int(code != 0)))


def main() -> int:
    """Run what was asked for; exit code 1 when anything failed."""
    parser = argparse.ArgumentParser(description="Run the checks of this workspace.")
    parser.add_argument("what", nargs="?", default="all", help="'all', 'tests', or the name of one check")
    parser.add_argument("--list", action="store_true", help="list the checks and stop")
    arguments, for_pytest = parser.parse_known_args()
    table = {check.name: check for check in checks()}
    if arguments.list:
        print("\n".join(f"{check.name:8} {check.proves}" for check in table.values()))
        return 0
    if arguments.what not in {"all", "tests", *table}:
        parser.error(f"unknown check {arguments.what!r}; known: all, tests, {', '.join(table)}")
    chosen = table.values() if arguments.what == "all" else filter(None, [table.get(arguments.what)])
    tally = sum((run(check) for check in chosen), Tally(0, 0))
    if arguments.what in {"all", "tests"}:
        tally += run_tests(for_pytest)
    if report := os.environ.get("SAX_CI_REPORT"):
        with Path(report).open("a") as file:
            file.write(f"{tally.passed} {tally.failed}\n")
    print(f"{tally.passed} passed, {tally.failed} failed")
    return int(tally.failed > 0)


if __name__ == "__main__":
    sys.exit(main())
