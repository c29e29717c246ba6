"""The security of one process put together from its flags.

    class ServerConfig(LogFlags, SecurityFlags): ...
    security = make_security(config, cell="test")
    GrpcServer(guard=security.guard, credentials=security.server_credentials)
    StatusServer(health, security=security)
    open_channel(address, outgoing=security.outgoing)

Flags and their environment have the names that clients use too (SAX_TLS_CA_FILE ...), so one environment
configures a cell and its tools. Without any flag everything is off (`PLAIN`).
"""

import ssl
from typing import Literal

import grpc
from pydantic import Field
from sax_common.config import Config
from sax_common.errors import InvalidArgument

from sax_runtime import tls
from sax_runtime.acl import watch_acl_file
from sax_runtime.authorization import Guard
from sax_runtime.outgoing import Outgoing, make_outgoing
from sax_runtime.tls import PemWatch, TlsFiles
from sax_runtime.tokens import watch_hashes


class SecurityFlags(Config):
    """Flags of every server: TLS, who is let in, and what it shows when it calls others."""

    tls_cert_file: str = Field(default="", description="Certificate (PEM, with chain); empty: no TLS.")
    tls_key_file: str = Field(default="", description="Its private key (PEM), not readable by everybody.")
    tls_ca_file: str = Field(
        default="", description="Authority (PEM) of the certificates that callers and called servers show."
    )
    tls_client_auth: Literal["", "require", "off"] = Field(
        default="",
        description="require: callers must show a certificate; off: they need not. "
        "Default: require when there is a --tls_ca_file.",
    )
    tls_server_name: str = Field(
        default="", description="Name to expect in the certificate of a called server, not its address."
    )
    acl_file: str = Field(
        default="", description="Access control lists (TOML). With it, whatever no rule allows is refused."
    )
    token_hashes_file: str = Field(
        default="", description="Bearer tokens to accept: lines of `name sha256-hex`."
    )
    token_file: str = Field(default="", description="Bearer token that this process sends with its calls.")


class Security:
    """What a process needs to listen and to call. Made once, at start; follows its files."""

    def __init__(self, *, guard: Guard, outgoing: Outgoing, pem: PemWatch | None = None) -> None:
        self.guard = guard
        self.outgoing = outgoing
        self._pem = pem

    @property
    def has_tls(self) -> bool:
        """Say whether listeners speak TLS."""
        return self._pem is not None

    @property
    def server_credentials(self) -> grpc.ServerCredentials | None:
        """Return credentials for a gRPC server; None for plain text."""
        return tls.server_credentials(self._pem) if self._pem is not None else None

    def server_context(self, *, may_be_anonymous: bool = False) -> ssl.SSLContext | None:
        """Return a context for an HTTP listener; None for plain text.

        `may_be_anonymous` is for ports with probes: no certificate is needed to connect, provided that access
        control is on and the rules of the routes decide.
        """
        if self._pem is None:
            return None
        return tls.server_context(self._pem, may_be_anonymous=may_be_anonymous and self.guard.is_on)


PLAIN = Security(guard=Guard(), outgoing=Outgoing())
"""No TLS and no access control: a cell on a laptop."""


def make_security(flags: SecurityFlags, *, cell: str) -> Security:
    """Read the files that the flags name. `cell` is the cell's short name, "" for a server of all cells.

    Raises InvalidArgument or FailedPrecondition with one sentence for a person.
    """
    files = TlsFiles(
        cert=flags.tls_cert_file,
        key=flags.tls_key_file,
        ca=flags.tls_ca_file,
        client_auth=flags.tls_client_auth,
        server_name=flags.tls_server_name,
    )
    files.check()
    if flags.token_hashes_file and not flags.acl_file:
        raise InvalidArgument("--token_hashes_file does nothing without --acl_file: tokens need rules")
    if flags.acl_file and not (flags.token_hashes_file or files.is_required):
        raise InvalidArgument(
            "--acl_file lets nobody in without --token_hashes_file or --tls_client_auth=require: "
            "callers could not show who they are"
        )
    guard = Guard(
        acls=watch_acl_file(flags.acl_file) if flags.acl_file else None,
        hashes=watch_hashes(flags.token_hashes_file) if flags.token_hashes_file else None,
        cell=cell,
        has_client_certificates=files.is_required,
    )
    pem = PemWatch(files) if files.can_serve else None
    return Security(guard=guard, outgoing=make_outgoing(files, flags.token_file), pem=pem)
