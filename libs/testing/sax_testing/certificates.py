"""A certificate authority for tests: keys and certificates as PEM files, made in milliseconds.

    authority = Authority(tmp_path)
    server = authority.issue("admin-1", role="admin", hosts=("127.0.0.1", "localhost"))
    TlsFiles(cert=server.cert, key=server.key, ca=authority.ca)

The first URI of a certificate is `spiffe://<cell>/<role>/<name>`, as `sax_runtime.identity` reads it. Keys
are written with mode 0600; the files are for the length of a test and valid for a day.
"""

from __future__ import annotations

import datetime as dt
import ipaddress
from dataclasses import dataclass
from typing import TYPE_CHECKING

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

_DAY = dt.timedelta(days=1)


@dataclass(frozen=True, slots=True)
class Issued:
    """Paths of a certificate and its key."""

    cert: str
    key: str


class Authority:
    """Signs certificates and keeps everything in one folder; `ca` is the path of its own certificate."""

    def __init__(self, folder: Path, *, name: str = "test-authority", cell: str = "test") -> None:
        self._folder = folder
        self._name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)])
        self._key = ec.generate_private_key(ec.SECP256R1())
        self._cell = cell
        folder.mkdir(parents=True, exist_ok=True)
        ca = folder / f"{name}.pem"
        made = _builder(self._name, self._name, self._key)
        made = made.add_extension(x509.BasicConstraints(ca=True, path_length=0), critical=True)
        ca.write_bytes(_pem(made.sign(self._key, hashes.SHA256())))
        self.ca = str(ca)

    def issue(
        self, name: str, *, role: str = "", hosts: Sequence[str] = ("127.0.0.1", "localhost"), file: str = ""
    ) -> Issued:
        """Write a certificate for `name`; without a role it has no URI. Stem: `file`, or `name`."""
        key = ec.generate_private_key(ec.SECP256R1())
        subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)])
        names = [_host(host) for host in hosts]
        if role:
            names.append(x509.UniformResourceIdentifier(f"spiffe://{self._cell}/{role}/{name}"))
        made = _builder(subject, self._name, key).add_extension(
            x509.BasicConstraints(ca=False, path_length=None), critical=True
        )
        if names:
            made = made.add_extension(x509.SubjectAlternativeName(names), critical=False)
        cert_path, key_path = (self._folder / f"{file or name}.{kind}" for kind in ("pem", "key"))
        key_path.touch(mode=0o600)
        key_path.write_bytes(
            key.private_bytes(
                serialization.Encoding.PEM,
                serialization.PrivateFormat.PKCS8,
                serialization.NoEncryption(),
            )
        )
        cert_path.write_bytes(_pem(made.sign(self._key, hashes.SHA256())))
        return Issued(str(cert_path), str(key_path))


def _host(host: str) -> x509.GeneralName:
    try:
        return x509.IPAddress(ipaddress.ip_address(host))
    except ValueError:
        return x509.DNSName(host)


def _builder(
    subject: x509.Name, issuer: x509.Name, key: ec.EllipticCurvePrivateKey
) -> x509.CertificateBuilder:
    now = dt.datetime.now(dt.UTC)
    return (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(issuer)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - _DAY)
        .not_valid_after(now + _DAY)
    )


def _pem(certificate: x509.Certificate) -> bytes:
    return certificate.public_bytes(serialization.Encoding.PEM)
