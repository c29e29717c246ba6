"""Which address this process tells others, and how a host and a port are written together.

A server binds a wildcard and then has to name one address at which its peers reach it: the admin writes
it into `location.proto`, a model server sends it in `Join`. The original uses two rules, one per program,
and both are kept (`Rule`): the admin takes the first usable address of an interface, the model server
the first usable address of its host name. `SAX_DEBUG_IPADDR=1` means 127.0.0.1 in both.

One thing is different on purpose. The original accepts a host name that maps to 127.0.1.1, as Debian
writes it into /etc/hosts, and then advertises an address that no other machine can use; here loopback
addresses are passed over and the interfaces are asked next.
"""

import ipaddress
import os
import socket
import struct
import sys
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Literal

from sax_common.errors import FailedPrecondition, InvalidArgument

Rule = Literal["host_name", "interface"]

_MAX_PORT = 65535
_UNIQUE_LOCAL_FIRST_BYTE = 0xFC  # The original's admin takes no IPv6 address from fc00:: upwards.
_SIOCGIFADDR = 0x8915  # Linux, <linux/sockios.h>.


def join_host_port(host: str, port: int) -> str:
    """Write `host:port`, with brackets round an IPv6 host."""
    bare = host.removeprefix("[").removesuffix("]")
    return f"[{bare}]:{port}" if ":" in bare else f"{bare}:{port}"


def split_host_port(address: str) -> tuple[str, int]:
    """Read `host:port` or `[v6]:port`; the brackets are taken off.

    Raises InvalidArgument when there is no port or it is not a number from 0 to 65535.
    """
    host, colon, port = address.rpartition(":")
    bare = host.removeprefix("[").removesuffix("]")
    if not colon or not port.isascii() or not port.isdigit() or int(port) > _MAX_PORT:
        raise InvalidArgument(
            f"address {address!r} is not of the form host:port with a port up to {_MAX_PORT}"
        )
    if ":" in bare and not host.startswith("["):
        raise InvalidArgument(f"address {address!r} needs brackets round its IPv6 host, as in [::1]:10000")
    return bare, int(port)


def is_loopback(host: str) -> bool:
    """Say whether only this machine can reach `host`; a wildcard is not loopback."""
    if host == "localhost" or host.startswith("unix:"):
        return True
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False


def my_address(port: int, *, rule: Rule = "host_name", environ: Mapping[str, str] = os.environ) -> str:
    """Return the `host:port` that peers should use for this process.

    `host_name` is the model server's rule and ends, as the original's, with the word `localhost`;
    `interface` is the admin's rule and raises FailedPrecondition when no interface has a usable address.
    May ask the resolver: call it once, at start.
    """
    if environ.get("SAX_DEBUG_IPADDR") == "1":
        return join_host_port("127.0.0.1", port)
    if rule == "host_name":
        found = first_usable(_host_name_addresses()) or first_usable(_interface_addresses())
        return join_host_port(found or "localhost", port)
    found = first_usable(_interface_addresses()) or first_usable(_host_name_addresses())
    if found is None:
        raise FailedPrecondition(
            "no network interface has an address that others can reach; "
            "set SAX_DEBUG_IPADDR=1 to serve on 127.0.0.1 only"
        )
    return join_host_port(found, port)


def first_usable(candidates: Iterable[str]) -> str | None:
    """Return the first address that another machine could use (private networks are fine)."""
    return next((text for text in candidates if _is_usable(text)), None)


def _is_usable(text: str) -> bool:
    try:
        address = ipaddress.ip_address(text)
    except ValueError:
        return False
    if address.is_loopback or address.is_link_local or address.is_multicast or address.is_unspecified:
        return False
    return not (address.version == 6 and address.packed[0] >= _UNIQUE_LOCAL_FIRST_BYTE)  # noqa: PLR2004


def _host_name_addresses() -> list[str]:
    """IPv6 results of the host name before IPv4 ones, as the original's model server asks."""
    try:
        infos = socket.getaddrinfo(socket.gethostname(), None, type=socket.SOCK_STREAM)
    except OSError:
        return []  # A host name that does not resolve is common in containers: the interfaces know more.
    families = (socket.AF_INET6, socket.AF_INET)
    return [str(info[4][0]) for family in families for info in infos if info[0] == family]


def _interface_addresses() -> list[str]:
    """Addresses of the interfaces in the system's order; empty where the system is not Linux."""
    if sys.platform != "linux":
        return []
    inet6 = _interface_inet6()
    found: list[str] = []
    for _, name in socket.if_nameindex():
        found += _interface_inet4(name)
        found += inet6.get(name, [])
    return found


def _interface_inet4(name: str) -> list[str]:
    import fcntl  # noqa: PLC0415 - not on Windows, and only Linux comes here.

    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as probe:
        try:
            answer = fcntl.ioctl(probe.fileno(), _SIOCGIFADDR, struct.pack("256s", name.encode()[:15]))
        except OSError:
            return []  # The interface has no IPv4 address.
    return [socket.inet_ntoa(answer[20:24])]


def _interface_inet6() -> dict[str, list[str]]:
    found: dict[str, list[str]] = {}
    table = Path("/proc/net/if_inet6")
    lines = table.read_text(encoding="ascii").splitlines() if table.exists() else []
    for line in lines:
        packed, *_, name = line.split()
        found.setdefault(name, []).append(str(ipaddress.IPv6Address(bytes.fromhex(packed))))
    return found
