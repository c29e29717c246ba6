"""The small objects of a cell as values: configuration and location as in the original, and our lease."""

from __future__ import annotations

from dataclasses import dataclass

from google.protobuf.message import DecodeError
from sax_common.errors import DataLoss
from saxml.protobuf import admin_pb2, state_pb2

from sax_admin.core.cell import Term
from sax_admin.core.lease import Lease
from sax_admin.wire import unknown_fields


@dataclass(frozen=True, slots=True, kw_only=True)
class CellConfig:
    """What `config.proto` says. `cell_uid` is empty when an original program wrote it."""

    fs_root: str
    admin_acl: str = ""
    cell_uid: str = ""
    unknown: bytes = b""

    def __str__(self) -> str:
        """Show it as the original's log line does."""
        acl = f' admin_acl: "{self.admin_acl}"' if self.admin_acl else ""
        return f'fs_root: "{self.fs_root}"{acl}'


def decode_config(data: bytes) -> CellConfig:
    """Read `config.proto`. Raises DataLoss when it is no sax.Config."""
    try:
        message = admin_pb2.Config.FromString(data)
    except DecodeError as error:
        raise DataLoss(f"config.proto is no sax.Config message: {error}") from error
    return CellConfig(
        fs_root=message.fs_root,
        admin_acl=message.admin_acl,
        cell_uid=message.cell_uid,
        unknown=unknown_fields(message),
    )


def encode_config(config: CellConfig) -> bytes:
    """Write `config.proto`."""
    message = admin_pb2.Config(fs_root=config.fs_root, admin_acl=config.admin_acl, cell_uid=config.cell_uid)
    message.MergeFromString(config.unknown)
    return message.SerializeToString()


def encode_location(address: str) -> bytes:
    """Write `location.proto`."""
    return admin_pb2.Location(location=address).SerializeToString()


def decode_location(data: bytes) -> str:
    """Read the address in `location.proto`; empty when it is no sax.Location."""
    try:
        return admin_pb2.Location.FromString(data).location
    except DecodeError:
        return ""


def encode_lease(lease: Lease) -> bytes:
    """Write the lease object."""
    message = state_pb2.Lease(
        holder_address=lease.holder_address,
        incarnation=lease.run_id,
        term=lease.term,
        renewals=lease.renewals,
        is_released=lease.is_released,
        sequence=lease.sequence,
    )
    message.MergeFromString(lease.unknown)
    return message.SerializeToString()


def decode_lease(data: bytes) -> Lease:
    """Read the lease object. One that is no sax.state.Lease is held by nobody we know, until it expires."""
    try:
        message = state_pb2.Lease.FromString(data)
    except DecodeError:
        return Lease(holder_address="", run_id="?", term=Term(0))
    return Lease(
        holder_address=message.holder_address,
        run_id=message.incarnation,
        term=Term(message.term),
        renewals=message.renewals,
        is_released=message.is_released,
        sequence=message.sequence,
        unknown=unknown_fields(message),
    )
