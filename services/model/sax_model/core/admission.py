"""May this request come in? The checks of reference/model_server.md 1.7: its order, codes and words.

The order is part of the contract: clients act on the first answer (NOT_FOUND is retried on another
replica, INVALID_ARGUMENT never is). Nothing is counted or reserved here; the caller does that after `admit`
returns, on the same loop turn, so that no request can slip in between.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

from sax_common.access import NOBODY, Access
from sax_common.errors import (
    InvalidArgument,
    NotFound,
    PermissionDenied,
    ResourceExhausted,
    Unavailable,
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Ask:
    """What one request wants, and who asks; `samples` 0 = as configured."""

    model: str
    method: str
    is_streaming: bool = False
    access: Access = NOBODY
    samples: int = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class ServerView:
    """The state of the whole server that matters here."""

    is_draining: bool = False
    is_dormant: bool = False
    rejects_early: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class MethodView:
    """One method of a loaded model. `limit` counts requests in flight, `slots` rows of one engine step."""

    is_streamable: bool
    limit: int
    in_flight: int
    slots: int
    acl: str | None = None


@dataclass(frozen=True, slots=True)
class LoadedView:
    """The methods of a loaded model."""

    methods: dict[str, MethodView]


def admit(
    ask: Ask,
    server: ServerView,
    model: LoadedView | None,
    *,
    available: Sequence[str],
    check_extra_inputs: Callable[[], None],
) -> None:
    """Return when the request may come in, raise what the caller is told otherwise.

    `model` is None unless the model is LOADED; `available` are the models that are. `check_extra_inputs`
    raises InvalidArgument itself (reference/model_server.md 2.6) and is called only if its turn comes.
    """
    if server.is_dormant and server.rejects_early:
        raise Unavailable("Computation backend is currently dormant, please try other servers.")
    if server.is_draining:
        raise Unavailable("This server is draining, please try other servers.")
    if model is None:
        names = ", ".join(sorted(available)) or "none"
        raise NotFound(f"{ask.model} is still loading or already unloaded. Available models: {names}")
    method = model.methods.get(ask.method)
    if method is None:
        raise InvalidArgument(f"{ask.model} does not support {ask.method}")
    if ask.is_streaming and not method.is_streamable:
        raise InvalidArgument(f"{ask.model} does not support streaming for {ask.method}")
    if not ask.access.may_call(method.acl):
        raise PermissionDenied(f"{ask.access.who} may not call {ask.method} of {ask.model}")
    check_extra_inputs()
    if ask.samples > method.slots:
        raise InvalidArgument(
            f"{ask.samples} samples were asked for, but {ask.model} has {method.slots} slots"
        )
    if method.in_flight >= method.limit:
        raise ResourceExhausted(f"Too many requests: {ask.model} {method.limit}")


def acl_of(acls: Mapping[str, str], method: str) -> str | None:
    """Return the list of a data method, None where it has none of its own.

    A stream inherits the list of the same method in one piece: who may not have the answer may not have its
    parts either.
    """
    return acls.get(method) or acls.get(method.removesuffix("_stream"))


def request_limit(batch_size: int, max_live_batches: int) -> int:
    """Return how many requests of one method may be in flight, as the original's limiter has it."""
    return max(batch_size * max_live_batches, 1)
