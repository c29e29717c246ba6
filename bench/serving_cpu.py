"""Whose CPU time was it: figures of /proc for processes and, in the model server, for its threads.

The model server computes and serves in one process. What serving costs is what remains when the engine is
taken away, and threads tell them apart by their kernel names (`thread_names` gives Python's threads theirs):

    engine    device, load...        Python's, and every native thread that they made
              tf_..., llvm...        XLA's own
    serving   all others: the main thread (event loop), gRPC's threads, the tokenizer pool

Resolution is the kernel's tick, 10 ms, so a run must last seconds.
"""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path

_TICKS_PER_S = os.sysconf("SC_CLK_TCK")
_ENGINE_NAMES = ("device", "load", "tf_", "XLA", "llvm")


@dataclass(frozen=True)
class Thread:
    """One thread: its kernel name and the CPU seconds it has used."""

    name: str
    cpu_s: float


def threads(pid: int) -> dict[int, Thread]:
    """Return all threads of a process, by id."""
    found = {}
    for folder in Path(f"/proc/{pid}/task").iterdir():
        # The name stands in brackets and may hold spaces; user and system time are fields 14 and 15.
        head, _, rest = (folder / "stat").read_text().rpartition(")")
        fields = rest.split()
        found[int(folder.name)] = Thread(
            head.partition("(")[2], (int(fields[11]) + int(fields[12])) / _TICKS_PER_S
        )
    return found


def process_cpu_s(pid: int) -> float:
    """Return the CPU seconds of a whole process, threads that have ended included."""
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / _TICKS_PER_S


def cpu_by_name(before: dict[int, Thread], after: dict[int, Thread]) -> dict[str, float]:
    """Return the CPU seconds used between two calls of `threads`, summed by the threads' names."""
    used: dict[str, float] = {}
    for tid, thread in after.items():
        seconds = thread.cpu_s - (before[tid].cpu_s if tid in before else 0.0)
        used[thread.name] = used.get(thread.name, 0.0) + seconds
    return used


def engine_s(by_name: dict[str, float]) -> float:
    """Return the engine's part."""
    return sum(seconds for name, seconds in by_name.items() if name.startswith(_ENGINE_NAMES))


def serving_s(by_name: dict[str, float]) -> float:
    """Return the rest."""
    return sum(by_name.values()) - engine_s(by_name)
