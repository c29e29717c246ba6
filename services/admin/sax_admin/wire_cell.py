"""The small files of a cell as values: configuration and location, binary protobuf as in the original."""

from __future__ import annotations

from dataclasses import dataclass

from google.protobuf.message import DecodeError
from sax_common.errors import DataLoss
from saxml.protobuf import admin_pb2

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
