"""Modelet service: protobuf in, values out, and back."""

from collections.abc import Sequence

from saxml.protobuf import modelet_pb2

from sax_model.core.method_stats import MethodReport
from sax_model.entry import ModelReport
from sax_model.loader import LoadSpec


def load_spec(request: modelet_pb2.LoadRequest) -> LoadSpec:
    """Return what a Load asks for."""
    return LoadSpec(
        key=request.model_key,
        model_path=request.model_path,
        checkpoint_path=request.checkpoint_path,
        overrides=dict(request.overrides),
        acls=dict(request.acls.items),
        digest=request.digest,
    )


def model_status(
    report: ModelReport, *, with_failure: bool, with_stats: bool
) -> modelet_pb2.GetStatusResponse.ModelWithStatus:
    """Return one model of a GetStatus answer."""
    message = modelet_pb2.GetStatusResponse.ModelWithStatus(
        model_key=report.key,
        model_status=report.state.value,
        digest=report.digest,
        memory_bytes=report.memory_bytes,
        load_fraction=report.load_fraction,
    )
    if with_failure:
        message.failure_reason = report.failure
    if with_stats:
        message.method_stats.extend(method_stats(each) for each in report.methods)
    if report.snapshot is not None:
        message.progress.steps_finished = report.snapshot.steps_finished
        message.progress.queued_requests = report.snapshot.queued
        message.progress.running_requests = report.snapshot.running
        message.progress.step_age_ms = report.step_age_ms
        message.progress.slowest_step_ms = report.slowest_step_ms
        message.progress.is_compiling = report.is_compiling
    return message


def method_stats(report: MethodReport) -> modelet_pb2.GetStatusResponse.MethodStats:
    """Return the figures of one method; latencies are left out when nothing succeeded."""
    return modelet_pb2.GetStatusResponse.MethodStats(
        method=report.method,
        errors_per_second=report.errors_per_second,
        successes_per_second=report.successes_per_second,
        mean_latency_on_success_per_second=report.mean_s,
        p50_latency_on_success_per_second=report.p50_s,
        p95_latency_on_success_per_second=report.p95_s,
        p99_latency_on_success_per_second=report.p99_s,
        recent_batch_sizes=report.recent_batch_sizes,
        pending_reqs=report.pending,
    )


def status_response(
    models: Sequence[modelet_pb2.GetStatusResponse.ModelWithStatus],
    *,
    incarnation: str,
    highest_term: int,
    memory: tuple[int, int],
    is_draining: bool,
) -> modelet_pb2.GetStatusResponse:
    """Return the whole GetStatus answer. `memory` is (total, used) in bytes."""
    total, used = memory
    server = modelet_pb2.GetStatusResponse.ServerStatus(
        state=modelet_pb2.GetStatusResponse.ServerStatus.ACTIVE,
        # Original admins expect an explanation in every answer.
        explanation="draining" if is_draining else "serving",
        stats=modelet_pb2.GetStatusResponse.ServerStatus.Stats(),
    )
    return modelet_pb2.GetStatusResponse(
        models=models,
        server_status=server,
        incarnation=incarnation,
        highest_term=highest_term,
        memory=modelet_pb2.GetStatusResponse.Memory(total_bytes=total, used_bytes=used),
        is_draining=is_draining,
    )
