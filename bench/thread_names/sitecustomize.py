"""Gives threads of Python their names in the kernel too, as Python 3.14 does by itself.

`serving.py` puts this folder on PYTHONPATH of the model server, so that `/proc` tells the event loop,
gRPC's poller and the tokenizer pool from the device thread. Native threads inherit the name of the thread
that made them: those of a computation are called `device` or `loader` as well. Nothing else of the process
is changed.
"""

import threading
from pathlib import Path

_COMM = Path("/proc/thread-self/comm")
_KERNEL_NAME_BYTES = 15

_bootstrap = threading.Thread._bootstrap_inner  # type: ignore[attr-defined]  # noqa: SLF001 - no public hook exists.


def _named(self: threading.Thread) -> None:
    _COMM.write_bytes(self.name.encode()[:_KERNEL_NAME_BYTES])
    _bootstrap(self)


threading.Thread._bootstrap_inner = _named  # type: ignore[attr-defined]  # noqa: SLF001
