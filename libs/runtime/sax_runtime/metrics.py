"""The catalogue: every number that a process of this project shows on `/metrics`, declared once, here.

A metric is one line below: kind, name, meaning, labels. The line puts a `Spec` into `CATALOGUE` and gives
back the Prometheus object that the owning module feeds, e.g.

    metrics.ENGINE_RUNNING.labels(model="/sax/test/m").set_function(lambda: engine.snapshot().running)
    metrics.PUBLISHES.labels(outcome="ok").inc()

Rules. A gauge that mirrors a state is bound with `set_function` (read at every scrape, never frozen) or set
at every change. Times are seconds, sizes bytes, shares 0-1. Labels have few values: models, methods, codes;
never a request, a user or a prompt. Names begin with `sax_`; those that gateways and dashboards read under
vLLM's names carry an `alias` and are shown twice, the second time with vLLM's labels `model_name` and
`engine` (reference/landscape.md E2, E5). The vLLM names are of its 0.11 line, where `kv_cache_usage_perc`
is, despite its name, a share from 0 to 1.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal

from prometheus_client import (
    CollectorRegistry,
    Counter,
    Gauge,
    GCCollector,
    Histogram,
    PlatformCollector,
    ProcessCollector,
    disable_created_metrics,
)
from prometheus_client.registry import Collector

from sax_runtime.metric_aliases import Aliases

Kind = Literal["counter", "gauge", "histogram"]


@dataclass(frozen=True)
class Spec:
    """What one metric means. `unit` is empty for things that are counted."""

    kind: Kind
    name: str
    help: str
    unit: str = ""
    labels: tuple[str, ...] = ()
    buckets: tuple[float, ...] = ()
    alias: str = ""


registry = CollectorRegistry()
before_scrape: dict[str, Callable[[], None]] = {}
"""Called before each scrape, by a name of the owner's choice: sets gauges whose labels come and go."""

CATALOGUE: dict[str, Spec] = {}
_aliased: list[tuple[str, Collector]] = []

# `*_created` doubles the number of series and no consumer named in reference/landscape.md reads it.
disable_created_metrics()  # type: ignore[no-untyped-call]
ProcessCollector(registry=registry)
PlatformCollector(registry=registry)
GCCollector(registry=registry)


def _declare(spec: Spec) -> Spec:
    if spec.name in CATALOGUE:
        raise ValueError(f"metric {spec.name} is declared twice")
    CATALOGUE[spec.name] = spec
    return spec


def _counter(
    name: str, help_: str, *, labels: tuple[str, ...] = (), unit: str = "", alias: str = ""
) -> Counter:
    _declare(Spec("counter", name, help_, unit, labels, alias=alias))
    made = Counter(name, help_, labels, registry=registry)
    if alias:
        _aliased.append((alias, made))
    return made


def _gauge(name: str, help_: str, *, labels: tuple[str, ...] = (), unit: str = "", alias: str = "") -> Gauge:
    _declare(Spec("gauge", name, help_, unit, labels, alias=alias))
    made = Gauge(name, help_, labels, registry=registry)
    if alias:
        _aliased.append((alias, made))
    return made


def _histogram(
    name: str,
    help_: str,
    *,
    buckets: tuple[float, ...],
    labels: tuple[str, ...] = (),
    unit: str = "seconds",
    alias: str = "",
) -> Histogram:
    _declare(Spec("histogram", name, help_, unit, labels, buckets, alias))
    made = Histogram(name, help_, labels, buckets=buckets, registry=registry)
    if alias:
        _aliased.append((alias, made))
    return made


# Buckets. RPC times reach from a health probe to a long generation; loads from a toy to a 30 min deadline.
_RPC_S = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60, 300)
_FIRST_TOKEN_S = (0.005, 0.01, 0.02, 0.04, 0.06, 0.08, 0.1, 0.25, 0.5, 0.75, 1, 2.5, 5, 7.5, 10, 20, 40, 80)
_BETWEEN_TOKENS_S = (0.002, 0.005, 0.01, 0.02, 0.03, 0.04, 0.05, 0.075, 0.1, 0.15, 0.2, 0.3, 0.5, 1, 2.5)
_REQUEST_S = (0.05, 0.1, 0.3, 0.5, 0.8, 1, 1.5, 2, 2.5, 5, 10, 15, 20, 30, 40, 50, 60, 120, 240, 480)
_LOAD_S = (0.5, 1, 2.5, 5, 10, 20, 40, 60, 120, 300, 600, 1200, 1800)
_TOKENS = (1, 2, 5, 10, 20, 50, 100, 200, 500, 1000, 2000, 5000, 10_000, 20_000, 50_000, 100_000)
_STEP_S = (0.001, 0.002, 0.005, 0.01, 0.02, 0.03, 0.05, 0.075, 0.1, 0.2, 0.5, 1, 2.5, 5, 10, 30)
_STORE_S = (0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2)

