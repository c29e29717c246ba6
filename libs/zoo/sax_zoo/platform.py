"""What a model server runs on, as far as a model needs to know: chip name and number of devices."""

from dataclasses import dataclass

from sax_common.errors import InvalidArgument


@dataclass(frozen=True, slots=True)
class Platform:
    """A chip (`cpu`, `h100`, `tpuv5e`, ...) and how many devices one server of this kind has."""

    chip: str = "cpu"
    devices: int = 1


def parse_platform(chip: str, topology: str) -> Platform:
    """Read `--platform_chip` and `--platform_topology`; `4x4` is 16 devices.

    `_twisted` says how they are wired, not how many.
    """
    sizes = topology.removesuffix("_twisted").removesuffix("_untwisted").split("x")
    devices = 1
    for size in sizes:
        if not (size.isascii() and size.isdecimal() and int(size) > 0):
            raise InvalidArgument(f"Topology {topology!r} is not a product of sizes such as 1, 8 or 4x4.")
        devices *= int(size)
    return Platform(chip, devices)
