"""TLS from PEM files, the same three for every listener and every channel of a process.

    --tls_cert_file   this process's certificate (with its chain)      SAX_TLS_CERT_FILE
    --tls_key_file    its private key                                  SAX_TLS_KEY_FILE
    --tls_ca_file     who is trusted, to call and to be called         SAX_TLS_CA_FILE
    --tls_client_auth require: callers must show a certificate of that authority; off: they need not
    --tls_server_name name to expect in a server's certificate instead of the address that was called

A `PemWatch` reads the files and checks that they belong together before anything is bound; when they
change, new connections use the new ones, and a pair of which only half has been replaced is passed over
until the other half comes. Keys that every user may read are refused. TLS 1.2 is the oldest version
spoken: gRPC's own default, and set here for HTTP.
"""

import ssl
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import grpc
from sax_common.errors import FailedPrecondition, InvalidArgument

from sax_runtime.watched_files import Watched, read_small

ClientAuth = Literal["", "require", "off"]


@dataclass(frozen=True, slots=True, kw_only=True)
class TlsFiles:
    """Paths, empty where there is none. `server_name` is for outgoing connections."""

    cert: str = ""
    key: str = ""
    ca: str = ""
    client_auth: ClientAuth = ""
    server_name: str = ""

    @property
    def can_serve(self) -> bool:
        """Say whether listeners speak TLS."""
        return bool(self.cert)

    @property
    def is_required(self) -> bool:
        """Say whether callers must show a certificate: by default where there is an authority to ask."""
        return self.can_serve and (self.client_auth == "require" or (not self.client_auth and bool(self.ca)))

    def check(self) -> None:
        """Raise InvalidArgument when the combination makes no sense, naming the missing flag."""
        if bool(self.cert) != bool(self.key):
            given, missing = ("cert", "key") if self.cert else ("key", "cert")
            raise InvalidArgument(f"--tls_{given}_file is given without --tls_{missing}_file")
        if self.client_auth == "require" and not (self.cert and self.ca):
            raise InvalidArgument(
                "--tls_client_auth=require needs --tls_cert_file, --tls_key_file and --tls_ca_file"
            )


@dataclass(frozen=True, slots=True)
class Pem:
    """Contents of the files; empty where there is none."""

    cert: bytes
    key: bytes
    ca: bytes


class PemWatch:
    """The files of `TlsFiles`, read again when they change. Safe from any thread."""

    def __init__(self, files: TlsFiles) -> None:
        """Read and check them. Raises InvalidArgument or FailedPrecondition, meant for a person."""
        files.check()
        self.files = files
        paths = [path for path in (files.cert, files.key, files.ca) if path]
        self._watched = Watched(paths, self._parse)

    def versioned(self) -> tuple[Pem, int]:
        """Return the contents in force and their number."""
        return self._watched.versioned()

    def _parse(self, contents: Sequence[bytes]) -> Pem:
        rest = iter(contents)
        cert, key, ca = (next(rest) if path else b"" for path in self._paths())
        if self.files.key:
            read_small(Path(self.files.key).expanduser(), is_secret=True)
        # OpenSSL judges what belongs together; it wants names of files, which hold what was just read.
        _context(self.files, ssl.PROTOCOL_TLS_SERVER)
        return Pem(cert, key, ca)

    def _paths(self) -> tuple[str, str, str]:
        return self.files.cert, self.files.key, self.files.ca


def server_credentials(watch: PemWatch) -> grpc.ServerCredentials:
    """Return credentials for a gRPC server that follow the files."""
    pem, version = watch.versioned()
    seen = [version]

    def newer() -> grpc.ServerCertificateConfiguration | None:
        """Return what is new since the last handshake; gRPC calls this from its own threads."""
        fresh, number = watch.versioned()
        if number == seen[0]:
            return None
        seen[0] = number
        return _certificates(fresh)

    return grpc.dynamic_ssl_server_credentials(
        _certificates(pem), newer, require_client_authentication=watch.files.is_required
    )


def server_context(watch: PemWatch, *, may_be_anonymous: bool = False) -> ssl.SSLContext:
    """Return a context for an HTTP listener that follows the files.

    With `may_be_anonymous` a certificate is asked for but not insisted on, so that probes get through and the
    rules of the routes decide.
    """
    files = watch.files
    verify = ssl.CERT_NONE
    if files.is_required:
        verify = ssl.CERT_OPTIONAL if may_be_anonymous else ssl.CERT_REQUIRED

    def make() -> ssl.SSLContext:
        made = _context(files, ssl.PROTOCOL_TLS_SERVER)
        made.verify_mode = verify
        return made

    return _following(watch, make)


def channel_credentials(pem: Pem) -> grpc.ChannelCredentials:
    """Return credentials for a channel; with a certificate of our own if there is one."""
    return grpc.ssl_channel_credentials(
        root_certificates=pem.ca or None,
        private_key=pem.key or None,
        certificate_chain=pem.cert or None,
    )


def _certificates(pem: Pem) -> grpc.ServerCertificateConfiguration:
    return grpc.ssl_server_certificate_configuration([(pem.key, pem.cert)], pem.ca or None)


def _following(watch: PemWatch, make: Callable[[], ssl.SSLContext]) -> ssl.SSLContext:
    """Return a context that hands each new connection to a context of the newest files."""
    outer = newest = make()
    version = watch.versioned()[1]

    def choose(connection: ssl.SSLObject, _name: str | None, _outer: ssl.SSLContext) -> None:
        nonlocal newest, version
        number = watch.versioned()[1]
        if number != version:
            newest, version = make(), number
        if newest is not outer:
            connection.context = newest

    # Called for every handshake, with or without a server name in it.
    outer.sni_callback = choose
    return outer


def _context(files: TlsFiles, protocol: int) -> ssl.SSLContext:
    made = ssl.SSLContext(protocol)
    made.minimum_version = ssl.TLSVersion.TLSv1_2
    try:
        if files.cert:
            made.load_cert_chain(files.cert, files.key, password=_no_password)
    except (ssl.SSLError, OSError) as error:
        raise FailedPrecondition(f"{files.cert} and {files.key} cannot be used: {_why(error)}") from error
    try:
        if files.ca:
            made.load_verify_locations(files.ca)
    except (ssl.SSLError, OSError) as error:
        raise FailedPrecondition(f"{files.ca} holds no certificates to trust: {_why(error)}") from error
    return made


def _no_password() -> str:
    """Refuse an encrypted key: OpenSSL would ask at the terminal and wait."""
    raise FailedPrecondition("the private key is encrypted; give one without a passphrase, readable by few")


def _why(error: Exception) -> str:
    reason = getattr(error, "reason", None) or getattr(error, "strerror", None) or str(error)
    if reason == "KEY_VALUES_MISMATCH":
        return "the key does not belong to the certificate"
    return str(reason)
