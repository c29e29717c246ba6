"""Whose CPU time was it: figures of /proc for processes and, in the model server, for its threads.

The model server computes and serves in one process. What serving costs is what remains when the engine is
taken away, and threads tell them apart: XLA names its own (`tf_XLA...`, `XLA...`), and of the threads that
Python made, the device thread is the one that has worked most (it drives the engine without a pause; the
others are gRPC's poller and the tokenizer pool). The main thread is the event loop. Resolution is the
kernel's tick, 10 ms, so a run must last seconds.
"""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path

_TICKS_PER_S = os.sysconf("SC_CLK_TCK")
_ENGINE_NAMES = ("tf_XLA", "XLA", "tf_", "Eigen", "jax", "pjrt", "OMP", "gomp")


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


@dataclass(frozen=True)
class ModelServerCpu:
    """CPU seconds of a model server between two looks."""

    loop_s: float
    helpers_s: float
    engine_s: float

    @property
    def serving_s(self) -> float:
        """All that is not the engine."""
        return self.loop_s + self.helpers_s


def model_server_cpu(pid: int, before: dict[int, Thread], after: dict[int, Thread]) -> ModelServerCpu:
    """Split what a model server has used between two calls of `threads`."""
    used = {
        tid: thread.cpu_s - (before[tid].cpu_s if tid in before else 0.0) for tid, thread in after.items()
    }
    is_engine = {tid: thread.name.startswith(_ENGINE_NAMES) for tid, thread in after.items()}
    # Threads of Python keep the name of the process; gRPC core's have names of their own.
    unnamed = [tid for tid, thread in after.items() if tid != pid and thread.name == after[pid].name]
    if unnamed:
        is_engine[max(unnamed, key=lambda tid: after[tid].cpu_s)] = True
    return ModelServerCpu(
        loop_s=used[pid],
        helpers_s=sum(seconds for tid, seconds in used.items() if tid != pid and not is_engine[tid]),
        engine_s=sum(seconds for tid, seconds in used.items() if is_engine[tid]),
    )
