"""The one client of this process, made when it is first needed.

A child made by fork gets a client of its own (the loop's thread does not survive a fork), and so does a
process that changes SAX_ROOT, as tests do.
"""

# ruff: noqa: INP001 - saxml is a PEP 420 namespace, shared with the protos.

from __future__ import annotations

import os
import threading

from sax_client import Client

_lock = threading.Lock()
_clients: dict[tuple[int, str], Client] = {}


def client() -> Client:
    """The client for the present SAX_ROOT; never closed, its thread ends with the process."""
    key = (os.getpid(), os.environ.get("SAX_ROOT", ""))
    with _lock:
        if key not in _clients:
            _clients[key] = Client(key[1] or None)
        return _clients[key]
