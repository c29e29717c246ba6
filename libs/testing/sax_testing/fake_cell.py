"""A cell made of fakes: real gRPC servers on loopback, with an admin and model servers that a test scripts.

For tests of clients (sax_client, sax_util, sax_http): everything on the wire is real, everything behind it
is a few dictionaries. The semantics are those of reference/control_plane.md 2.11; nothing is durable and
nothing loads.

    async with FakeCell(tmp_path) as cell:
        server = await cell.start_server()
        cell.admin.publish("/sax/test/m", [server])           # or through a client
        ... call it ...
        server.failures["Generate"].append((14, "draining"))  # the next Generate is UNAVAILABLE
        await cell.kill(server)                                # its port refuses from now on

A model is *placed* on the servers that the test says; a model published through a client is placed on as
many running servers as it wants replicas, and is LOADED there at once. What a fake language model says is
computed by hand: `generate` continues a prompt with its words in reverse order, scores count words.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections import Counter, defaultdict, deque
from pathlib import Path
from typing import TYPE_CHECKING, Any, Self

import grpc
from saxml.protobuf import admin_pb2, admin_pb2_grpc, common_pb2, lm_pb2, lm_pb2_grpc

from sax_testing.fake_fleet import FleetCalls

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Iterable
    from types import TracebackType

CELL = "/sax/test"
_STATUS = {code.value[0]: code for code in grpc.StatusCode}


class Scripted:
    """What every fake server does before it answers: count the call, and fail if the test said so."""

    def __init__(self) -> None:
        self.calls: Counter[str] = Counter()
        self.failures: defaultdict[str, deque[tuple[int, str]]] = defaultdict(deque)
        self.requests: list[Any] = []
        self.address = ""
        self.delay_s = 0.0

    async def enter(self, method: str, request: Any, context: Any) -> None:
        """Count, keep the request, wait, fail as scripted."""
        self.calls[method] += 1
        self.requests.append(request)
        if self.delay_s:
            await asyncio.sleep(self.delay_s)
        if self.failures[method]:
            code, message = self.failures[method].popleft()
            await context.abort(_STATUS[code], message)


class FakeAdmin(Scripted, FleetCalls):
    """An admin server. `is_original` makes it speak like the original: no terms, no replica states."""

    def __init__(self, *, server_id: str = "fake_1", term: int = 1, is_original: bool = False) -> None:
        Scripted.__init__(self)
        FleetCalls.__init__(self)
        self.server_id = server_id
        self.term = 0 if is_original else term
        self.is_original = is_original
        self.is_standby = False
        self.servers: list[FakeServer] = []
        self.models: dict[str, admin_pb2.PublishedModel] = {}
        self.operations: dict[str, str] = {}
        self._addresses: dict[str, list[str]] = {}
        self._logs: dict[str, list[admin_pb2.WatchResult.Mutation]] = {}
        self._changed = asyncio.Event()

    # What a test does.

    def publish(self, model_id: str, servers: Iterable[FakeServer], *, replicas: int | None = None) -> None:
        """Publish a model as if a client had, placed on `servers`."""
        placed = list(servers)
        model = admin_pb2.Model(
            model_id=model_id,
            model_path="hf.CausalLM",
            checkpoint_path="None",
            requested_num_replicas=len(placed) if replicas is None else replicas,
        )
        self._place(model, placed)

    def move(self, model_id: str, servers: Iterable[FakeServer]) -> None:
        """Place a published model on these servers and no others; watchers hear of it."""
        wanted = [server.address for server in servers]
        have = self._addresses[model_id]
        for address in [one for one in have if one not in wanted]:
            self._mutate(model_id, admin_pb2.WatchResult.Mutation(deletion=address))
        for address in [one for one in wanted if one not in have]:
            self._mutate(model_id, admin_pb2.WatchResult.Mutation(addition=address))
        self.models[model_id].modelet_addresses[:] = wanted

    # The service.

    async def Publish(self, request: Any, context: Any) -> Any:  # noqa: N802 - the RPC's name
        """Publish and place; the same operation id is answered again without effect."""
        await self.enter_leading("Publish", request, context)
        if not self._is_repeated(request, "Publish"):
            if request.model.model_id in self.models:
                await context.abort(
                    grpc.StatusCode.ALREADY_EXISTS, f"{request.model.model_id} is already published"
                )
            self._place(request.model, self.servers[: request.model.requested_num_replicas])
        return admin_pb2.PublishResponse(sequence=self.sequence)

    async def Update(self, request: Any, context: Any) -> Any:  # noqa: N802
        """Replace the specification."""
        await self.enter_leading("Update", request, context)
        published = await self._find(request.model.model_id, context)
        if request.expected_generation not in {0, published.model.generation}:
            await context.abort(grpc.StatusCode.ABORTED, "the model has changed")
        generation = published.model.generation
        published.model.CopyFrom(request.model)
        published.model.generation = 0 if self.is_original else generation + 1
        self.move(
            request.model.model_id,
            self.servers[: request.model.requested_num_replicas],
        )
        return admin_pb2.UpdateResponse(sequence=self.sequence)

    async def Unpublish(self, request: Any, context: Any) -> Any:  # noqa: N802
        """Remove the model and end its watches."""
        await self.enter_leading("Unpublish", request, context)
        if not self._is_repeated(request, "Unpublish"):
            await self._find(request.model_id, context)
            del self.models[request.model_id], self._addresses[request.model_id]
            del self._logs[request.model_id]
            self._notify()
        return admin_pb2.UnpublishResponse(sequence=self.sequence)

    async def List(self, request: Any, context: Any) -> Any:  # noqa: N802
        """One model, or all of them."""
        await self.enter_leading("List", request, context)
        if request.model_id:
            return admin_pb2.ListResponse(published_models=[await self._find(request.model_id, context)])
        return admin_pb2.ListResponse(published_models=self.models.values())

    async def Stats(self, request: Any, context: Any) -> Any:  # noqa: N802
        """Every running server is a CPU server that serves hf.CausalLM."""
        await self.enter_leading("Stats", request, context)
        stat = admin_pb2.ModelServerTypeStat(
            chip_type=admin_pb2.ModelServer.CHIP_TYPE_CPU,
            chip_topology=admin_pb2.ModelServer.CHIP_TOPOLOGY_1,
            num_replicas=len(self.servers),
        )
        return admin_pb2.StatsResponse(
            model_server_type_stats=[stat],
            num_servers_by_servable_model_path={"hf.CausalLM": len(self.servers)},
        )

    async def WaitForReady(self, request: Any, context: Any) -> Any:  # noqa: N802
        """Return when enough addresses are placed."""
        await self.enter_leading("WaitForReady", request, context)
        await self._find(request.model_id, context)
        while len(self._addresses.get(request.model_id, ())) < request.num_replicas:
            await self._changed.wait()
        return admin_pb2.WaitForReadyResponse()

    async def WatchLoc(self, request: Any, context: Any) -> Any:  # noqa: N802
        """Answer the log since `seqno`, or wait for more.

        A request that names another server id gets a full set, which an original does not do.
        """
        await self.enter_leading("WatchLoc", request, context)
        await self._find(request.model_id, context)
        is_fresh = request.admin_server_id != self.server_id
        seqno = 0 if is_fresh else request.seqno
        while request.model_id in self._logs:
            log = self._logs[request.model_id]
            if len(log) > seqno:
                break
            await self._changed.wait()
        if request.model_id not in self._logs:
            result = admin_pb2.WatchResult(has_fullset=True)
        elif is_fresh and not self.is_original:
            result = admin_pb2.WatchResult(
                has_fullset=True, values=self._addresses[request.model_id], next_seqno=len(log)
            )
        else:
            result = admin_pb2.WatchResult(changelog=log[seqno:], next_seqno=len(log))
        return admin_pb2.WatchLocResponse(result=result, admin_server_id=self.server_id, term=self.term)

    # Inside.

    @property
    def sequence(self) -> int:
        """Number of the last change; an original tells none."""
        return 0 if self.is_original else len(self.operations) + 1

    @property
    def placed(self) -> dict[str, list[str]]:
        """Where each server's models are, by server address."""
        return {
            server.address: sorted(name for name, at in self._addresses.items() if server.address in at)
            for server in self.servers
        }

    async def enter_leading(self, method: str, request: Any, context: Any) -> None:
        """Do what every call begins with; a standby refuses."""
        if self.is_standby:
            self.calls[method] += 1
            await context.abort(grpc.StatusCode.UNAVAILABLE, "not the leader")
        await self.enter(method, request, context)

    async def _find(self, model_id: str, context: Any) -> admin_pb2.PublishedModel:
        if model_id not in self.models:
            await context.abort(grpc.StatusCode.NOT_FOUND, f"{model_id} is not published")
        return self.models[model_id]

    def _is_repeated(self, request: Any, method: str) -> bool:
        if self.is_original or not request.operation_id:
            return False
        return self.operations.setdefault(request.operation_id, method) is not method

    def _place(self, model: admin_pb2.Model, servers: list[FakeServer]) -> None:
        published = admin_pb2.PublishedModel(model=model)
        published.model.method_names[:] = ["lm.generate", "lm.score"]
        if not self.is_original:
            published.model.generation = 1
            published.replicas.extend(
                admin_pb2.ReplicaStatus(
                    address=server.address, data_address=server.address, status=common_pb2.LOADED
                )
                for server in servers
            )
        self.models[model.model_id] = published
        self._addresses[model.model_id] = []
        self._logs[model.model_id] = []
        self.move(model.model_id, servers)

    def _mutate(self, model_id: str, mutation: admin_pb2.WatchResult.Mutation) -> None:
        self._logs[model_id].append(mutation)
        if mutation.WhichOneof("kind") == "addition":
            self._addresses[model_id].append(mutation.addition)
        else:
            self._addresses[model_id].remove(mutation.deletion)
        self._notify()

    def _notify(self) -> None:
        self._changed, changed = asyncio.Event(), self._changed
        changed.set()


