"""Log lines: one event and its facts, for people on a terminal, as JSON everywhere else.

    log = get_logger(__name__)
    log.info("Joined 10.0.0.3:10000", cell="/sax/test")

    I1121 04:12:34.567890 join.py:42] Joined 10.0.0.3:10000 cell=/sax/test            (terminal, in glog's
    manner) {"event": "Joined ...", "cell": "/sax/test", "level": "info", "service": ..., "trace_id": ...}
    (otherwise)

The life of a line: structlog adds level, time, place and the ids of the current span; standard library
logging (uvicorn, grpc, jax) is led through the same path; `log_output` writes it without ever blocking the
caller.

Prompts and outputs of models are never logged: log counts, ids and lengths.
"""

import logging
import sys
import threading
from pathlib import Path
from types import TracebackType
from typing import Any, cast

import structlog
from opentelemetry import trace
from structlog.typing import EventDict, FilteringBoundLogger, Processor

from sax_runtime.log_output import BoundedOutput

_LETTERS = {"debug": "D", "info": "I", "warning": "W", "error": "E", "critical": "F"}
_NOISY = ("uvicorn", "grpc", "asyncio", "urllib3", "opentelemetry", "google", "jax", "httpx", "httpcore")


def setup_logs(
    service: str,
    *,
    verbosity: int = 0,
    to_stderr: bool = True,
    json: bool | None = None,
    log_dir: str | None = None,
) -> None:
    """Send the log of this process to standard error; first thing in `main`.

    A second call replaces the first.
    `verbosity` 0 shows information, 1 and more also debugging lines. `to_stderr=False` leaves only errors on
    standard error. `json=None` decides by whether standard error is a terminal. `log_dir` also
    writes everything to `<log_dir>/<service>.log`.
    """
    as_json = not sys.stderr.isatty() if json is None else json
    level = logging.DEBUG if verbosity > 0 else logging.INFO
    path = Path(log_dir) / f"{service}.log" if log_dir else None
    output = BoundedOutput(threshold=level if to_stderr else logging.ERROR, path=path)
    shared = _shared(service if as_json else None)
    render: list[Processor] = (
        [structlog.processors.format_exc_info, structlog.processors.JSONRenderer(ensure_ascii=False)]
        if as_json
        else [structlog.processors.format_exc_info, _as_text]
    )
    output.setFormatter(
        structlog.stdlib.ProcessorFormatter(
            foreign_pre_chain=shared,
            processors=[structlog.stdlib.ProcessorFormatter.remove_processors_meta, *render],
        )
    )
    root = logging.getLogger()
    root.handlers[:] = [output]
    root.setLevel(level)
    for name in _NOISY:
        logging.getLogger(name).setLevel(logging.WARNING if verbosity < 2 else level)  # noqa: PLR2004
    structlog.configure(
        processors=[*shared, structlog.stdlib.ProcessorFormatter.wrap_for_formatter],
        logger_factory=structlog.stdlib.LoggerFactory(),
        wrapper_class=structlog.make_filtering_bound_logger(level),
        cache_logger_on_first_use=False,  # Modules make their loggers before main has set this up.
    )
    sys.excepthook = _log_uncaught
    threading.excepthook = _log_uncaught_in_thread


def get_logger(name: str) -> FilteringBoundLogger:
    """Return the logger of a module; facts are keyword arguments, values anything with a sensible `str`."""
    return cast("FilteringBoundLogger", structlog.get_logger(name))


def flush() -> None:
    """Wait (at most two seconds) until the lines logged so far are written."""
    for handler in logging.getLogger().handlers:
        handler.flush()


def _shared(service: str | None) -> list[Processor]:
    def with_service(_logger: Any, _method: str, event: EventDict) -> EventDict:
        if service is not None:
            event["service"] = service
        return event

    return [
        structlog.contextvars.merge_contextvars,
        structlog.stdlib.add_log_level,
        structlog.processors.TimeStamper(fmt="%Y-%m-%dT%H:%M:%S.%fZ", utc=True),
        structlog.processors.CallsiteParameterAdder(
            [structlog.processors.CallsiteParameter.FILENAME, structlog.processors.CallsiteParameter.LINENO],
            additional_ignores=["sax_runtime.logs"],
        ),
        structlog.stdlib.PositionalArgumentsFormatter(),
        with_service,
        _with_trace,
    ]


def _with_trace(_logger: Any, _method: str, event: EventDict) -> EventDict:
    span = trace.get_current_span().get_span_context()
    if span.is_valid:
        event["trace_id"] = trace.format_trace_id(span.trace_id)
        event["span_id"] = trace.format_span_id(span.span_id)
    return event


def _as_text(_logger: Any, _method: str, event: EventDict) -> str:
    """Write a line as glog does: level and date, time, place, event, facts; a traceback follows."""
    stamp = str(event.pop("timestamp"))  # 2026-11-21T04:12:34.567890Z
    letter = _LETTERS.get(str(event.pop("level", "info")), "I")
    place = f"{event.pop('filename', '?')}:{event.pop('lineno', 0)}"
    text = str(event.pop("event", ""))
    after = "".join(f"\n{event.pop(key)}" for key in ("stack", "exception") if event.get(key))
    facts = "".join(f" {key}={_quoted(value)}" for key, value in event.items())
    return f"{letter}{stamp[5:7]}{stamp[8:10]} {stamp[11:26]} {place}] {text}{facts}{after}"


def _quoted(value: object) -> str:
    text = str(value)
    return repr(text) if not text or any(char.isspace() for char in text) else text


def _log_uncaught(kind: type[BaseException], error: BaseException, traceback: TracebackType | None) -> None:
    if issubclass(kind, KeyboardInterrupt):
        sys.__excepthook__(kind, error, traceback)
        return
    get_logger(__name__).critical("uncaught exception", exc_info=(kind, error, traceback))
    flush()


def _log_uncaught_in_thread(args: threading.ExceptHookArgs) -> None:
    if args.exc_type is SystemExit:
        return
    name = args.thread.name if args.thread else "?"
    get_logger(__name__).critical("uncaught exception in a thread", thread=name, exc_info=args.exc_value)
    flush()
