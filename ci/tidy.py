"""House rules that no linter knows: sizes, forbidden imports, test sentences, leftovers.

Each rule is a function from a parsed file to complaints. The lists of exceptions are short, carry a
reason, and may only shrink.
"""

import ast
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
MAX_FILE_LINES = 400
MAX_FUNCTION_LINES = 60
UNSAFE_MODULES = {"pickle", "marshal", "shelve", "dill", "joblib", "cloudpickle"}
UNSAFE_CALLS = {"eval", "exec"}
CORE_FORBIDDEN = {
    "asyncio",
    "threading",
    "time",
    "random",
    "os",
    "socket",
    "logging",
    "grpc",
    "jax",
    "subprocess",
}


def sources() -> list[Path]:
    """List our own Python files; generated stubs are not ours to tidy."""
    listed = subprocess.run(
        ["git", "ls-files", "--cached", "--others", "--exclude-standard", "*.py"],
        cwd=ROOT,
        check=True,
        capture_output=True,
        text=True,
    )
    paths = [ROOT / line for line in listed.stdout.splitlines()]
    return [path for path in paths if path.exists() and not path.stem.endswith(("_pb2", "_pb2_grpc"))]


def imported(tree: ast.Module) -> Iterator[tuple[int, str]]:
    """Yield line and top-level name of every import, wherever it stands."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            for alias in node.names:
                yield node.lineno, alias.name.split(".")[0]
        elif isinstance(node, ast.ImportFrom) and node.module and not node.level:
            yield node.lineno, node.module.split(".")[0]


def sizes(path: Path, text: str, tree: ast.Module) -> Iterator[str]:
    """A file fits on a few screens, a function on one."""
    lines = text.count("\n")
    if lines > MAX_FILE_LINES:
        yield f"{path}: {lines} lines; at most {MAX_FILE_LINES}"
    for node in ast.walk(tree):
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef) and node.end_lineno:
            length = node.end_lineno - node.lineno + 1
            if length > MAX_FUNCTION_LINES:
                yield f"{path}:{node.lineno}: {node.name} has {length} lines; at most {MAX_FUNCTION_LINES}"


def safety(path: Path, _text: str, tree: ast.Module) -> Iterator[str]:
    """Nothing that executes data is imported or called."""
    for line, name in imported(tree):
        if name in UNSAFE_MODULES:
            yield f"{path}:{line}: imports {name}, which executes what it reads"
    for node in ast.walk(tree):
        if isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and node.func.id in UNSAFE_CALLS:
            yield f"{path}:{node.lineno}: calls {node.func.id}"


def cores(path: Path, _text: str, tree: ast.Module) -> Iterator[str]:
    """A core has no clock, lock, socket, log line or randomness of its own."""
    if "core" not in path.parts or "tests" in path.parts:
        return
    for line, name in imported(tree):
        if name in CORE_FORBIDDEN:
            yield f"{path}:{line}: a core imports {name}; pass its effect in as a value"


def swallowed(path: Path, _text: str, tree: ast.Module) -> Iterator[str]:
    """No exception disappears without a word."""
    for node in ast.walk(tree):
        if not isinstance(node, ast.ExceptHandler) or len(node.body) != 1:
            continue
        broad = node.type is None or (
            isinstance(node.type, ast.Name) and node.type.id in {"Exception", "BaseException"}
        )
        if broad and isinstance(node.body[0], ast.Pass):
            yield f"{path}:{node.lineno}: swallows every exception"


def sentences(path: Path, _text: str, tree: ast.Module) -> Iterator[str]:
    """Every test says in one sentence which behaviour it proves."""
    if not path.name.startswith("test_"):
        return
    for node in ast.walk(tree):
        is_test = isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef) and node.name.startswith("test_")
        if (
            is_test
            and isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef)
            and not ast.get_docstring(node)
        ):
            yield f"{path}:{node.lineno}: {node.name} has no sentence"


def complaints(path: Path) -> Iterator[str]:
    """Apply every rule to one file."""
    text = path.read_text()
    tree = ast.parse(text)
    shown = path.relative_to(ROOT)
    for rule in (sizes, safety, cores, swallowed, sentences):
        yield from rule(shown, text, tree)


def main() -> int:
    """Print every complaint; exit code 1 when there is one."""
    found = [line for path in sources() for line in complaints(path)]
    print("\n".join(found) or "tidy", file=sys.stderr if found else sys.stdout)
    return int(bool(found))


if __name__ == "__main__":
    sys.exit(main())
