"""Taking a TCP port, and saying in one sentence why it could not be had.

gRPC and asyncio each report a busy port in their own way (gRPC as a `RuntimeError` that names neither the
reason nor the remedy). So every listener of this project first asks the system here, with a plain socket,
and the person at the terminal reads which port, why, and what to do.
"""

import errno
import socket

from sax_common.errors import FailedPrecondition

from sax_runtime.addresses import join_host_port, split_host_port


class PortUnavailable(FailedPrecondition):
    """The address could not be bound; the message names it, the reason and a remedy."""


_REASONS = {
    errno.EADDRINUSE: "another process is using it: stop that process or choose another port",
    errno.EACCES: "this user may not bind it: choose a port from 1024 upwards",
    errno.EADDRNOTAVAIL: "this machine has no such address: choose one that `ip address` shows",
    errno.EAFNOSUPPORT: "this machine has no IPv6: choose an IPv4 address such as 0.0.0.0 or 127.0.0.1",
}


def listen_socket(address: str, *, purpose: str) -> socket.socket:
    """Return a socket bound to `address` (`host:port`, port 0 = any free one), non-blocking, not listening.

    Raises PortUnavailable. `purpose` says in the message what the port was for, as in "status pages".
    """
    host, port = split_host_port(address)
    try:
        family, kind, proto, _, target = _resolve(host, port)
        bound = socket.socket(family, kind, proto)
    except OSError as error:
        raise unavailable(address, purpose=purpose, cause=error) from error
    try:
        # REUSEADDR only forgives connections in TIME_WAIT of a predecessor; two listeners still collide.
        bound.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        if family == socket.AF_INET6 and host == "::":
            bound.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 0)
        bound.setblocking(False)  # noqa: FBT003 - the socket module's own signature.
        bound.bind(target)
    except OSError as error:
        bound.close()
        raise unavailable(address, purpose=purpose, cause=error) from error
    return bound


def check_free(address: str, *, purpose: str) -> None:
    """Raise PortUnavailable when `address` cannot be listened on now; holds nothing afterwards.

    A machine without IPv6 passes a wildcard `[::]` here, for gRPC then listens on 0.0.0.0.
    """
    host, port = split_host_port(address)
    if host == "::" and not _has_ipv6():
        address = join_host_port("0.0.0.0", port)  # noqa: S104 - the caller asked for the wildcard.
    with listen_socket(address, purpose=purpose) as probe:
        try:
            probe.listen(1)  # Two sockets may bind one port with REUSEADDR; only one may listen.
        except OSError as error:
            raise unavailable(address, purpose=purpose, cause=error) from error


def unavailable(address: str, *, purpose: str, cause: Exception) -> PortUnavailable:
    """Put the operating system's reason into words that say what to do."""
    number = cause.errno if isinstance(cause, OSError) else None
    reason = _REASONS.get(number or 0, str(cause))
    port = address.rpartition(":")[2]
    return PortUnavailable(f"cannot listen on port {port} ({address}) for {purpose}: {reason}")


def _resolve(host: str, port: int) -> tuple[int, int, int, str, tuple[str, int]]:
    infos = socket.getaddrinfo(host or None, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE)
    # `localhost` may come as ::1 first; the original's peers expect 127.0.0.1 there.
    infos.sort(key=lambda info: host == "localhost" and info[0] != socket.AF_INET)
    return infos[0]  # type: ignore[return-value] # typeshed unites the v4 and v6 forms of the address.


def _has_ipv6() -> bool:
    try:
        with socket.socket(socket.AF_INET6, socket.SOCK_STREAM) as probe:
            probe.bind(("::", 0))
    except OSError:
        return False
    return True
