"""Between protobuf messages and values. The only place that knows field names of the admin's contract.

Unknown fields of a newer program are kept in wire form beside the values (`unknown`) and merged back when
the message is made again, so that a read-modify-write by an older admin drops nothing.
"""

from __future__ import annotations

from functools import lru_cache
from typing import TYPE_CHECKING

from sax_common.names import ModelName
from saxml.protobuf import admin_pb2, modelet_pb2

from sax_admin.core.cell import (
    Digest,
    ModelSpec,
    Pairs,
    ServerAddress,
    ServerOffer,
    pairs,
)
from sax_admin.core.commands import ModelDraft, Mutation, Publish, Unpublish, Update
from sax_admin.core.events import Join, Token
from sax_admin.core.servers import Order, OrderKind, Progress, Report, SeenModel, Status, Traffic

if TYPE_CHECKING:
    from collections.abc import Iterable

    from google.protobuf.message import Message
    from sax_common.watchable import WatchAnswer

    from sax_admin.core.views import ModelView, StatsView


def unknown_fields(message: Message) -> bytes:
    """Return the fields of `message` that this program does not know, in wire form."""
    rest = type(message)()
    rest.CopyFrom(message)
    for field, value in rest.ListFields():
        if field.message_type is None or field.is_repeated:
            rest.ClearField(field.name)
            continue
        inner = unknown_fields(value)
        rest.ClearField(field.name)
        if inner:
            getattr(rest, field.name).MergeFromString(inner)
    return rest.SerializeToString()


# ---- Models ----


def draft_of(model: admin_pb2.Model) -> ModelDraft:
    """Read a model as a caller wrote it."""
    return ModelDraft(
        model_id=model.model_id,
        model_path=model.model_path,
        checkpoint_path=model.checkpoint_path,
        replicas=model.requested_num_replicas,
        acls=pairs(model.acls.items),
        admin_acl=model.admin_acl,
        overrides=pairs(model.overrides),
        unknown=unknown_fields(model),
    )


def spec_of(model: admin_pb2.Model) -> ModelSpec:
    """Read a stored model, trusted to be valid."""
    return ModelSpec(
        name=ModelName(model.model_id),
        model_path=model.model_path,
        checkpoint_path=model.checkpoint_path,
        replicas=model.requested_num_replicas,
        acls=pairs(model.acls.items),
        admin_acl=model.admin_acl,
        overrides=pairs(model.overrides),
        uuid=model.uuid,
        generation=model.generation,
        unknown=unknown_fields(model),
    )


def model_of(spec: ModelSpec) -> admin_pb2.Model:
    """Write a model with everything that is stored."""
    model = admin_pb2.Model(
        model_id=spec.name,
        model_path=spec.model_path,
        checkpoint_path=spec.checkpoint_path,
        requested_num_replicas=spec.replicas,
        admin_acl=spec.admin_acl,
        overrides=dict(spec.overrides),
        uuid=spec.uuid,
        generation=spec.generation,
    )
    if spec.acls:
        model.acls.items.update(dict(spec.acls))
    if spec.unknown:
        model.MergeFromString(spec.unknown)
    return model


@lru_cache(maxsize=16384)
def _listed(spec: ModelSpec, methods: tuple[str, ...]) -> admin_pb2.Model:
    model = model_of(spec)
    model.ClearField("uuid")
    model.method_names[:] = methods
    return model


def published_of(view: ModelView) -> admin_pb2.PublishedModel:
    """Write a model as List shows it: no uuid, addresses of ready replicas, all replicas with their state."""
    message = admin_pb2.PublishedModel(
        model=_listed(view.spec, view.methods),
        modelet_addresses=[replica.address for replica in view.replicas if replica.is_ready],
        shortfall_reason=view.shortfall_reason,
    )
    for replica in view.replicas:
        message.replicas.add(
            address=replica.address,
            data_address=replica.data_address,
            status=replica.status,
            failure_reason=replica.failure_reason,
            failed_loads=replica.failed_loads,
            retry_in_ms=replica.retry_in_ms,
        )
    return message


def stats_of(view: StatsView) -> admin_pb2.StatsResponse:
    """Write counts of servers, sorted by type."""
    response = admin_pb2.StatsResponse(num_servers_by_servable_model_path=dict(view.by_path))
    for (chip, topology), count in sorted(view.by_type.items()):
        response.model_server_type_stats.add(
            chip_type=chip,
            chip_topology=topology,
            num_replicas=count,
        )
    return response


# ---- Mutations and joins ----


def publish_of(request: admin_pb2.PublishRequest, fresh: bytes, client: str) -> Mutation:
    """Read a Publish call."""
    return _mutation(request, Publish(draft_of(request.model)), fresh, client)


def update_of(request: admin_pb2.UpdateRequest, fresh: bytes, client: str) -> Mutation:
    """Read an Update call."""
    update = Update(draft_of(request.model), request.expected_generation, request.allow_downtime)
    return _mutation(request, update, fresh, client)


def unpublish_of(request: admin_pb2.UnpublishRequest, fresh: bytes, client: str) -> Mutation:
    """Read an Unpublish call."""
    return _mutation(request, Unpublish(request.model_id), fresh, client)


def _mutation(
    request: admin_pb2.PublishRequest | admin_pb2.UpdateRequest | admin_pb2.UnpublishRequest,
    command: Publish | Update | Unpublish,
    fresh: bytes,
    client: str,
) -> Mutation:
    return Mutation(
        command=command,
        fresh=fresh,
        operation_id=request.operation_id,
        last_seen_sequence=request.last_seen_sequence,
        client=client,
    )


