"""What one admin server carries: reads under load, and how fast a change reaches its watchers.

Runs the real `sax-admin-server` as a process on a fresh directory. Hollow model servers (real gRPC servers
that only keep a table, in a second process) join and load models at once; this process asks. Load and admin
share the machine's cores, as the goals assume.

    python bench/admin_load.py [--servers 1000] [--models 200] [--replicas 5] [--seconds 5] [--watchers 1000]

Prints one JSON line per number with PASS or FAIL; exit code 1 when one fails.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import json
import os
import platform
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

import grpc
from sax_testing.fake_modelet import FakeModelServer
from saxml.protobuf import admin_pb2, admin_pb2_grpc

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Awaitable, Callable

CELL = "/sax/bench"
IN_FLIGHT = 16
CHANNELS = 10
WATCHERS_MS = 100
RSS_MB = 600


def show(metric: str, passed: bool, **values: object) -> bool:  # noqa: FBT001  # Read as a sentence below.
    """Print one JSON line."""
    print(json.dumps({"metric": metric, **values, "result": "PASS" if passed else "FAIL"}), flush=True)
    return passed


def model_id(number: int) -> str:
    """Name a model."""
    return f"{CELL}/m{number}"


# ---- The hollow servers, a process of their own ----


async def hollow(count: int, admin: str) -> None:
    """Run `count` hollow model servers and join them; says so on standard output, then serves for ever."""
    fakes = [FakeModelServer(total_bytes=1 << 40) for _ in range(count)]
    for fake in fakes:
        await fake.start()
    limit = asyncio.Semaphore(32)
    async with grpc.aio.insecure_channel(admin) as channel:
        stub: Any = admin_pb2_grpc.AdminStub(channel)  # type: ignore[no-untyped-call]

        async def join(fake: FakeModelServer) -> None:
            async with limit:
                await stub.Join(fake.join_request(), timeout=60)

        await asyncio.gather(*(join(fake) for fake in fakes))
    print("joined", flush=True)
    await asyncio.Event().wait()


@contextlib.asynccontextmanager
async def processes(root: Path, servers: int) -> AsyncIterator[tuple[str, int]]:
    """Run an admin and its hollow servers; gives the admin's address and process id."""
    environment = {**os.environ, "SAX_DEBUG_IPADDR": "1"}
    cell = [f"--sax_cell={CELL}", f"--sax_root={root}/sax-root"]
    config = [sys.executable, "-m", "sax_admin.config_main", *cell, f"--fs_root={root}/fs-root"]
    made = await asyncio.create_subprocess_exec(*config, env=environment, stderr=asyncio.subprocess.DEVNULL)
    await made.wait()
    admin = [sys.executable, "-m", "sax_admin.main", *cell, "--port=0", "--status_port=0"]
    with subprocess.Popen(  # noqa: ASYNC220  # Returns at once.
        admin, env=environment, stderr=subprocess.DEVNULL
    ) as process:
        location = root / "sax-root" / "sax" / "bench" / "location.proto"
        while not location.exists():  # noqa: ASYNC110  # Written by the other process.
            await asyncio.sleep(0.05)
        address = admin_pb2.Location.FromString(location.read_bytes()).location
        command = [sys.executable, __file__, f"--hollow={servers}", f"--admin={address}"]
        others = await asyncio.create_subprocess_exec(*command, stdout=asyncio.subprocess.PIPE)
        try:
            if others.stdout is None or await others.stdout.readline() != b"joined\n":
                raise RuntimeError("the hollow servers did not join")
            yield address, process.pid
        finally:
            others.kill()
            await others.wait()
            process.kill()


def rss_mb(pid: int) -> int:
    """Read how much memory a process holds."""
    for line in Path(f"/proc/{pid}/status").read_text().splitlines():
        if line.startswith("VmRSS"):
            return int(line.split()[1]) // 1024
    return 0


def cpu_s(pid: int) -> float:
    """Read how long a process has computed."""
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


# ---- What is measured ----


async def hammer(call: Callable[[int], Awaitable[object]], seconds: float) -> tuple[float, list[float]]:
    """Keep 16 calls in flight; return calls per second and the sorted times in milliseconds."""
    times: list[float] = []
    until = time.perf_counter() + seconds

    async def worker(number: int) -> None:
        while (begun := time.perf_counter()) < until:
            await call(number)
            times.append((time.perf_counter() - begun) * 1000)
            number += IN_FLIGHT

    begun = time.perf_counter()
    await asyncio.gather(*(worker(number) for number in range(IN_FLIGHT)))
    return len(times) / (time.perf_counter() - begun), sorted(times)


