"""Clients that change and read the cell, and watchers that follow where a model is served.

The life of an operation: drawn, named by an id, sent to whoever is thought to lead, sent again with the
same id while nobody knows what became of it, and told to the oracle when its client learns the outcome. A
client may give up early; then nothing is known and nothing is promised.

Watchers keep their state with the production functions (`sax_client.watchset`, `sax_client.wire`).
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from sax_admin.core.cell import digest_of
from sax_client import watchset, wire
from sax_common.errors import Aborted, AlreadyExists, FailedPrecondition, NotFound, SaxError
from sax_common.names import ModelName
from saxml.protobuf import admin_pb2

from sax_testing.sim.admins import Refusal
from sax_testing.sim.fleet import MODEL_PATH
from sax_testing.sim.histories import Operation
from sax_testing.sim.params import MODELS
from sax_testing.sim.ready import STALE_MS

if TYPE_CHECKING:
    import random
    from collections.abc import Sequence

    from sax_common.names import CellName

    from sax_testing.sim.network import Network
    from sax_testing.sim.oracle import Oracle
    from sax_testing.sim.params import Params
    from sax_testing.sim.ready import ReadyLog
    from sax_testing.sim.world import Host

FINAL = (AlreadyExists, NotFound, Aborted, FailedPrecondition)
CALL_MS = 4_000
WATCH_MS = 25_000
PATIENCE_MS = 40_000
AGAIN_MS = 400


class Caller:
    """Finds the leader by asking and calls it. Shared shape of clients and watchers."""

    def __init__(self, host: Host, network: Network, admins: Sequence[str], chance: random.Random) -> None:
        """Begin with any admin."""
        self.host = host
        self.chance = chance
        self.leader = chance.choice(admins)
        self._network = network
        self._admins = admins

    async def call(self, method: str, request: object, timeout_ms: int = CALL_MS) -> Any:
        """Call whoever is thought to lead; raises SaxError, having turned to another for the next time."""
        is_change = method in ("Publish", "Update", "Unpublish")
        asked = self.leader
        try:
            answer = await self._network.call(
                self.host, asked, method, (request,), timeout_ms=timeout_ms, is_copyable=is_change
            )
        except FINAL:
            raise
        except SaxError:
            self.leader = self.chance.choice(self._admins)
            raise
        if isinstance(answer, Refusal):
            # A leader that was named but does not answer is not believed for ever.
            self.leader = answer.leader if answer.leader != asked else self.chance.choice(self._admins)
            raise answer.error
        return answer

    async def sleep(self, ms: float) -> None:
        """Wait."""
        future = self.host.create_future()
        self.host.call_later(ms / 1000, future.set_result, None)
        await future


class Client(Caller):
    """Changes and reads models until told to stop."""

    def __init__(
        self,
        host: Host,
        network: Network,
        admins: Sequence[str],
        chance: random.Random,
        *,
        cell: CellName,
        oracle: Oracle,
        params: Params,
    ) -> None:
        """Begin to work."""
        super().__init__(host, network, admins, chance)
        self.is_stopped = False
        self.is_idle = False
        self._cell = cell
        self._oracle = oracle
        self._params = params
        self._count = 0
        self._seen_sequence = 0
        host.start(self._run())

    async def _run(self) -> None:
        while not self.is_stopped:
            await self.sleep(self._params.think_ms * self.chance.uniform(0.2, 1.8))
            if self.chance.random() < self._params.reads:
                await self._read()
            else:
                await self._change()
        self.is_idle = True

    async def _read(self) -> None:
        name = self._model()
        floor = self._oracle.history(name).floor
        try:
            answer = await self.call("List", admin_pb2.ListRequest(model_id=name))
        except NotFound:
            self._oracle.read(name, floor, 0)
        except SaxError:
            return
        else:
            listed = (
                answer
                if isinstance(answer, admin_pb2.ListResponse)
                else admin_pb2.ListResponse.FromString(answer)
            )
            self._oracle.read(name, floor, listed.published_models[0].model.generation)

    def _model(self) -> ModelName:
        return ModelName(f"{self._cell}/{self.chance.choice(MODELS)}")

    async def _change(self) -> None:
        name = self._model()
        history = self._oracle.history(name)
        # What this client believes: mostly right, for others change the same models.
        is_published = bool(history.generations[-1])
        draw = self.chance.random()
        kind = ("unpublish" if draw < 0.35 else "update") if is_published else "publish"  # noqa: PLR2004
        if self.chance.random() < 0.1:  # noqa: PLR2004
            kind = self.chance.choice(("publish", "update", "unpublish"))
        self._count += 1
        expected = history.generations[-1] if kind == "update" and self.chance.random() < 0.4 else 0  # noqa: PLR2004
        operation = Operation(
            operation_id=f"{self.host.name}-{self._count}",
            kind=kind,
            model=name,
            expected_generation=expected,
        )
        self._oracle.began(operation)
        await self._see_through(operation, self._request(operation))

    def _request(self, operation: Operation) -> object:
        identity = {"operation_id": operation.operation_id, "last_seen_sequence": self._seen_sequence}
        if operation.kind == "unpublish":
            return admin_pb2.UnpublishRequest(model_id=operation.model, **identity)  # type: ignore[arg-type]
        model = admin_pb2.Model(
            model_id=operation.model,
            model_path=MODEL_PATH,
            checkpoint_path=f"/checkpoints/{self.chance.randrange(3)}",
            requested_num_replicas=self.chance.randint(1, 2),
            overrides={"ram": "1"},
        )
        if operation.kind == "publish":
            return admin_pb2.PublishRequest(model=model, **identity)  # type: ignore[arg-type]
        expected = operation.expected_generation
        return admin_pb2.UpdateRequest(model=model, expected_generation=expected, **identity)  # type: ignore[arg-type]

    async def _see_through(self, operation: Operation, request: object) -> None:
        method = operation.kind.capitalize()
        until_ms = self.host.local_ms() + PATIENCE_MS
        while self.host.local_ms() < until_ms:
            operation.attempts += 1
            try:
                answer = await self.call(method, request)
            except FINAL as error:
                # A copy or an earlier try may still be on its way; only then may it happen after all.
                is_strict = operation.attempts == 1 and not self._params.net_copied
                self._oracle.refused(operation, type(error).__name__, is_strict=is_strict)
                return
            except SaxError as error:
                was_not_done = "nothing was changed" in error.message
                if self.chance.random() < (0.8 if was_not_done else self._params.give_up):
                    if was_not_done:
                        is_strict = operation.attempts == 1 and not self._params.net_copied
                        self._oracle.refused(operation, "not written", is_strict=is_strict)
                    return
                await self.sleep(AGAIN_MS * self.chance.uniform(0.2, 1.8))
            else:
                self._seen_sequence = max(self._seen_sequence, answer.sequence)
                self._oracle.acknowledged(operation, answer.sequence)
                return
        self._oracle.seen["operations given up"] += 1


class Watcher(Caller):
    """Follows one model for ever."""

    def __init__(
        self,
        host: Host,
        network: Network,
        admins: Sequence[str],
        chance: random.Random,
        *,
        model: ModelName,
        oracle: Oracle,
        ready: ReadyLog,
    ) -> None:
        """Begin to watch."""
        super().__init__(host, network, admins, chance)
        self.model = model
        self.state = watchset.WatchState()
        self._oracle = oracle
        self._ready = ready
        host.start(self._run())

    async def _run(self) -> None:
        while True:
            try:
                response = await self.call("WatchLoc", wire.watch_request(self.model, self.state), WATCH_MS)
            except SaxError:
                self.state = watchset.restarted(self.state)
                await self.sleep(AGAIN_MS * self.chance.uniform(0.2, 1.8))
                continue
            answer = wire.watch_answer(response)
            applied = watchset.apply(self.state, answer)
            if applied.is_stale:
                self._oracle.seen["stale watch answers"] += 1
                self.state = watchset.restarted(self.state)
                await self.sleep(AGAIN_MS)
                continue
            self._check(answer, applied.state)
            self.state = applied.state

    def _check(self, answer: watchset.WatchAnswer, after: watchset.WatchState) -> None:
        """Compare an answer with the last one and with what is ready (I2, I9, I20)."""
        oracle, before = self._oracle, self.state
        oracle.note("watched", self.host.name, answer.next_seqno, sorted(after.addresses))
        oracle.seen["watch answers"] += 1
        if answer.term < before.term:
            oracle.breach("I2", f"a watcher accepts term {answer.term} after {before.term}")
        if answer.full_set is None and before.server_id and answer.server_id != before.server_id:
            if answer.mutations or answer.next_seqno:
                oracle.breach("I20", f"{self.model}: another log goes on without a full set")
        elif answer.full_set is None and answer.next_seqno != before.seqno + len(answer.mutations):
            oracle.breach(
                "I20",
                f"{self.model}: {len(answer.mutations)} changes from {before.seqno} to {answer.next_seqno}",
            )
        slack_ms = STALE_MS + oracle.lately_stopped_ms
        for address in sorted(
            after.addresses - (before.addresses if answer.full_set is None else frozenset())
        ):
            if not self._ready.was_ready(address, self.model, slack_ms):
                oracle.breach(
                    "I9", f"{address} is advertised for {self.model} and was not ready there lately"
                )
        if before.addresses and not after.addresses:
            oracle.seen["watchers left without an address"] += 1
            self._check_blank(before.addresses)

    def _check_blank(self, lost: frozenset[str]) -> None:
        """Complain when a watcher is told of no replica though those it knew were there all the time."""
        oracle, spec = self._oracle, self._oracle.spec(self.model)
        if spec is None or not spec.replicas or oracle.calm_ms < STALE_MS or not oracle.is_net_sound:
            return
        digest = digest_of(spec)
        steady = [one for one in lost if self._ready.ready_for_ms(one, self.model, digest) > STALE_MS]
        if steady:
            self._oracle.breach("I9", f"watchers of {self.model} lose {sorted(steady)}, ready all the time")
