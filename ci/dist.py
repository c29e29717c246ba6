"""Build the wheel of every workspace member into dist/."""

import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent


def members() -> list[Path]:
    """List the folders of all packages that are published."""
    return sorted(
        path.parent
        for pattern in ("protos", "libs/*", "services/*")
        for path in ROOT.glob(f"{pattern}/pyproject.toml")
    )


def main() -> int:
    """Build them one by one and list what was made."""
    out = ROOT / "dist"
    for member in members():
        command = [
            sys.executable,
            "-m",
            "uv",
            "build",
            "--quiet",
            "--wheel",
            "--out-dir",
            str(out),
            str(member),
        ]
        subprocess.run(command, cwd=ROOT, check=True)
    for wheel in sorted(out.glob("*.whl")):
        print(f"{wheel.relative_to(ROOT)}  {wheel.stat().st_size / 1024:.0f} KiB")
    return 0


if __name__ == "__main__":
    sys.exit(main())
