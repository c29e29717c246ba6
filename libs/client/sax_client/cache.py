"""Where a model was served last, kept in the user's cache folder.

While all admin servers are down, a running client goes on with the addresses it has; a *new* process would
have none. So every change is also written to ``$XDG_CACHE_HOME/sax`` (mode 0700, for it says where prompts
are sent), and read only when the admin cannot be asked. Wrong or old content costs failed connects and no
more, so nothing here raises: a cache that cannot be used is no cache. SAX_CACHE_DIR moves it; empty turns
it off.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import tempfile
from pathlib import Path

MAX_AGE_MS = 7 * 24 * 3600 * 1000
"""An address older than a week belongs to somebody else by now."""


def default_directory(environ: dict[str, str] | os._Environ[str] = os.environ) -> Path | None:
    """The user's cache folder for addresses; None when caching is off or there is no home."""
    if "SAX_CACHE_DIR" in environ:
        return Path(environ["SAX_CACHE_DIR"]) if environ["SAX_CACHE_DIR"] else None
    base = environ.get("XDG_CACHE_HOME") or (f"{environ['HOME']}/.cache" if environ.get("HOME") else "")
    return Path(base) / "sax" if base else None


class AddressCache:
    """One small JSON file per (root, model). Blocking, so it is called from a thread."""

    def __init__(self, directory: Path | None, *, root: str) -> None:
        self._directory = directory
        self._root = root

    def load(self, model_id: str, *, now_ms: int) -> frozenset[str]:
        """The addresses written last; empty when there are none, or they are too old or damaged."""
        path = self._path(model_id)
        if path is None:
            return frozenset()
        try:
            content = json.loads(path.read_text())
            is_young = now_ms - int(content["saved_unix_ms"]) <= MAX_AGE_MS
            addresses = [str(address) for address in content["addresses"]]
        except (OSError, ValueError, KeyError, TypeError):
            return frozenset()
        return frozenset(addresses) if is_young else frozenset()

    def save(self, model_id: str, addresses: frozenset[str], *, now_ms: int) -> None:
        """Replace the file in one step; a folder that cannot be written is left alone."""
        path = self._path(model_id)
        if path is None:
            return
        content = {
            "root": self._root,
            "model": model_id,
            "addresses": sorted(addresses),
            "saved_unix_ms": now_ms,
        }
        # A cache is a convenience: a read-only container must work as if it had none.
        with contextlib.suppress(OSError):
            path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
            with tempfile.NamedTemporaryFile("w", dir=path.parent, prefix=".", delete=False) as file:
                json.dump(content, file)
            Path(file.name).replace(path)

    def forget(self, model_id: str) -> None:
        """Remove the file of a model that is no longer published."""
        path = self._path(model_id)
        if path is not None:
            with contextlib.suppress(OSError):
                path.unlink(missing_ok=True)

    def _path(self, model_id: str) -> Path | None:
        if self._directory is None:
            return None
        digest = hashlib.sha256(f"{self._root}\0{model_id}".encode()).hexdigest()
        return self._directory / f"{digest[:32]}.json"
