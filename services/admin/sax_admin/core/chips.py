"""Memory of the accelerators that the contract names, for servers that do not report their own.

Facts: reference/control_plane.md 2.8. Keys are numbers of `ModelServer.ChipType` and `.ChipTopology`.
"""

from __future__ import annotations

GIB = 1 << 30

# Chip type number -> GiB per core. What is not here (the CPU) has 64.
_GIB_PER_CORE = {
    0: 8,  # unknown
    2: 8,  # TPU v2
    4: 16,  # TPU v3
    5: 8,  # TPU v4i
    6: 16,  # TPU v4
    9: 16,  # P100
    10: 16,  # V100
    11: 40,  # A100
    13: 16,  # T4
    14: 80,  # H100
    15: 16,  # TPU v5e
    16: 24,  # L4
    17: 32,  # TPU v6e
}
_GIB_PER_CORE_OTHERWISE = 64

# Topology number -> cores. What is not here counts as one core.
_CORES = {
    1: 1, 2: 4, 3: 16, 4: 32, 5: 64, 6: 128, 7: 256, 8: 512, 9: 1024,
    10: 1, 11: 2, 12: 4, 13: 8, 14: 16, 15: 32, 16: 64, 17: 128, 18: 256, 19: 256, 20: 768,
    21: 8, 22: 1, 23: 4, 24: 2, 25: 8, 26: 16, 27: 512, 28: 8,
}  # fmt: skip


def cores(topology: int) -> int:
    """Return how many cores a topology has; 1 when it is unknown."""
    return _CORES.get(topology, 1)


def memory_bytes(chip_type: int, topology: int) -> int:
    """Return the device memory of a whole server of this kind, in bytes."""
    return _GIB_PER_CORE.get(chip_type, _GIB_PER_CORE_OTHERWISE) * GIB * cores(topology)
