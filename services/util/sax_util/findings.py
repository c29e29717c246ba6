"""What `doctor` makes of what it sees: values in, findings out. No I/O.

A finding is one line: how bad, about what, what was seen, what to do. FAIL means that users are affected or
that nothing can work; WARN that somebody should look; OK that there is nothing to do.
"""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

from sax_client import reasons

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from sax_client import PublishedModel
    from sax_client.fleet import FleetReport, HeldModel, ServerState

Level = Literal["OK", "WARN", "FAIL"]

# Certificates, tokens and logs need clocks that agree to about this much; leases do not.
CLOCK_WARN_MS = 2_000
# A step that takes longer is compiling or hangs (reference/reliability.md 2.3).
STEP_WARN_MS = 30_000
MEMORY_WARN = 0.97
ERRORS_WARN = 0.1


@dataclass(frozen=True, slots=True)
class Finding:
    """One line of the doctor. `todo` is empty when there is nothing to do."""

    level: Level
    subject: str
    seen: str
    todo: str = ""

    def line(self) -> str:
        """Show it to a person."""
        remedy = f"\n      -> {self.todo}" if self.todo else ""
        return f"{self.level:<5} {self.subject}: {self.seen}{remedy}"


def leader(cell: str, report: FleetReport, location: str) -> list[Finding]:
    """Judge who answered against what `location.proto` says."""
    seen = f"{report.leader_address} leads at term {report.term}, record {report.sequence}"
    if location != report.leader_address:
        return [
            Finding(
                "WARN",
                f"admin of {cell}",
                f"{seen}, but location.proto says {location}",
                "wait a few seconds (a new leader has just begun) and look again",
            )
        ]
    return [Finding("OK", f"admin of {cell}", seen)]


def clock(cell: str, admin_unix_ms: int, sent_unix_ms: int, received_unix_ms: int) -> list[Finding]:
    """Judge the admin's clock by ours: it must lie between when we asked and when we were answered."""
    early_ms, late_ms = sent_unix_ms - admin_unix_ms, admin_unix_ms - received_unix_ms
    off_ms = max(early_ms, late_ms, 0)
    subject = f"clock of {cell}"
    if off_ms <= CLOCK_WARN_MS:
        return [Finding("OK", subject, f"the admin's clock is at most {off_ms} ms from this machine's")]
    side = "behind" if early_ms > 0 else "ahead"
    return [
        Finding(
            "WARN",
            subject,
            f"the admin's clock is {off_ms / 1000:.1f} s {side} of this machine's",
            "synchronise the clocks (NTP): certificates, tokens and logs need them",
        )
    ]


def servers(cell: str, report: FleetReport, *, has_models: bool) -> list[Finding]:
    """Judge the model servers."""
    if not report.servers:
        level: Level = "FAIL" if has_models else "WARN"
        todo = f"start one: sax-model-server --sax_cell={cell} --sax_root=<root> --port=<port>"
        return [Finding(level, f"servers of {cell}", "no model server has joined", todo)]
    counts = Counter(server.presence for server in report.servers)
    text = ", ".join(f"{count} {presence}" for presence, count in sorted(counts.items()))
    found = [finding for server in report.servers for finding in _server(server)]
    found += [
        Finding(
            "WARN",
            f"server {address}",
            "is marked as draining and is gone",
            f"saxutil undrain {cell} {address} (else it gets no models when it comes back)",
        )
        for address in report.absent_draining
    ]
    if counts["alive"] == 0:
        return [Finding("FAIL", f"servers of {cell}", f"none answers: {text}"), *found]
    return [Finding("OK", f"servers of {cell}", f"{len(report.servers)}: {text}"), *found]


def _server(server: ServerState) -> Iterable[Finding]:
    subject = f"server {server.address}"
    if server.presence in {"suspect", "dead"}:
        silent_s = (server.silent_ms or 0) / 1000
        todo = "is its process alive, and its port open to the admin? Its log says why it ended"
        yield Finding("FAIL", subject, f"has not answered for {silent_s:.0f} s ({server.presence})", todo)
    if server.is_draining:
        waiting = [model.model_id for model in server.models if model.is_waiting_for_place]
        if waiting:
            todo = "add a model server that offers them, or saxutil undrain"
            seen = f"is draining, and no other server has {', '.join(waiting)} ready"
        else:
            seen = "is drained" if server.is_empty else "is draining"
            todo = "maintenance done? saxutil undrain"
        yield Finding("WARN", subject, seen, f"{todo} {server.address}" if todo.endswith("undrain") else todo)
    if server.is_original:
        yield Finding(
            "WARN",
            subject,
            "is an original server: it obeys orders of deposed leaders too",
            "replace it by sax-model-server when convenient",
        )
    if server.total_bytes and server.used_bytes > MEMORY_WARN * server.total_bytes:
        share = server.used_bytes / server.total_bytes
        yield Finding("WARN", subject, f"uses {share:.0%} of its memory", "fewer models or a larger server")
    for model in server.models:
        yield from _held(server, model)


def _held(server: ServerState, model: HeldModel) -> Iterable[Finding]:
    subject = f"{model.model_id} on {server.address}"
    if model.step_age_ms > STEP_WARN_MS:
        yield Finding(
            "FAIL",
            subject,
            f"has not finished a step for {model.step_age_ms / 1000:.0f} s, "
            f"{model.queued_requests} requests wait",
            "look at the server's log; if it does not compile a program right now, drain and restart it",
        )
    calls = model.successes_per_s + model.errors_per_s
    if calls and model.errors_per_s > ERRORS_WARN * calls:
        share = model.errors_per_s / calls
        yield Finding("WARN", subject, f"{share:.0%} of its calls fail", "the server's log says why")


def models(cell: str, published: Sequence[PublishedModel]) -> list[Finding]:
    """Judge the models: every one that is not as ready as wanted, with the reason."""
    found: list[Finding] = []
    for model in published:
        ready = model.ready_replicas
        have = len(model.addresses) if ready is None else ready
        if have >= model.requested_replicas:
            continue
        level: Level = "WARN" if have else "FAIL"
        why = reasons.shortfall(model) or "the admin does not say why"
        seen = f"{have} of {model.requested_replicas} replicas ready: {why}"
        found.append(Finding(level, f"model {model.model_id}", seen, _remedy(why, model)))
    if found:
        return found
    count = len(published)
    text = "none is published" if not count else f"all {count} as ready as wanted" if count > 1 else "ready"
    return [Finding("OK", f"models of {cell}", text)]


def _remedy(why: str, model: PublishedModel) -> str:
    """Say what to do about a reason, in the words that the admin uses for it."""
    if "no server offers the model path" in why:
        return "correct the path (unpublish, publish), or start a server that offers it"
    if "has joined the cell" in why:
        return "start a model server"
    if "no room for more" in why:
        return f"add a model server, or saxutil update -replicas=<fewer> {model.model_id}"
    if "failed on" in why:
        return "correct the cause (checkpoint, overrides, memory); it is tried again by itself"
    if "loading" in why:
        return "wait; saxutil servers shows the progress"
    return f"saxutil ls -status {model.model_id}"