# Every process.
BUILD_INFO = _gauge(
    "sax_build_info", "Always 1; says which program of which version this is.", labels=("service", "version")
)
READY = _gauge("sax_ready", "1 when /readyz says yes, 0 otherwise.")
LOOP_LAG_S = _gauge(
    "sax_event_loop_lag_seconds",
    "How late the event loop answered the watchdog's last beat, or how long it has not answered yet.",
    unit="seconds",
)
LOOP_STALLS = _counter(
    "sax_event_loop_stalls_total", "Times the event loop was blocked longer than the watchdog allows."
)
LOG_LINES_DROPPED = _counter(
    "sax_log_lines_dropped_total", "Log lines lost because the reader of standard error was too slow."
)
SPANS_DROPPED = _counter(
    "sax_trace_spans_dropped_total", "Spans lost because the trace collector was slow or away."
)

# gRPC, server side. `code` is the status name, e.g. OK or UNAVAILABLE.
RPC_CALLS = _counter(
    "sax_grpc_server_calls_total", "Calls finished by this server.", labels=("service", "method", "code")
)
RPC_SECONDS = _histogram(
    "sax_grpc_server_call_seconds",
    "Time from a call's arrival at the handler to its end; for a stream, to its last message.",
    labels=("service", "method"),
    unit="seconds",
    buckets=_RPC_S,
)
RPC_IN_FLIGHT = _gauge("sax_grpc_server_calls_in_flight", "Calls that this server is working on.")

# HTTP. `route` is the pattern, never the path that was asked for.
HTTP_REQUESTS = _counter(
    "sax_http_requests_total",
    "HTTP requests answered.",
    labels=("method", "route", "status"),
    alias="http_requests_total",
)
HTTP_SECONDS = _histogram(
    "sax_http_request_seconds",
    "Time from an HTTP request's head to the last byte of its answer.",
    labels=("method", "route"),
    unit="seconds",
    buckets=_RPC_S,
    alias="http_request_duration_seconds",
)
HTTP_IN_FLIGHT = _gauge("sax_http_requests_in_flight", "HTTP requests being answered, streams included.")

# Admin.
PUBLISHES = _counter(
    "sax_admin_operations_total",
    "Publish, update, unpublish, drain and undrain operations by outcome (a status name, OK when durable).",
    labels=("operation", "outcome"),
)
PUBLISH_SECONDS = _histogram(
    "sax_admin_operation_seconds",
    "Time from an operation's arrival to its durable acknowledgement.",
    labels=("operation",),
    unit="seconds",
    buckets=_RPC_S,
)
STORE_SECONDS = _histogram(
    "sax_store_operation_seconds",
    "Time of one operation on the object store.",
    labels=("operation",),
    unit="seconds",
    buckets=_STORE_S,
)
STORE_ERRORS = _counter(
    "sax_store_errors_total",
    "Object store operations that failed, by status name.",
    labels=("operation", "code"),
)
IS_LEADER = _gauge("sax_admin_is_leader", "1 while this admin leads the cell.", labels=("cell",))
TERM = _gauge("sax_admin_term", "The highest leadership term this admin has seen.", labels=("cell",))
MODELS = _gauge("sax_admin_models", "Models published in the cell.", labels=("cell",))
SERVERS = _gauge(
    "sax_admin_model_servers",
    "Model servers known to the admin, by state (new, alive, suspect, dead; and, counted again, draining).",
    labels=("cell", "state"),
)
REPLICAS = _gauge(
    "sax_admin_replicas",
    "Replicas of a model, by kind (wanted, assigned, ready, loading, failed).",
    labels=("model", "kind"),
)
MODELS_READY = _gauge(
    "sax_admin_models_ready", "Models with at least as many ready replicas as wanted.", labels=("cell",)
)
RECORD = _gauge("sax_admin_record", "Number of the newest durable state record.", labels=("cell",))
COMMIT_SECONDS = _histogram(
    "sax_admin_commit_seconds",
    "Time of writing one state record until it is durable; failures are in sax_store_errors_total.",
    unit="seconds",
    buckets=_STORE_S,
)
RECONCILE_SECONDS = _histogram(
    "sax_admin_reconcile_seconds",
    "Time of one step that compared all that is wanted with all that is seen.",
    unit="seconds",
    buckets=_STORE_S,
)
ORDERS = _counter(
    "sax_admin_orders_total", "Load, Update and Unload orders sent, by outcome.", labels=("order", "outcome")
)
WATCHERS = _gauge("sax_admin_watchers", "WatchLoc calls that are waiting for a change.")

# Model server.
LOADS = _counter("sax_model_loads_total", "Loads finished, by outcome (a status name).", labels=("outcome",))
LOAD_SECONDS = _histogram(
    "sax_model_load_seconds", "Time of one load until the model can serve.", unit="seconds", buckets=_LOAD_S
)
LOADED_MODELS = _gauge("sax_model_loaded_models", "Models by lifecycle state.", labels=("state",))
MODEL_BYTES = _gauge(
    "sax_model_memory_bytes", "Memory held by a loaded model.", labels=("model",), unit="bytes"
)
REJECTED = _counter(
    "sax_model_rejected_requests_total",
    "Requests refused before the engine, by status name.",
    labels=("model", "code"),
)

