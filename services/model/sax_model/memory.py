"""How much memory the device of this server has, and how much is used: two numbers for GetStatus.

On an accelerator the runtime's own figures, on CPU what the process may use (the control group's limit,
else the machine's memory) and what it holds.
"""

import resource
import sys
from pathlib import Path

CGROUP_LIMITS = (Path("/sys/fs/cgroup/memory.max"), Path("/sys/fs/cgroup/memory/memory.limit_in_bytes"))
MEMINFO = Path("/proc/meminfo")
STATM = Path("/proc/self/statm")


def device_memory(*, is_device_in_use: bool) -> tuple[int, int]:
    """Return (total bytes, used bytes); 0 where the system does not say.

    An accelerator that nobody uses yet is not asked: that would start its runtime, which takes seconds.
    """
    stats = _accelerator_stats() if is_device_in_use else []
    if stats:
        return sum(total for total, _ in stats), sum(used for _, used in stats)
    return _process_limit(), _resident()


def _accelerator_stats() -> list[tuple[int, int]]:
    jax = sys.modules.get("jax")
    if jax is None or jax.default_backend() == "cpu":
        return []
    found = [device.memory_stats() or {} for device in jax.local_devices()]
    return [(int(each.get("bytes_limit", 0)), int(each.get("bytes_in_use", 0))) for each in found]


def _process_limit() -> int:
    totals = [
        int(line.split()[1]) * 1024 for line in _text(MEMINFO).splitlines() if line.startswith("MemTotal:")
    ]
    limits = [int(text) for path in CGROUP_LIMITS if (text := _text(path).strip()).isdigit()]
    return min([*totals, *limits], default=0)


def _resident() -> int:
    fields = _text(STATM).split()
    return int(fields[1]) * resource.getpagesize() if len(fields) > 1 else 0


def _text(path: Path) -> str:
    """Return the file's text, "" where this system has no such file."""
    try:
        return path.read_text(encoding="ascii")
    except OSError:
        return ""
