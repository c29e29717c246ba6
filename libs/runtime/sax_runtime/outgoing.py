"""What this process shows when it calls others, and whom it trusts to answer.

    SAX_TLS_CA_FILE      speak TLS, to servers that this authority vouches for
    SAX_TLS_CERT_FILE, SAX_TLS_KEY_FILE   and show this certificate
    SAX_TLS_SERVER_NAME  expect this name in a server's certificate, not the address called
    SAX_TOKEN_FILE       send the bearer token in this file

Without any of them, channels are plain, as on a laptop. `default()` reads the environment, so saxutil and a
program that uses the client library need no code for it; a server passes what its flags say. Files are read
again when they change.

A token is a secret and is sent only over TLS or on loopback; anything else is refused before it leaves.

A gateway that calls for somebody says so with `on_behalf_of`.
"""

import os
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from contextvars import ContextVar
from functools import lru_cache

import grpc
from sax_common.errors import FailedPrecondition, InvalidArgument

from sax_runtime import identity, tls, tokens
from sax_runtime.addresses import is_loopback
from sax_runtime.tls import PemWatch, TlsFiles
from sax_runtime.watched_files import Watched

Metadata = tuple[tuple[str, str], ...]

_on_behalf_of: ContextVar[str] = ContextVar("sax_on_behalf_of", default="")


class Outgoing:
    """The identity of a process towards others. `Outgoing()` shows nothing and speaks plain text."""

    def __init__(self, *, pem: PemWatch | None = None, token: Watched[str] | None = None) -> None:
        self._pem = pem
        self._token = token

    @property
    def is_secure(self) -> bool:
        """Say whether channels speak TLS."""
        return self._pem is not None

    @property
    def options(self) -> list[tuple[str, str]]:
        """Return channel options that belong to the credentials."""
        name = self._pem.files.server_name if self._pem is not None else ""
        return [("grpc.ssl_target_name_override", name)] if name else []

    def credentials(self) -> tuple[grpc.ChannelCredentials | None, int]:
        """Return credentials of the files as they are, and a number that changes with them."""
        if self._pem is None:
            return None, 0
        pem, version = self._pem.versioned()
        return tls.channel_credentials(pem), version

    @property
    def version(self) -> int:
        """Return the number of the files as they are; looks at most once a second."""
        return self._pem.versioned()[1] if self._pem is not None else 0

    def metadata(self, address: str) -> Metadata:
        """Return what every call to `address` carries. Raises FailedPrecondition rather than leak."""
        on_behalf_of = _on_behalf_of.get()
        shown: Metadata = ((identity.ON_BEHALF_OF, on_behalf_of),) if on_behalf_of else ()
        if self._token is None:
            return shown
        if not self.is_secure and not _is_local(address):
            raise FailedPrecondition(
                f"the bearer token would travel to {address} for all to read: speak TLS (SAX_TLS_CA_FILE)"
            )
        return ((identity.AUTHORIZATION, f"{tokens.BEARER}{self._token.get()}"), *shown)


def _is_local(address: str) -> bool:
    return is_loopback(address) or is_loopback(address.rpartition(":")[0].strip("[]"))


@contextmanager
def on_behalf_of(name: str) -> Iterator[None]:
    """Make calls in this context on behalf of the principal `name`; for programs in the role of a gateway."""
    before = _on_behalf_of.set(name)
    try:
        yield
    finally:
        _on_behalf_of.reset(before)


def make_outgoing(files: TlsFiles, token_file: str = "") -> Outgoing:
    """Return the identity that files give. Raises InvalidArgument or FailedPrecondition for a person."""
    if files.cert and not files.ca:
        files = TlsFiles(
            client_auth=files.client_auth
        )  # A server's own certificate; it trusts nobody to call.
    files.check()
    if files.server_name and not files.ca:
        raise InvalidArgument("--tls_server_name needs --tls_ca_file: without it calls do not speak TLS")
    return Outgoing(
        pem=PemWatch(files) if files.ca else None,
        token=tokens.watch_token(token_file) if token_file else None,
    )


def default(environ: Mapping[str, str] = os.environ) -> Outgoing:
    """Return the identity that the environment gives. Raises as `make_outgoing` does."""
    names = (
        "SAX_TLS_CERT_FILE",
        "SAX_TLS_KEY_FILE",
        "SAX_TLS_CA_FILE",
        "SAX_TLS_SERVER_NAME",
        "SAX_TOKEN_FILE",
    )
    return _cached(*(environ.get(name, "") for name in names))


@lru_cache(maxsize=8)
def _cached(cert: str, key: str, ca: str, server_name: str, token_file: str) -> Outgoing:
    return make_outgoing(TlsFiles(cert=cert, key=key, ca=ca, server_name=server_name), token_file)
