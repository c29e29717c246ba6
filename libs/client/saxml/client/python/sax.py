"""The original's Python API under its own name: ``from saxml.client.python import sax``.

A thin face over `sax_client.Client`: same functions, classes, argument names and return shapes as the
original's extension module (reference/control_plane.md 3.6), so programs written for it run unchanged.
Where the original hurt its users we do not follow: calls without a timeout end after 60 s instead of never,
`Update` keeps ACLs, `ImageToImage` sends its options, and a missing SAX_ROOT raises instead of killing the
process.

Errors raise `StatusNotOk`; its `status` has `code()` and `message()`. Threads may share everything here.
"""

# ruff: noqa: INP001 - saxml is a PEP 420 namespace, shared with the protos.

from __future__ import annotations

from saxml.client.python._admin import (
    GetACL,
    List,
    ListAll,
    ListDetail,
    ModelDetail,
    ModelServerTypeStat,
    Publish,
    SetACL,
    StartDebugPort,
    Stats,
    Unpublish,
    Update,
    WaitForReady,
)
from saxml.client.python._language import LanguageModel
from saxml.client.python._model import Model
from saxml.client.python._options import AdminOptions, ModelOptions, Options
from saxml.client.python._others import AudioModel, CustomModel, MultimodalModel
from saxml.client.python._status import Status, StatusCode, StatusNotOk
from saxml.client.python._vision import VisionModel

__all__ = [
    "AdminOptions",
    "AudioModel",
    "CustomModel",
    "GetACL",
    "LanguageModel",
    "List",
    "ListAll",
    "ListDetail",
    "Model",
    "ModelDetail",
    "ModelOptions",
    "ModelServerTypeStat",
    "MultimodalModel",
    "Options",
    "Publish",
    "SetACL",
    "StartDebugPort",
    "Stats",
    "Status",
    "StatusCode",
    "StatusNotOk",
    "Unpublish",
    "Update",
    "VisionModel",
    "WaitForReady",
]
