"""What a user can ask of the admin server of one cell.

Every change carries an operation id made here once, before the first attempt: the admin applies an id only
once and answers it as often as it is asked, so an attempt whose answer was lost may be repeated. Updates
are read, change, write: the request names the generation that was read, and a model that changed in between
is read again.
"""

from __future__ import annotations

import uuid
from typing import TYPE_CHECKING, Any

from sax_common import names
from sax_common.errors import Aborted, InvalidArgument, NotFound, SaxError
from saxml.protobuf import admin_pb2

from sax_client import reasons, wire
from sax_client.fleet import FleetReport, fleet_report
from sax_client.rpc import CallFailed
from sax_client.watch import Watcher

if TYPE_CHECKING:
    import random
    from collections.abc import AsyncIterator, Callable, Mapping, Sequence

    from sax_common.clock import Clock

    from sax_client.link import AdminLink
    from sax_client.values import PublishedModel, Stats
    from sax_client.watchset import WatchAnswer

DEFAULT_TIMEOUT_S = 60.0
READY_TIMEOUT_S = 1800.0
"""Default of `wait_for_ready`: how long a Load may take (reliability.md 2.3)."""

UPDATE_TRIES = 5
WHY_TIMEOUT_S = 2.0


class AdminClient:
    """The admin server of one cell. Made by `AsyncClient.admin`; owned by its event loop."""

    def __init__(self, link: AdminLink, *, clock: Clock, rng: random.Random) -> None:
        self._link = link
        self._clock = clock
        self._rng = rng

    @property
    def cell(self) -> names.CellName:
        """The full name of the cell."""
        return self._link.cell

    async def publish(
        self,
        model_id: str,
        model_path: str,
        checkpoint: str,
        replicas: int,
        overrides: Mapping[str, str] | None = None,
        *,
        timeout_s: float = DEFAULT_TIMEOUT_S,
    ) -> None:
        """Publish a model; durable when this returns, loaded some time later.

        Raises AlreadyExists, InvalidArgument and what any call raises.
        """
        names.check_model_path(model_path)
        names.check_checkpoint_path(checkpoint)
        _check_replicas(replicas)
        model = wire.model_message(self._own(model_id), model_path, checkpoint, replicas, overrides)
        await self._change("Publish", admin_pb2.PublishRequest(model=model), timeout_s)

    async def update(
        self,
        model_id: str,
        *,
        replicas: int | None = None,
        checkpoint: str | None = None,
        model_path: str | None = None,
        overrides: Mapping[str, str] | None = None,
        admin_acl: str | None = None,
        acls: Mapping[str, str] | None = None,
        allow_downtime: bool = False,
        timeout_s: float = DEFAULT_TIMEOUT_S,
    ) -> None:
        """Change what is given and keep the rest, ACLs too. Raises NotFound, InvalidArgument, Aborted.

        FailedPrecondition when the only replica would have to stop serving while it reloads, unless
        `allow_downtime`.
        """
        if checkpoint is not None:
            names.check_checkpoint_path(checkpoint)
        if replicas is not None:
            _check_replicas(replicas)
        for attempt in range(UPDATE_TRIES):
            model = await self._listed_message(model_id, timeout_s)
            request = admin_pb2.UpdateRequest(
                model=model, expected_generation=model.generation, allow_downtime=allow_downtime
            )
            _set_given(request.model, replicas, checkpoint, model_path, admin_acl)
            if overrides is not None:
                request.model.overrides.clear()
                request.model.overrides.update(overrides)
            if acls is not None:
                request.model.acls.items.clear()
                request.model.acls.items.update(acls)
            try:
                return await self._change("Update", request, timeout_s)
            except Aborted:
                if attempt == UPDATE_TRIES - 1:
                    raise
        return None

    async def unpublish(self, model_id: str, *, timeout_s: float = DEFAULT_TIMEOUT_S) -> None:
        """Take a model away; its name is free when this returns. Raises NotFound."""
        request = admin_pb2.UnpublishRequest(model_id=self._own(model_id))
        await self._change("Unpublish", request, timeout_s)

    async def list(self, model_id: str, *, timeout_s: float = DEFAULT_TIMEOUT_S) -> PublishedModel:
        """One published model. Raises NotFound."""
        request = admin_pb2.ListRequest(model_id=self._own(model_id))
        response = await self._read("List", request, timeout_s)
        if not response.published_models:
            raise NotFound(f"Model {model_id} is not published.")
        return wire.published_model(response.published_models[0])

    async def list_all(self, *, timeout_s: float = DEFAULT_TIMEOUT_S) -> Sequence[PublishedModel]:
        """All published models of the cell, sorted by name."""
        response = await self._read("List", admin_pb2.ListRequest(), timeout_s)
        models = [wire.published_model(message) for message in response.published_models]
        return sorted(models, key=lambda model: model.model_id)

    async def stats(self, model_id: str = "", *, timeout_s: float = DEFAULT_TIMEOUT_S) -> Stats:
        """Counts of the cell's model servers, or of those that serve one model."""
        request = admin_pb2.StatsRequest(model_id=self._own(model_id) if model_id else "")
        return wire.stats(await self._read("Stats", request, timeout_s))

    async def servers(self, address: str = "", *, timeout_s: float = DEFAULT_TIMEOUT_S) -> FleetReport:
        """All model servers of the cell, or one. Raises NotFound, and Unimplemented at an original admin."""
        request = admin_pb2.ListServersRequest(address=address)
        return fleet_report(await self._read("ListServers", request, timeout_s))

    async def drain(self, address: str, *, timeout_s: float = DEFAULT_TIMEOUT_S) -> None:
        """Have the models of a server moved elsewhere, and give it none until `undrain`.

        Durable when this returns, empty some time later. Raises NotFound, and Unimplemented at an original.
        """
        await self._change("Drain", admin_pb2.DrainRequest(address=address), timeout_s)

    async def undrain(self, address: str, *, timeout_s: float = DEFAULT_TIMEOUT_S) -> None:
        """Give a drained server models again. Raises NotFound, and Unimplemented at an original."""
        await self._change("Undrain", admin_pb2.UndrainRequest(address=address), timeout_s)

    async def wait_for_ready(
        self, model_id: str, replicas: int, *, timeout_s: float = READY_TIMEOUT_S
    ) -> None:
        """Return when so many replicas are loaded. Raises NotFound, Cancelled, DeadlineExceeded."""
        request = admin_pb2.WaitForReadyRequest(model_id=self._own(model_id), num_replicas=replicas)
        await self._link.call("WaitForReady", request, timeout_s=timeout_s, is_repeatable=False)

    async def watch(
        self, model_id: str, *, on_failure: Callable[[SaxError], None] = lambda _: None
    ) -> AsyncIterator[WatchAnswer]:
        """Every change of where the model is served, for ever. Raises NotFound when it is not published.

        Other failures are told to `on_failure` and followed by a full set from the admin, as after any
        reconnect.
        """
        watcher = self.watcher(self._own(model_id))
        while True:
            try:
                answer = await watcher.poll()
            except CallFailed as failed:
                if not failed.is_connect_failure and failed.code not in {"UNAVAILABLE", "CANCELLED"}:
                    raise failed.error from None
                on_failure(failed.error)
                await watcher.pause()
            else:
                if answer is not None:
                    yield answer

    def watcher(self, model_id: str) -> Watcher:
        """A poller for one model, for those who run their own loop."""
        return Watcher(self._link, model_id, clock=self._clock, rng=self._rng)

    async def why_not_ready(self, model_id: str) -> str:
        """Say in a few words why a model has no ready replica; never raises for a failed call."""
        try:
            return reasons.shortfall(await self.list(model_id, timeout_s=WHY_TIMEOUT_S))
        except SaxError as error:
            return f"and why is not known ({error.message})"

    def _own(self, model_id: str) -> names.ModelName:
        model = names.parse_model(model_id)
        if names.cell_of(model) != self.cell:
            raise InvalidArgument(f"Model {model_id} is not in cell {self.cell}.")
        return model

    async def _listed_message(self, model_id: str, timeout_s: float) -> admin_pb2.Model:
        # The message as it came, so that fields of a newer admin survive the way back.
        response = await self._read("List", admin_pb2.ListRequest(model_id=self._own(model_id)), timeout_s)
        if not response.published_models:
            raise NotFound(f"Model {model_id} is not published.")
        model: admin_pb2.Model = response.published_models[0].model
        return model

    async def _read(self, method: str, request: Any, timeout_s: float) -> Any:
        return await self._link.call(method, request, timeout_s=timeout_s, is_repeatable=True)

    async def _change(self, method: str, request: Any, timeout_s: float) -> None:
        request.operation_id = str(uuid.uuid4())
        request.last_seen_sequence = self._link.last_sequence
        # An original admin does not know operation ids: asked twice, it would say ALREADY_EXISTS to the
        # winner.
        await self._link.call(method, request, timeout_s=timeout_s, is_repeatable=self._link.is_ours)


def _check_replicas(replicas: int) -> None:
    if replicas < 0:
        raise InvalidArgument(f"The number of replicas must be 0 or more, not {replicas}.")


def _set_given(
    model: admin_pb2.Model,
    replicas: int | None,
    checkpoint: str | None,
    model_path: str | None,
    admin_acl: str | None,
) -> None:
    if replicas is not None:
        model.requested_num_replicas = replicas
    if checkpoint is not None:
        model.checkpoint_path = checkpoint
    if model_path is not None:
        model.model_path = model_path
    if admin_acl is not None:
        model.admin_acl = admin_acl