class FakeServer(Scripted, lm_pb2_grpc.LMServiceServicer):
    """A model server whose language model can be computed by hand. Serves every model name."""

    def __init__(self) -> None:
        super().__init__()
        self.words_before_death: int | None = None
        self.pause_s = 0.0

    async def Generate(self, request: Any, context: Any) -> Any:  # noqa: N802
        """Two samples: the words reversed (score -1.5) and the words as they are (score -0.5)."""
        await self.enter("Generate", request, context)
        text = _prompt(request)
        samples = [
            lm_pb2.DecodedText(text=" ".join(reversed(text.split())), score=-1.5),
            lm_pb2.DecodedText(text=text, score=-0.5),
        ]
        wanted = request.options.num_samples if request.options.HasField("num_samples") else len(samples)
        count = len(text.split())
        usage = lm_pb2.Usage(prompt_tokens=count, completion_tokens=count)
        return lm_pb2.GenerateResponse(texts=samples[:wanted], usage=usage)

    async def GenerateStream(self, request: Any, context: Any) -> AsyncIterator[Any]:  # noqa: N802
        """The words reversed, one per message, as D17 says: a leading ASCII part is not repeated."""
        await self.enter("GenerateStream", request, context)
        words = _prompt(request).split()[::-1]
        sent = ""
        for number, word in enumerate(words):
            if number == self.words_before_death:
                await context.abort(grpc.StatusCode.UNAVAILABLE, "the server is going down")
            whole = f"{sent} {word}" if sent else word
            stays = len(sent) if sent.isascii() else _ascii_prefix(sent)
            item = lm_pb2.GenerateStreamItem(text=whole[stays:], prefix_len=stays, scores=[-1.0])
            message = lm_pb2.GenerateStreamResponse(items=[item])
            if number == len(words) - 1:
                item.finish_reason = lm_pb2.FINISH_REASON_STOP
                usage = lm_pb2.Usage(prompt_tokens=len(words), completion_tokens=len(words))
                message = lm_pb2.GenerateStreamResponse(items=[item], usage=usage)
            yield message
            sent = whole
            await asyncio.sleep(self.pause_s)

    async def Score(self, request: Any, context: Any) -> Any:  # noqa: N802
        """Minus the number of words of each suffix."""
        await self.enter("Score", request, context)
        return lm_pb2.ScoreResponse(logp=[-float(len(suffix.split())) for suffix in request.suffix])

    async def Embed(self, request: Any, context: Any) -> Any:  # noqa: N802
        """The lengths of the words."""
        await self.enter("Embed", request, context)
        return lm_pb2.EmbedResponse(embedding=[float(len(word)) for word in request.text.split()])