def offer_of(server: admin_pb2.ModelServer) -> ServerOffer:
    """Read what a model server says of itself."""
    return ServerOffer(
        chip_type=server.chip_type,
        chip_topology=server.chip_topology,
        model_paths=tuple(server.servable_model_paths),
        tags=tuple(server.tags),
    )


def server_of(offer: ServerOffer) -> admin_pb2.ModelServer:
    """Write what a model server said of itself."""
    return admin_pb2.ModelServer(
        chip_type=offer.chip_type,  # type: ignore[arg-type]  # Numbers of the enum, kept as they came.
        chip_topology=offer.chip_topology,  # type: ignore[arg-type]
        servable_model_paths=offer.model_paths,
        tags=offer.tags,
    )


def join_of(request: admin_pb2.JoinRequest, token: Token) -> Join:
    """Read a Join call; an empty data address means the control address."""
    return Join(
        token=token,
        address=ServerAddress(request.address),
        data_address=request.data_address or request.address,
        debug_address=request.debug_address,
        offer=offer_of(request.model_server),
        incarnation=request.incarnation,
        highest_term=request.highest_term,
    )


def watch_of(answer: WatchAnswer) -> admin_pb2.WatchResult:
    """Write an answer to a watcher; values are sorted so that equal sets look equal."""
    result = admin_pb2.WatchResult(
        next_seqno=answer.next_seqno, has_fullset=answer.has_full_set, values=sorted(answer.values)
    )
    for change in answer.changes:
        if change.is_addition:
            result.changelog.add(addition=change.address)
        else:
            result.changelog.add(deletion=change.address)
    return result


# ---- Model servers ----


def report_of(response: modelet_pb2.GetStatusResponse) -> Report:
    """Read a server's status. Status numbers that this program does not know count as NONE."""
    known = {status.value for status in Status}
    models = {
        ModelName(model.model_key): SeenModel(
            status=Status(model.model_status) if model.model_status in known else Status.NONE,
            digest=Digest(model.digest),
            failure_reason=model.failure_reason,
            memory_bytes=model.memory_bytes,
            methods=tuple(sorted(stats.method for stats in model.method_stats)),
            load_fraction=model.load_fraction,
            traffic=_traffic_of(model.method_stats),
            progress=Progress(
                queued=model.progress.queued_requests or sum(s.pending_reqs for s in model.method_stats),
                running=model.progress.running_requests,
                steps_finished=model.progress.steps_finished,
                step_age_ms=model.progress.step_age_ms,
                slowest_step_ms=model.progress.slowest_step_ms,
                is_compiling=model.progress.is_compiling,
            ),
        )
        for model in response.models
    }
    return Report(
        models=models,
        incarnation=response.incarnation,
        highest_term=response.highest_term,
        total_bytes=response.memory.total_bytes,
        used_bytes=response.memory.used_bytes,
        is_draining=response.is_draining,
        is_dormant=response.server_status.state == modelet_pb2.GetStatusResponse.ServerStatus.DORMANT,
        rejections_per_s=response.server_status.stats.early_rejection_errors_per_second,
    )


def _traffic_of(methods: Iterable[modelet_pb2.GetStatusResponse.MethodStats]) -> Traffic:
    """Add up the methods of one model; means are weighted by the calls that they are means of."""
    stats = list(methods)
    successes = sum(stat.successes_per_second for stat in stats)
    time_s = sum(stat.mean_latency_on_success_per_second * stat.successes_per_second for stat in stats)
    return Traffic(
        successes_per_s=successes,
        errors_per_s=sum(stat.errors_per_second for stat in stats),
        mean_s=time_s / successes if successes else 0.0,
        p99_s=max((stat.p99_latency_on_success_per_second for stat in stats), default=0.0),
    )


OrderRequest = modelet_pb2.LoadRequest | modelet_pb2.UnloadRequest | modelet_pb2.UpdateLoadedRequest


def order_request(order: Order) -> OrderRequest:
    """Write an order. Raises ValueError for one that lacks the spec its kind needs."""
    if order.kind == OrderKind.UNLOAD:
        return modelet_pb2.UnloadRequest(
            model_key=order.model, term=order.term, incarnation=order.incarnation
        )
    spec = order.spec
    if spec is None:
        raise ValueError(f"an order of kind {order.kind} needs a spec")
    if order.kind == OrderKind.LOAD:
        load = modelet_pb2.LoadRequest(
            model_key=order.model,
            model_path=spec.model_path,
            checkpoint_path=spec.checkpoint_path,
            overrides=dict(spec.overrides),
            term=order.term,
            incarnation=order.incarnation,
            digest=order.digest,
        )
        _set_acls(load, spec.acls)
        return load
    update = modelet_pb2.UpdateLoadedRequest(
        model_key=order.model,
        # A server reloads whatever comes with a checkpoint path, so ACLs travel without one (D15).
        checkpoint_path=spec.checkpoint_path if order.kind == OrderKind.UPDATE_CHECKPOINT else "",
        term=order.term,
        incarnation=order.incarnation,
        digest=order.digest,
    )
    _set_acls(update, spec.acls)
    return update


def _set_acls(request: modelet_pb2.LoadRequest | modelet_pb2.UpdateLoadedRequest, acls: Pairs) -> None:
    # Present even when empty: absent would mean "keep the old ones".
    request.acls.SetInParent()
    request.acls.items.update(dict(acls))
