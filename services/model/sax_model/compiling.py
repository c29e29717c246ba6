"""Is a thread waiting for a compiler? Read from its stack, from outside.

A step that is the first of its shape compiles for seconds to minutes. Seen by its age alone it looks like a
hung device, and a server must not lose its clients for it. JAX and PyTorch have no sign of it that another
thread could read, but the stack has: tracing, lowering and compiling are done by a few files of theirs.
"""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from types import FrameType

COMPILERS = (
    "jax/_src/compiler.py",
    "jax/_src/interpreters/mlir.py",
    "jax/_src/interpreters/partial_eval.py",
    "torch/_dynamo/convert_frame.py",
    "torch/_inductor/compile_fx.py",
)


def is_compiling(thread_id: int | None) -> bool:
    """Tell whether a compiler is on the stack of this thread now; false for a thread that is gone."""
    frame: FrameType | None = None
    if thread_id is not None:
        frame = sys._current_frames().get(thread_id)  # noqa: SLF001 - public, despite its name.
    while frame is not None:
        if frame.f_code.co_filename.endswith(COMPILERS):
            return True
        frame = frame.f_back
    return False