# Engine: one set of series per loaded language model.
_MODEL = ("model",)
ENGINE_RUNNING = _gauge(
    "sax_engine_requests_running",
    "Requests that own a row of the next step.",
    labels=_MODEL,
    alias="vllm:num_requests_running",
)
ENGINE_WAITING = _gauge(
    "sax_engine_requests_waiting",
    "Requests accepted and not yet started.",
    labels=_MODEL,
    alias="vllm:num_requests_waiting",
)
ENGINE_KV_USAGE = _gauge(
    "sax_engine_kv_cache_usage",
    "Share of the KV pages in use, 0 to 1.",
    labels=_MODEL,
    unit="share",
    alias="vllm:kv_cache_usage_perc",
)
ENGINE_KV_PAGES = _gauge("sax_engine_kv_cache_pages", "KV pages that the engine has in all.", labels=_MODEL)
ENGINE_PAGE_TOKENS = _gauge("sax_engine_kv_page_tokens", "Tokens in one KV page.", labels=_MODEL)
ENGINE_STEPS = _counter("sax_engine_steps_total", "Steps finished by the device.", labels=_MODEL)
ENGINE_STEP_SECONDS = _histogram(
    "sax_engine_step_seconds",
    "Time between two collected steps while there is work.",
    labels=_MODEL,
    unit="seconds",
    buckets=_STEP_S,
)
ENGINE_PREEMPTIONS = _counter(
    "sax_engine_preemptions_total",
    "Requests put back to waiting because pages ran out.",
    labels=_MODEL,
    alias="vllm:num_preemptions_total",
)
PREFIX_QUERIES = _counter(
    "sax_engine_prefix_cache_queries_total",
    "Prompt tokens looked up in the prefix cache.",
    labels=_MODEL,
    alias="vllm:prefix_cache_queries_total",
)
PREFIX_HITS = _counter(
    "sax_engine_prefix_cache_hits_total",
    "Prompt tokens found in the prefix cache.",
    labels=_MODEL,
    alias="vllm:prefix_cache_hits_total",
)
PROMPT_TOKENS = _counter(
    "sax_engine_prompt_tokens_total",
    "Prompt tokens processed.",
    labels=_MODEL,
    alias="vllm:prompt_tokens_total",
)
OUTPUT_TOKENS = _counter(
    "sax_engine_output_tokens_total", "Tokens generated.", labels=_MODEL, alias="vllm:generation_tokens_total"
)
REQUESTS_DONE = _counter(
    "sax_engine_requests_total",
    "Requests ended, by reason (stop, length, cancelled, deadline, error).",
    labels=("model", "finished_reason"),
    alias="vllm:request_success_total",
)
QUEUE_SECONDS = _histogram(
    "sax_engine_queue_seconds",
    "Time from submission to the first step that works on the request.",
    labels=_MODEL,
    buckets=_REQUEST_S,
    alias="vllm:request_queue_time_seconds",
)
PREFILL_SECONDS = _histogram(
    "sax_engine_prefill_seconds",
    "Time from the first step to the first token.",
    labels=_MODEL,
    buckets=_REQUEST_S,
    alias="vllm:request_prefill_time_seconds",
)
DECODE_SECONDS = _histogram(
    "sax_engine_decode_seconds",
    "Time from the first token to the last.",
    labels=_MODEL,
    buckets=_REQUEST_S,
    alias="vllm:request_decode_time_seconds",
)
FIRST_TOKEN_SECONDS = _histogram(
    "sax_engine_time_to_first_token_seconds",
    "Time from submission to the first token.",
    labels=_MODEL,
    buckets=_FIRST_TOKEN_S,
    alias="vllm:time_to_first_token_seconds",
)
BETWEEN_TOKENS_SECONDS = _histogram(
    "sax_engine_inter_token_seconds",
    "Time between two tokens of one sample.",
    labels=_MODEL,
    buckets=_BETWEEN_TOKENS_S,
    alias="vllm:inter_token_latency_seconds",
)
REQUEST_SECONDS = _histogram(
    "sax_engine_request_seconds",
    "Time from submission to the end of a request.",
    labels=_MODEL,
    buckets=_REQUEST_S,
    alias="vllm:e2e_request_latency_seconds",
)
REQUEST_PROMPT_TOKENS = _histogram(
    "sax_engine_request_prompt_tokens",
    "Prompt tokens of one request.",
    labels=_MODEL,
    unit="tokens",
    buckets=_TOKENS,
    alias="vllm:request_prompt_tokens",
)
REQUEST_OUTPUT_TOKENS = _histogram(
    "sax_engine_request_output_tokens",
    "Tokens generated for one request.",
    labels=_MODEL,
    unit="tokens",
    buckets=_TOKENS,
    alias="vllm:request_generation_tokens",
)

registry.register(Aliases(_aliased))
