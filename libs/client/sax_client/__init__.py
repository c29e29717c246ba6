"""Client library of a Sax cell: publish models and call them.

    from sax_client import Client            # ordinary programs, any number of threads
    from sax_client import AsyncClient       # programs with an event loop

Errors are those of `sax_common.errors`. Names are imported when first used, so that ``import sax_client``
costs nothing and a program that only prints its help never loads gRPC.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from sax_client.admin import AdminClient
    from sax_client.client import AsyncClient
    from sax_client.model import ModelClient
    from sax_client.sync import Client
    from sax_client.values import (
        ChatMessage,
        ClientOptions,
        Decoded,
        ExtraInputs,
        GenerateOptions,
        GenerateResult,
        ModelStatus,
        PublishedModel,
        ReplicaStatus,
        ServerTypeStat,
        Stats,
        StreamChunk,
        StreamSample,
        TokenLogprob,
        Usage,
    )

__all__ = [
    "AdminClient",
    "AsyncClient",
    "ChatMessage",
    "Client",
    "ClientOptions",
    "Decoded",
    "ExtraInputs",
    "GenerateOptions",
    "GenerateResult",
    "ModelClient",
    "ModelStatus",
    "PublishedModel",
    "ReplicaStatus",
    "ServerTypeStat",
    "Stats",
    "StreamChunk",
    "StreamSample",
    "TokenLogprob",
    "Usage",
]

_HOME = {"AdminClient": "admin", "AsyncClient": "client", "Client": "sync", "ModelClient": "model"}


def __getattr__(name: str) -> Any:
    if name not in __all__:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(importlib.import_module(f"{__name__}.{_HOME.get(name, 'values')}"), name)
