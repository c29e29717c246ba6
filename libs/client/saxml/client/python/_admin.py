"""The admin functions of the original API."""

# ruff: noqa: N802, A002, INP001, PLR0917 - the original's names and signatures; saxml is a PEP 420 namespace.

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from sax_client.admin import DEFAULT_TIMEOUT_S, READY_TIMEOUT_S
from sax_common import names
from saxml.client.python import _process
from saxml.client.python._status import translated

if TYPE_CHECKING:
    from collections.abc import Mapping

    from sax_client.sync import SyncAdminClient
    from saxml.client.python._options import AdminOptions

CELL_PARTS = 2


@dataclass(frozen=True)
class ModelDetail:
    """One published model; `active_replicas` counts assigned servers, loaded or not."""

    model: str
    ckpt: str
    max_replicas: int
    active_replicas: int
    overrides: dict[str, str] = field(default_factory=dict)


@dataclass(frozen=True)
class ModelServerTypeStat:
    """How many model servers of one kind there are; the kinds are enum names."""

    chip_type: str
    chip_topology: str
    num_replicas: int


def Publish(
    id: str,
    model_path: str,
    checkpoint_path: str,
    num_replicas: int,
    overrides: Mapping[str, str] | None = None,
    options: AdminOptions | None = None,
) -> None:
    """Publish a model."""
    with translated():
        _admin(id).publish(
            id, model_path, checkpoint_path, num_replicas, overrides, timeout_s=_timeout_s(options)
        )


def Unpublish(id: str, options: AdminOptions | None = None) -> None:
    """Take a model away."""
    with translated():
        _admin(id).unpublish(id, timeout_s=_timeout_s(options))


def Update(
    id: str,
    model_path: str,
    checkpoint_path: str,
    num_replicas: int,
    options: AdminOptions | None = None,
) -> None:
    """Change checkpoint and number of replicas; overrides and ACLs stay."""
    with translated():
        _admin(id).update(
            id,
            model_path=model_path,
            checkpoint=checkpoint_path,
            replicas=num_replicas,
            timeout_s=_timeout_s(options),
        )


def List(id: str, options: AdminOptions | None = None) -> tuple[str, str, int]:
    """Give model path, checkpoint path and the number of assigned servers."""
    detail = ListDetail(id, options)
    return detail.model, detail.ckpt, detail.active_replicas


def ListDetail(id: str, options: AdminOptions | None = None) -> ModelDetail:
    """Give everything about one model."""
    with translated():
        model = _admin(id).list(id, timeout_s=_timeout_s(options))
    return ModelDetail(
        model=model.model_path,
        ckpt=model.checkpoint,
        max_replicas=model.requested_replicas,
        active_replicas=len(model.addresses),
        overrides=dict(model.overrides),
    )


def ListAll(id: str, options: AdminOptions | None = None) -> list[str]:
    """Give the full names of all models of the cell `id`."""
    with translated():
        models = _process.client().admin(id).list_all(timeout_s=_timeout_s(options))
    return [model.model_id for model in models]


def WaitForReady(id: str, num_replicas: int, options: AdminOptions | None = None) -> None:
    """Return when so many replicas are loaded; without a timeout after half an hour at the latest."""
    with translated():
        _admin(id).wait_for_ready(id, num_replicas, timeout_s=_timeout_s(options, READY_TIMEOUT_S))


def Stats(id: str, options: AdminOptions | None = None) -> list[ModelServerTypeStat]:
    """Count the model servers of a cell, or those of a model, by kind."""
    with translated():
        if id.count("/") == CELL_PARTS:
            found = _process.client().admin(id).stats(timeout_s=_timeout_s(options))
        else:
            found = _admin(id).stats(id, timeout_s=_timeout_s(options))
    return [
        ModelServerTypeStat(kind.chip_type, kind.chip_topology, kind.count) for kind in found.server_types
    ]


def GetACL(
    cell_or_model_id: str, method_id: str = "", options: AdminOptions | None = None
) -> str | dict[str, str]:
    """Give the ACL of a cell, a model or a method; all of a model's methods for ``all``."""
    with translated():
        if cell_or_model_id.count("/") == CELL_PARTS:
            return _process.client().cell_acl(cell_or_model_id)
        model = _admin(cell_or_model_id).list(cell_or_model_id, timeout_s=_timeout_s(options))
        if method_id == "all":
            return dict(model.acls)
        if method_id:
            return model.acls.get(names.check_data_method(method_id), "")
        return model.admin_acl


def SetACL(cell_or_model_id: str, acl: str, method_id: str = "", options: AdminOptions | None = None) -> None:
    """Set the ACL of a cell, a model or a method."""
    with translated():
        if cell_or_model_id.count("/") == CELL_PARTS:
            _process.client().set_cell_acl(cell_or_model_id, acl)
            return
        admin, timeout_s = _admin(cell_or_model_id), _timeout_s(options)
        if method_id:
            admin.set_method_acl(cell_or_model_id, method_id, acl, timeout_s=timeout_s)
        else:
            admin.update(cell_or_model_id, admin_acl=names.check_acl_name(acl), timeout_s=timeout_s)


def StartDebugPort(port: int, /) -> None:
    """Serve this process's metrics and liveness over HTTP on loopback."""
    with translated():
        _process.client().start_status_server(port)


def _admin(model_id: str) -> SyncAdminClient:
    return _process.client().admin(names.cell_of(names.parse_model(model_id)))


def _timeout_s(options: AdminOptions | None, default: float = DEFAULT_TIMEOUT_S) -> float:
    return options.timeout if options is not None and options.timeout > 0 else default
