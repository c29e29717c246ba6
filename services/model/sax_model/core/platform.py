"""Names of chips and topologies as users type them, and the enum names they stand for.

Reference: reference/model_server.md 1.2.
A name that is not known is reported as UNKNOWN, which every admin accepts; it is never an error.
"""

from math import prod

CHIPS = {
    "tpuv2": "CHIP_TYPE_TPU_V2",
    "tpuv3": "CHIP_TYPE_TPU_V3",
    "tpuv4": "CHIP_TYPE_TPU_V4",
    "tpuv4i": "CHIP_TYPE_TPU_V4I",
    "tpuv5e": "CHIP_TYPE_TPU_V5E",
    # The original has the enum value and no name for it.
    "tpuv6e": "CHIP_TYPE_TPU_V6E",
    "p100": "CHIP_TYPE_GPU_P100",
    "v100": "CHIP_TYPE_GPU_V100",
    "t4": "CHIP_TYPE_GPU_T4",
    "l4": "CHIP_TYPE_GPU_L4",
    "a100": "CHIP_TYPE_GPU_A100",
    "h100": "CHIP_TYPE_GPU_H100",
    "cpu": "CHIP_TYPE_CPU",
}
UNKNOWN_CHIP = "CHIP_TYPE_UNKNOWN"
UNKNOWN_TOPOLOGY = "CHIP_TOPOLOGY_UNKNOWN"


def chip_type(name: str) -> str:
    """Return the enum name of a chip, whatever its case."""
    return CHIPS.get(name.lower(), UNKNOWN_CHIP)


def topology_type(name: str, known: frozenset[str]) -> str:
    """Return the enum name of a topology such as `2x2x1`; `known` are the enum's own names."""
    shape = name.lower().removesuffix("_untwisted").removesuffix("_twisted")
    candidate = f"CHIP_TOPOLOGY_{shape.upper()}"
    return candidate if candidate in known else UNKNOWN_TOPOLOGY


def physical_chips(topology: str) -> int | None:
    """Return the product of the parts of `2x2x1`, None when they are not numbers (`?x?`)."""
    parts = topology.lower().removesuffix("_untwisted").removesuffix("_twisted").split("x")
    return prod(int(part) for part in parts) if all(part.isdigit() for part in parts) else None