class FakeCell:
    """The fakes, their ports and the files by which clients find them. Use as ``async with``."""

    def __init__(self, root: Path, *, cell: str = CELL, is_original: bool = False) -> None:
        self.root = root
        self.cell = cell
        self.admin = FakeAdmin(is_original=is_original)
        self._running: dict[str, Any] = {}

    async def __aenter__(self) -> Self:
        self.write("config.proto", admin_pb2.Config(fs_root=str(self.root)).SerializeToString())
        await self.start_admin(self.admin)
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await asyncio.gather(*(server.stop(None) for server in self._running.values()))

    def write(self, name: str, data: bytes) -> None:
        """Write one of the cell's files, such as location.proto."""
        folder = Path(f"{self.root}{self.cell}")
        folder.mkdir(parents=True, exist_ok=True)
        (folder / name).write_bytes(data)

    async def start_admin(self, admin: FakeAdmin, *, address: str = "127.0.0.1:0") -> None:
        """Start an admin and point the cell's location at it."""
        server = grpc.aio.server()
        admin_pb2_grpc.add_AdminServicer_to_server(admin, server)  # type: ignore[no-untyped-call]
        await self._serve(admin, server, address)
        self.write("location.proto", admin_pb2.Location(location=admin.address).SerializeToString())
        self.admin = admin

    async def start_server(
        self, server: FakeServer | None = None, *, address: str = "127.0.0.1:0"
    ) -> FakeServer:
        """Start a model server; models published from now on may be placed there."""
        server = server or FakeServer()
        grpc_server = grpc.aio.server()
        lm_pb2_grpc.add_LMServiceServicer_to_server(server, grpc_server)  # type: ignore[no-untyped-call]
        await self._serve(server, grpc_server, address)
        self.admin.servers.append(server)
        return server

    async def kill(self, server: Scripted) -> None:
        """Stop a server at once; calls in flight break and its port refuses connections."""
        with contextlib.suppress(ValueError):
            self.admin.servers.remove(server)  # type: ignore[arg-type] # an admin is not there
        await self._running.pop(server.address).stop(None)

    async def _serve(self, servicer: Scripted, server: Any, address: str) -> None:
        host = address.rpartition(":")[0]
        servicer.address = f"{host}:{server.add_insecure_port(address)}"
        await server.start()
        self._running[servicer.address] = server


def _prompt(request: Any) -> str:
    if request.messages:
        return " ".join(message.content for message in request.messages)
    return str(request.text)


def _ascii_prefix(text: str) -> int:
    return next((index for index, char in enumerate(text) if not char.isascii()), len(text))
