"""Who calls: from a certificate, a bearer token, and a gateway's word, a `Principal`.

The life of an identity. TLS has checked the certificate against the authority before we see it. Its URI
`spiffe://<cell>/<role>/<name>` gives name and role, if `<cell>` is ours; a certificate without one is a
client by its common name. A bearer token gives a name. Who shows both is both. A caller in the role of a
gateway may then say for whom it calls (`sax-on-behalf-of`), and is judged as that client and nothing more; a
caller in any other role that tries is refused.

Nothing of a token or certificate is logged, only the name. What follows from a certificate alone is
remembered: a peer shows the same one with every call.
"""

import ipaddress
import re
import urllib.parse
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

from sax_common.access import AclTable, Principal, Role
from sax_common.errors import InvalidArgument, PermissionDenied, Unauthenticated
from sax_common.names import shown

from sax_runtime import tokens
from sax_runtime.addresses import split_host_port

AUTHORIZATION = "authorization"
ON_BEHALF_OF = "sax-on-behalf-of"
_SPIFFE = re.compile(r"spiffe://([\w.-]+)/([a-z]+)/([\w.@/-]+)", re.ASCII)
_NAME = re.compile(r"[\w.@/:+-]{1,256}", re.ASCII)


@dataclass(frozen=True, slots=True, kw_only=True)
class Certificate:
    """What a checked client certificate says: its common name, URIs, and host names and addresses."""

    common_name: str = ""
    uris: tuple[str, ...] = ()
    hosts: frozenset[str] = frozenset()


@dataclass(frozen=True, slots=True, kw_only=True)
class Shown:
    """What one caller has shown, unchecked but for the certificate."""

    certificate: Certificate | None = None
    authorization: str = ""
    on_behalf_of: str = ""


def principal_of(shown_by: Shown, *, cell: str, table: AclTable, hashes: tokens.Hashes) -> Principal | None:
    """Return who calls, None for nobody.

    `cell` is the short name of this cell, "" when a server is for all cells (no certificate gives a role
    there). Raises Unauthenticated for a token that is not known, PermissionDenied for a word that nobody
    but a gateway may give.
    """
    principal = _from_certificate(shown_by.certificate, cell) if shown_by.certificate is not None else None
    if shown_by.authorization:
        name = tokens.name_of(shown_by.authorization, hashes)
        principal = _with_token(name, principal)
    if shown_by.on_behalf_of:
        return _vouched(shown_by.on_behalf_of, principal, table)
    return principal


@lru_cache(maxsize=1024)
def _from_certificate(certificate: Certificate, cell: str) -> Principal | None:
    for uri in certificate.uris:
        found = _SPIFFE.fullmatch(uri)
        if found is not None:
            is_role_here = found[1] == cell and found[2] in set(Role)
            return Principal(
                name=uri,
                aliases=frozenset(_names(certificate)) - {uri},
                roles=frozenset({Role(found[2])}) if is_role_here else frozenset(),
                hosts=certificate.hosts,
            )
    names = _names(certificate)
    if not names:
        return None  # Nothing that a list could hold.
    return Principal(name=names[0], aliases=frozenset(names[1:]), hosts=certificate.hosts)


def _names(certificate: Certificate) -> list[str]:
    """The names in a certificate that a list can hold and a header can carry."""
    return [name for name in (certificate.common_name, *certificate.uris) if _NAME.fullmatch(name)]


def _with_token(name: str, holder: Principal | None) -> Principal:
    if holder is None:
        return Principal(name=name)
    return Principal(name=name, aliases=holder.names - {name}, roles=holder.roles, hosts=holder.hosts)


def _vouched(name: str, by: Principal | None, table: AclTable) -> Principal:
    if by is None:
        raise Unauthenticated(f"nobody known says on whose behalf ({ON_BEHALF_OF}) this call is made")
    if Role.GATEWAY not in table.roles_of(by):
        raise PermissionDenied(f"{by.name} is no gateway and may not call on behalf of others")
    if _NAME.fullmatch(name) is None:
        raise InvalidArgument(f"{shown(name)} is not the name of a principal")
    return Principal(name=name, vouched_by=by.name)


def shown_over_grpc(auth: Mapping[str, Sequence[bytes]], metadata: Sequence[tuple[str, Any]]) -> Shown:
    """Collect what a gRPC caller shows, from the connection's properties and the call's metadata."""
    headers = {key: value for key, value in metadata if key in (AUTHORIZATION, ON_BEHALF_OF)}
    return Shown(
        certificate=_grpc_certificate(auth),
        authorization=str(headers.get(AUTHORIZATION, "")),
        on_behalf_of=str(headers.get(ON_BEHALF_OF, "")),
    )


def _grpc_certificate(auth: Mapping[str, Sequence[bytes]]) -> Certificate | None:
    if not auth.get("x509_pem_cert"):
        return None
    common = _texts(auth, "x509_common_name")
    hosts = (*_texts(auth, "peer_dns"), *(normal_host(ip) for ip in _texts(auth, "peer_ip")))
    return Certificate(
        common_name=common[0] if common else "", uris=_texts(auth, "peer_uri"), hosts=frozenset(hosts)
    )


def _texts(auth: Mapping[str, Sequence[bytes]], key: str) -> tuple[str, ...]:
    return tuple(value.decode("utf-8", errors="replace") for value in auth.get(key, ()))


def certificate_of_ssl(found: Mapping[str, Any] | None) -> Certificate | None:
    """Read what `ssl.SSLObject.getpeercert` returns; None and {} mean that there is no certificate."""
    if not found:
        return None
    subject = {key: value for part in found.get("subject", ()) for key, value in part}
    names: Sequence[tuple[str, str]] = found.get("subjectAltName", ())
    hosts = [normal_host(value) for kind, value in names if kind in ("DNS", "IP Address")]
    return Certificate(
        common_name=str(subject.get("commonName", "")),
        uris=tuple(value for kind, value in names if kind == "URI"),
        hosts=frozenset(hosts),
    )


def peer_host(peer: str) -> str:
    """Return the address in gRPC's `ipv4:10.0.0.1:5000` or `ipv6:%5B::1%5D:5000`; "" for a Unix socket."""
    scheme, _, rest = urllib.parse.unquote(peer).partition(":")
    if scheme not in ("ipv4", "ipv6"):
        return ""
    return normal_host(split_host_port(rest)[0])


@lru_cache(maxsize=1024)
def normal_host(host: str) -> str:
    """Write a host in the one form in which hosts are compared."""
    if host.lower() == "localhost":
        return "127.0.0.1"
    try:
        address = ipaddress.ip_address(host)
    except ValueError:
        return host.lower()
    if isinstance(address, ipaddress.IPv6Address):
        if address.ipv4_mapped is not None:
            return str(address.ipv4_mapped)
        if address.is_loopback:
            return "127.0.0.1"  # The same machine, whichever family was tried first.
    return str(address)
