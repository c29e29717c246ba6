"""What callers hand in and get back: plain frozen values, free of protobuf and gRPC.

`wire.py` is the only module that turns these into messages and back. Everything here can be made in a test
by hand, compared with ``==`` and kept for ever; nothing here does I/O. Times are seconds where a person
types them (``timeout_s``) and milliseconds everywhere else (``..._ms``).
"""

from __future__ import annotations

from dataclasses import dataclass, field
from enum import Enum
from typing import TYPE_CHECKING, Literal

if TYPE_CHECKING:
    from collections.abc import Mapping

FinishReason = Literal["stop", "length"]


class ModelStatus(Enum):
    """State of one replica on one model server; numbers as `sax.ModelStatus`."""

    NONE = 0
    LOADING = 1
    LOADED = 2
    FAILED = 3
    UNLOADING = 4


@dataclass(frozen=True, slots=True)
class ExtraInputs:
    """Named inputs of one call beyond its text; which names are legal is up to the model."""

    items: Mapping[str, float] = field(default_factory=dict)
    tensors: Mapping[str, tuple[float, ...]] = field(default_factory=dict)
    strings: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True, slots=True, kw_only=True)
class GenerateOptions:
    """What a caller may set per request; None leaves it to the model's own configuration.

    Original model servers do not read these; use `ExtraInputs` for them.
    """

    max_tokens: int | None = None
    temperature: float | None = None
    top_p: float | None = None
    top_k: int | None = None
    seed: int | None = None
    stop: tuple[str, ...] = ()
    num_samples: int | None = None
    top_logprobs: int | None = None


@dataclass(frozen=True, slots=True)
class ChatMessage:
    """One turn of a conversation; `role` is system, user or assistant."""

    role: str
    content: str


@dataclass(frozen=True, slots=True)
class TokenLogprob:
    """One token with its natural-log probability, and the likeliest alternatives, best first."""

    token: str
    token_bytes: bytes
    logprob: float
    top: tuple[TokenLogprob, ...] = ()


@dataclass(frozen=True, slots=True)
class Usage:
    """Token counts of one request, all samples together."""

    prompt_tokens: int
    completion_tokens: int
    cached_tokens: int = 0


@dataclass(frozen=True, slots=True)
class Decoded:
    """One generated sample. `finish_reason` is None when the server did not say (original servers)."""

    text: str
    score: float
    finish_reason: FinishReason | None = None
    logprobs: tuple[TokenLogprob, ...] = ()


@dataclass(frozen=True, slots=True)
class GenerateResult:
    """All samples of one unary call, in the server's order (best first where the model sorts them)."""

    texts: tuple[Decoded, ...]
    usage: Usage | None = None


@dataclass(frozen=True, slots=True)
class StreamSample:
    """What one message of a stream brought for one sample.

    `delta` is the text that is new since the last message; `text` everything so far. A server may revise
    what it sent (``prefix_len`` short of the end): then `delta` is what follows the part that stayed, and
    `kept` says how many characters of the previous `text` stayed.
    """

    delta: str
    text: str
    kept: int
    scores: tuple[float, ...]
    finish_reason: FinishReason | None = None
    logprobs: tuple[TokenLogprob, ...] = ()
    sent_text: str = ""
    prefix_len: int = 0


@dataclass(frozen=True, slots=True)
class StreamChunk:
    """One message of a stream: one entry per sample, same order in every message."""

    samples: tuple[StreamSample, ...]
    usage: Usage | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class ReplicaStatus:
    """What the admin knows of one replica; `failure_reason` is in the model server's own words."""

    address: str
    data_address: str
    status: ModelStatus
    failure_reason: str = ""
    failed_loads: int = 0
    retry_in_ms: int = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class PublishedModel:
    """One published model as the admin lists it.

    `addresses` are the assigned servers (control addresses), loaded or not. `replicas` and `shortfall_reason`
    are empty when the admin is an original, which does not tell.
    """

    model_id: str
    model_path: str
    checkpoint: str
    requested_replicas: int
    overrides: Mapping[str, str] = field(default_factory=dict)
    methods: tuple[str, ...] = ()
    admin_acl: str = ""
    acls: Mapping[str, str] = field(default_factory=dict)
    uuid: bytes = b""
    generation: int = 0
    addresses: tuple[str, ...] = ()
    replicas: tuple[ReplicaStatus, ...] = ()
    shortfall_reason: str = ""

    @property
    def ready_replicas(self) -> int | None:
        """Number of loaded replicas; None when the admin does not report states (an original)."""
        if not self.replicas and self.addresses:
            return None
        return sum(replica.status is ModelStatus.LOADED for replica in self.replicas)


@dataclass(frozen=True, slots=True)
class ServerTypeStat:
    """How many model servers of one kind there are; enum names as in `sax.ModelServer`."""

    chip_type: str
    chip_topology: str
    count: int


@dataclass(frozen=True, slots=True)
class Stats:
    """Joined model servers by kind, and how many can serve each model path."""

    server_types: tuple[ServerTypeStat, ...]
    servers_by_model_path: Mapping[str, int]


@dataclass(frozen=True, slots=True, kw_only=True)
class ClientOptions:
    """How one model is called.

    `num_conn` bounds how many replicas one client process uses (original default 37), so that a large cell
    does not hold a connection from everybody to everybody. `proxy_address` skips the cell and calls that
    target. `fail_fast` gives up at once on UNAVAILABLE, RESOURCE_EXHAUSTED and when no replica is ready.
    `timeout_s` is the deadline of calls that do not give their own. `ready_timeout_s` bounds how much of it
    a call waits while no replica is ready (None: all of it).
    """

    num_conn: int = 37
    proxy_address: str = ""
    fail_fast: bool = False
    timeout_s: float = 60.0
    ready_timeout_s: float | None = None
