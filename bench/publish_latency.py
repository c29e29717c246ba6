"""How long a publish takes: until it is acknowledged, and until its Load reaches an idle model server.

Runs the real `sax-admin-server` as a process on a fresh directory, a fake model server in this one, and one
client. An acknowledgement means a durable record: fsync of the file and of its directory. As its own baseline
it times the bare store write (create, fsync) in the same directory, in the same run.

    python bench/publish_latency.py [--publishes 200] [--rounds 40]

Prints one JSON line per number with PASS or FAIL; exit code 1 when one fails.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import os
import platform
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import grpc
from sax_common.store.open import open_store
from sax_testing.fake_modelet import FakeModelServer
from saxml.protobuf import admin_pb2, admin_pb2_grpc

ACK_P99_MS = 60.0
LOAD_P99_MS = 150.0
CELL = "/sax/bench"


def percentile(values: list[float], share: float) -> float:
    """Return the value that `share` of all do not exceed."""
    ordered = sorted(values)
    return ordered[min(len(ordered) - 1, int(share * len(ordered)))]


def show(metric: str, values: list[float], goal_ms: float | None) -> bool:
    """Print one JSON line for `values` in milliseconds; false when p99 is over the goal."""
    p99 = percentile(values, 0.99)
    passed = goal_ms is None or p99 <= goal_ms
    line = {
        "metric": metric,
        "count": len(values),
        "p50_ms": round(statistics.median(values), 2),
        "p99_ms": round(p99, 2),
        "max_ms": round(max(values), 2),
        "goal_p99_ms": goal_ms,
        "result": "baseline" if goal_ms is None else "PASS" if passed else "FAIL",
    }
    print(json.dumps(line), flush=True)
    return passed


def request(number: int, replicas: int) -> admin_pb2.PublishRequest:
    """Make the publish of one model."""
    model = admin_pb2.Model(
        model_id=f"{CELL}/m{number}",
        model_path="test.Model",
        checkpoint_path="None",
        requested_num_replicas=replicas,
    )
    return admin_pb2.PublishRequest(model=model, operation_id=f"bench-{number}")


async def until(condition: Any) -> None:
    """Wait until `condition` holds."""
    while not condition():  # noqa: ASYNC110  # Polled so that the thing measured need not know of it.
        await asyncio.sleep(0.001)


async def started(root: Path) -> str:
    """Wait for the admin's address and until it leads."""
    location = root / "sax-root" / "sax" / "bench" / "location.proto"
    while not location.exists():  # noqa: ASYNC110  # The file is written by another process.
        await asyncio.sleep(0.05)
    return admin_pb2.Location.FromString(location.read_bytes()).location


async def bare_writes(root: Path, count: int) -> list[float]:
    """Time creating small durable objects without any admin."""
    store = open_store(str(root / "bare"))
    times = []
    for number in range(count):
        begun = time.perf_counter()
        await store.create(f"slot/{number:020d}", b"x" * 4096)
        times.append((time.perf_counter() - begun) * 1000)
    await store.close()
    return times


async def acknowledged(stub: Any, count: int) -> list[float]:
    """Time publishes one after the other."""
    times = []
    for number in range(count):
        begun = time.perf_counter()
        await stub.Publish(request(number, 0), timeout=30)
        times.append((time.perf_counter() - begun) * 1000)
    return times


async def loaded(stub: Any, address: str, rounds: int) -> list[float]:
    """Time from the acknowledgement of a publish to the arrival of its Load at an idle server."""
    fake = FakeModelServer()
    await fake.start()
    await fake.join(address)
    times = []
    for number in range(rounds):
        publish = request(1_000_000 + number, 1)
        name = publish.model.model_id
        await stub.Publish(publish, timeout=30)
        begun = time.monotonic()
        await until(lambda name=name: fake.kinds(name) == ["load"])
        times.append(max(0.0, fake.orders[-1].at_s - begun) * 1000)
        await stub.Unpublish(admin_pb2.UnpublishRequest(model_id=name), timeout=30)
        await until(lambda name=name: fake.kinds(name)[-1] == "unload")
        await asyncio.sleep(0.1)
    await fake.stop()
    return times


async def measure(root: Path, publishes: int, rounds: int) -> bool:
    """Measure everything; false when a goal was missed."""
    show("bare durable write of 4 KiB, local directory", await bare_writes(root, publishes), None)
    address = await started(root)
    async with grpc.aio.insecure_channel(address) as channel:
        stub: Any = admin_pb2_grpc.AdminStub(channel)  # type: ignore[no-untyped-call]
        acks = await acknowledged(stub, publishes)
        loads = await loaded(stub, address, rounds)
    results = [
        show("publish acknowledged, local directory", acks, ACK_P99_MS),
        show("publish acknowledged to Load at an idle server", loads, LOAD_P99_MS),
    ]
    return all(results)


def main() -> int:
    """Run the benchmark and return the exit code."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else "")
    parser.add_argument("--publishes", type=int, default=200)
    parser.add_argument("--rounds", type=int, default=40)
    arguments = parser.parse_args()
    print(
        json.dumps(
            {"machine": platform.machine(), "cpus": os.cpu_count(), "python": platform.python_version()}
        )
    )
    environment = {**os.environ, "SAX_DEBUG_IPADDR": "1"}
    with tempfile.TemporaryDirectory() as folder:
        root = Path(folder)
        cell = [f"--sax_cell={CELL}", f"--sax_root={root}/sax-root"]
        config = [sys.executable, "-m", "sax_admin.config_main", *cell, f"--fs_root={root}/fs-root"]
        subprocess.run(config, env=environment, check=True, stderr=subprocess.DEVNULL)
        server = [sys.executable, "-m", "sax_admin.main", *cell, "--port=0", "--status_port=0"]
        with subprocess.Popen(server, env=environment, stderr=subprocess.DEVNULL) as process:
            try:
                passed = asyncio.run(measure(root, arguments.publishes, arguments.rounds))
            finally:
                process.terminate()
    return 0 if passed else 1


if __name__ == "__main__":
    sys.exit(main())
