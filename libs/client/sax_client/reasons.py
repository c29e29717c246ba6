"""Why are fewer replicas ready than were asked for? One sentence, made from what the admin lists. Pure.

The admin's own words (`shortfall_reason`) win; otherwise the replica states are counted:
``2 loading, 1 failed: no file model.safetensors in /models/x``.
"""

from __future__ import annotations

from collections import Counter
from typing import TYPE_CHECKING

from sax_client.values import ModelStatus

if TYPE_CHECKING:
    from sax_client.values import PublishedModel

_SHOWN = (
    ModelStatus.LOADED,
    ModelStatus.LOADING,
    ModelStatus.UNLOADING,
    ModelStatus.FAILED,
    ModelStatus.NONE,
)
_WORDS = {
    ModelStatus.LOADED: "ready",
    ModelStatus.LOADING: "loading",
    ModelStatus.UNLOADING: "unloading",
    ModelStatus.FAILED: "failed",
    ModelStatus.NONE: "assigned but not loading yet",
}


def shortfall(model: PublishedModel) -> str:
    """Say what the replicas are doing.

    Empty when all that were asked for are ready, and when the admin (an original) does not tell.
    """
    wanted, ready = model.requested_replicas, model.ready_replicas
    if wanted == 0:
        return "it is published with 0 replicas"
    if ready is not None and ready >= wanted:
        return ""
    if model.shortfall_reason:
        return model.shortfall_reason
    if ready is None and len(model.addresses) >= wanted:
        return ""
    parts = _counts(model)
    missing = wanted - (len(model.replicas) or len(model.addresses))
    if missing > 0:
        parts.append(f"{missing} without a model server that can serve {model.model_path}")
    return ", ".join(parts)


def _counts(model: PublishedModel) -> list[str]:
    counts = Counter(replica.status for replica in model.replicas)
    parts = []
    for status in _SHOWN:
        if counts[status]:
            why = _first_reason(model) if status is ModelStatus.FAILED else ""
            parts.append(f"{counts[status]} {_WORDS[status]}{why}")
    return parts


def _first_reason(model: PublishedModel) -> str:
    reasons = (replica.failure_reason for replica in model.replicas if replica.failure_reason)
    first = next(reasons, "")
    return f": {first}" if first else ""
