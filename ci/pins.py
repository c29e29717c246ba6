"""Refresh requirements/dev.txt: the newest packages that work together, one exact version each.

uv resolves the whole workspace. Its lock file names the package index on every line and is therefore not
committed; the exported requirement file names packages and versions only.
"""

import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
UV = [sys.executable, "-m", "uv"]
EXPORT = (
    "export --quiet --all-packages --all-extras --all-groups"
    " --no-hashes --no-emit-workspace --no-header --no-annotate"
)


def main() -> int:
    """Resolve anew and write the requirement file; uv's own exit code when it cannot."""
    subprocess.run([*UV, "lock", "--quiet", "--upgrade"], cwd=ROOT, check=True)
    subprocess.run([*UV, *EXPORT.split(), "-o", "requirements/dev.txt"], cwd=ROOT, check=True)
    print("requirements/dev.txt is new; run `make test` before you commit it")
    return 0


if __name__ == "__main__":
    sys.exit(main())
