"""Refresh requirements/*.txt: the newest packages that work together, one exact version each.

uv resolves the whole workspace once, so that development and every image run the same versions. Its lock
file names the package index on every line and is therefore not committed; the exported requirement files
name packages and versions only: dev.txt for the workspace, and one file per image.
"""

import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
UV = [sys.executable, "-m", "uv"]
EXPORT = [
    "export",
    "--quiet",
    "--frozen",
    "--no-hashes",
    "--no-emit-workspace",
    "--no-header",
    "--no-annotate",
]
IMAGES = ("admin", "model", "util", "http")


def export(name: str, *selection: str) -> None:
    """Write requirements/<name>.txt for the selected part of the resolved workspace."""
    subprocess.run([*UV, *EXPORT, *selection, "-o", f"requirements/{name}.txt"], cwd=ROOT, check=True)
    print(f"requirements/{name}.txt is new")


def main() -> int:
    """Resolve anew and write all requirement files; an error of uv ends it with uv's own words."""
    subprocess.run([*UV, "lock", "--quiet", "--upgrade"], cwd=ROOT, check=True)
    export("dev", "--all-packages", "--all-extras", "--all-groups")
    for name in IMAGES:
        export(name, "--package", f"sax-{name}", "--no-dev")
    print("run `make test` before you commit them")
    return 0


if __name__ == "__main__":
    sys.exit(main())