async def reads(channel: grpc.aio.Channel, pid: int, models: int, seconds: float) -> bool:
    """Measure List of one model, List of all (its 200 KB are not decoded here) and Stats."""
    stub: Any = admin_pb2_grpc.AdminStub(channel)  # type: ignore[no-untyped-call]
    raw: Any = channel.unary_unary(
        "/sax.Admin/List", request_serializer=admin_pb2.ListRequest.SerializeToString
    )
    one = lambda number: stub.List(admin_pb2.ListRequest(model_id=model_id(number % models)), timeout=30)  # noqa: E731
    whole = lambda _number: raw(admin_pb2.ListRequest(), timeout=30)  # noqa: E731
    stats = lambda _number: stub.Stats(admin_pb2.StatsRequest(), timeout=30)  # noqa: E731
    good = True
    for name, call, rate_goal, p99_goal in (
        ("List(model)", one, 4_000, 5.0),
        ("List(all)", whole, 2_000, None),
        ("Stats", stats, 2_000, None),
    ):
        await hammer(call, 0.5)
        cpu_before_s = cpu_s(pid)
        rate, times = await hammer(call, seconds)
        p99 = times[int(0.99 * len(times))]
        good &= show(
            f"{name}, {IN_FLIGHT} in flight",
            rate >= rate_goal and p99 <= (p99_goal or p99),
            calls_per_s=int(rate),
            goal_calls_per_s=rate_goal,
            p50_ms=round(statistics.median(times), 2),
            p99_ms=round(p99, 2),
            goal_p99_ms=p99_goal,
            admin_cpu_us_per_call=int(1e6 * (cpu_s(pid) - cpu_before_s) / len(times)),
        )
    return good


async def watched(address: str, stub: Any, watchers: int) -> bool:
    """Measure from the acknowledgement of an unpublish to when its watchers know, first and last."""
    heard: list[float] = []
    async with contextlib.AsyncExitStack() as stack:
        stubs: list[Any] = []
        for _ in range(CHANNELS):
            # A pool of its own for each, else gRPC shares one connection.
            options = [("grpc.use_local_subchannel_pool", 1)]
            channel = await stack.enter_async_context(grpc.aio.insecure_channel(address, options=options))
            stubs.append(admin_pb2_grpc.AdminStub(channel))  # type: ignore[no-untyped-call]

        async def watch(mine: Any) -> None:
            request = admin_pb2.WatchLocRequest(model_id=model_id(0))
            first = await mine.WatchLoc(request, timeout=60)
            request.admin_server_id, request.seqno = first.admin_server_id, first.result.next_seqno
            await mine.WatchLoc(request, timeout=60)
            heard.append(time.perf_counter())

        tasks = [asyncio.create_task(watch(stubs[number % CHANNELS])) for number in range(watchers)]
        await asyncio.sleep(3)
        begun = time.perf_counter()
        await stub.Unpublish(admin_pb2.UnpublishRequest(model_id=model_id(0)), timeout=30)
        await asyncio.gather(*tasks)
    last_ms = (max(heard) - begun) * 1000
    return show(
        "unpublish to the last watcher",
        last_ms <= WATCHERS_MS,
        last_ms=round(last_ms, 1),
        goal_ms=WATCHERS_MS,
        first_ms=round((min(heard) - begun) * 1000, 1),
        watchers=watchers,
    )


async def measure(arguments: argparse.Namespace, root: Path) -> bool:
    """Measure everything; false when a goal was missed."""
    async with processes(root, arguments.servers) as (address, pid):
        options = [("grpc.max_receive_message_length", 64 << 20)]
        async with grpc.aio.insecure_channel(address, options=options) as channel:
            stub: Any = admin_pb2_grpc.AdminStub(channel)  # type: ignore[no-untyped-call]
            begun = time.perf_counter()
            for number in range(arguments.models):
                model = admin_pb2.Model(
                    model_id=model_id(number),
                    model_path="test.Model",
                    checkpoint_path="None",
                    requested_num_replicas=arguments.replicas,
                )
                await stub.Publish(admin_pb2.PublishRequest(model=model), timeout=60)
            for number in range(arguments.models):
                request = admin_pb2.WaitForReadyRequest(
                    model_id=model_id(number), num_replicas=arguments.replicas
                )
                await stub.WaitForReady(request, timeout=120)
            ready_s = time.perf_counter() - begun
            show("all models published and ready", True, seconds=round(ready_s, 2), models=arguments.models)  # noqa: FBT003
            good = await reads(channel, pid, arguments.models, arguments.seconds)
            good &= await watched(address, stub, arguments.watchers)
            return good & show("resident memory", rss_mb(pid) <= RSS_MB, mb=rss_mb(pid), goal_mb=RSS_MB)


def main() -> int:
    """Run the benchmark and return the exit code."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else "")
    parser.add_argument("--servers", type=int, default=1000)
    parser.add_argument("--models", type=int, default=200)
    parser.add_argument("--replicas", type=int, default=5)
    parser.add_argument("--seconds", type=float, default=5.0)
    parser.add_argument("--watchers", type=int, default=1000)
    parser.add_argument("--hollow", type=int, default=0, help="be that many hollow servers of --admin")
    parser.add_argument("--admin", default="")
    arguments = parser.parse_args()
    if arguments.hollow:
        asyncio.run(hollow(arguments.hollow, arguments.admin))
        return 0
    machine = {"machine": platform.machine(), "cpus": os.cpu_count(), "servers": arguments.servers}
    print(json.dumps({**machine, "load_1m": round(os.getloadavg()[0], 1)}))
    with tempfile.TemporaryDirectory() as folder:
        return 0 if asyncio.run(measure(arguments, Path(folder))) else 1


if __name__ == "__main__":
    sys.exit(main())
