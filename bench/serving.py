"""What the serving layers cost: HTTP and gRPC against the engine called directly, in the same run.

    python bench/serving.py [--checkpoint FILE] [--streams 1,16] [--max_tokens 64] [--rounds 3]

Starts the real processes (sax-admin-server, sax-model-server, sax-http-server) and a process with nothing
but the engine (`serving_engine.py`), lets every way do the same closed loop in turn, several rounds, and
compares medians:

    engine        engine.submit / engine.step, no text, no network: the baseline
    grpc          Generate                http          /v1/completions
    grpc-stream   GenerateStream          http-stream   the same with "stream": true

Throughput is tokens over wall time less the load generator's own CPU time. CPU per streamed token is that
of all our processes less the engine's threads (`serving_cpu.py`). Prompts are all different and equally
long. Prints a table and PASS or FAIL per target; writes bench/results/serving.json with command and
machine. Exit code 1 when a target is missed.
"""

from __future__ import annotations

import argparse
import datetime as dt
import importlib.metadata
import json
import os
import platform
import statistics
import subprocess
import sys
import tempfile
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from sax_testing.processes import ProcessCell, smollm2_path
from serving_cpu import cpu_by_name, engine_s, process_cpu_s, serving_s, threads

HERE = Path(__file__).parent
WAYS = ("engine", "grpc", "http", "grpc-stream", "http-stream")
SERVED = WAYS[1:]
# Issue 2, "Numbers".
UNARY_RATIO, STREAM_RATIO, CPU_MS_PER_TOKEN, FIRST_TOKEN_MS = 0.90, 0.85, 0.4, 15.0
REQUESTS_PER_STREAM = {1: 6}
MODEL = "bench"


@dataclass(frozen=True)
class Run:
    """One closed loop of one way."""

    wall_s: float
    tokens: int
    load_cpu_s: float
    first_ms: list[float]
    our_cpu_s: float = 0.0
    engine_cpu_s: float = 0.0
    threads_s: dict[str, float] = field(default_factory=dict)

    @property
    def tokens_per_s(self) -> float:
        """Throughput with the load generator's own CPU time subtracted."""
        return self.tokens / (self.wall_s - self.load_cpu_s)


class Bench:
    """The running cell and the engine worker; one run at a time."""

    def __init__(self, cell: ProcessCell, checkpoint: str, max_tokens: int) -> None:
        self._cell = cell
        self._max_tokens = max_tokens
        self._next_prompt = 0
        self._engine = subprocess.Popen(
            [sys.executable, HERE / "serving_engine.py", checkpoint],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )
        self._read_engine()

    def close(self) -> None:
        """End the engine worker."""
        self._engine.kill()
        self._engine.wait()

    def run(self, way: str, streams: int, requests: int) -> Run:
        """Let one way do one closed loop."""
        plan = {
            "way": way,
            "streams": streams,
            "requests": requests,
            "max_tokens": self._max_tokens,
            "first_prompt": self._next_prompt,
            "model": self._cell.model(MODEL),
            "port": self._cell.ports["http" if way.startswith("http") else "model"],
        }
        self._next_prompt += requests
        return self._run_engine(plan) if way == "engine" else self._run_served(plan)

    def _run_engine(self, plan: dict[str, Any]) -> Run:
        if self._engine.stdin is None:
            raise RuntimeError("the engine worker has no standard input")
        self._engine.stdin.write(json.dumps(plan) + "\n")
        self._engine.stdin.flush()
        found = self._read_engine()
        return Run(found["wall_s"], found["tokens"], 0.0, found["first_ms"], engine_cpu_s=found["cpu_s"])

    def _run_served(self, plan: dict[str, Any]) -> Run:
        model = self._cell.running["model"].pid
        others = [self._cell.running[name].pid for name in ("admin", "http")]
        threads_before, others_before = threads(model), sum(map(process_cpu_s, others))
        done = subprocess.run(
            [sys.executable, HERE / "serving_load.py", json.dumps(plan)],
            capture_output=True,
            text=True,
            check=False,
        )
        if done.returncode:
            raise RuntimeError(f"{plan['way']} failed:\n{done.stderr}\n{self._cell.logs()}")
        by_name = cpu_by_name(threads_before, threads(model))
        found = json.loads(done.stdout)
        return Run(
            found["wall_s"],
            found["tokens"],
            found["cpu_s"],
            found["first_ms"],
            our_cpu_s=serving_s(by_name) + sum(map(process_cpu_s, others)) - others_before,
            engine_cpu_s=engine_s(by_name),
            threads_s=by_name,
        )

    def _read_engine(self) -> Any:
        line = self._engine.stdout.readline() if self._engine.stdout is not None else ""
        if not line:
            raise RuntimeError("the engine worker has ended; see its error above")
        return json.loads(line)


def measure(bench: Bench, streams: list[int], rounds: int) -> dict[tuple[str, int], list[Run]]:
    """Run all ways in turn, so that a slow minute is everybody's; the first round is warm-up."""
    runs: dict[tuple[str, int], list[Run]] = {}
    for number in range(rounds + 1):
        for count in streams:
            for way in WAYS:
                run = bench.run(way, count, REQUESTS_PER_STREAM.get(count, 2) * count)
                print(f"round {number} {way} x{count}: {run.tokens_per_s:.1f} tokens/s", file=sys.stderr)
                if number:
                    runs.setdefault((way, count), []).append(run)
    return runs


def summary(runs: dict[tuple[str, int], list[Run]]) -> list[dict[str, Any]]:
    """Return one row per way and number of streams, with medians over the rounds."""
    rows = []
    for (way, count), some in runs.items():
        base = runs["engine", count]
        first = [ms for run in some for ms in run.first_ms if way in {"engine", "grpc-stream", "http-stream"}]
        base_first = [ms for run in base for ms in run.first_ms]
        row: dict[str, Any] = {
            "way": way,
            "streams": count,
            "tokens_per_s": statistics.median(run.tokens_per_s for run in some),
            "wall_tokens_per_s": statistics.median(run.tokens / run.wall_s for run in some),
            "tokens": sum(run.tokens for run in some),
            "engine_cpu_ms_per_token": 1000 * sum(r.engine_cpu_s for r in some) / sum(r.tokens for r in some),
            "first_ms": statistics.median(first) if first else None,
        }
        row["ratio"] = row["tokens_per_s"] / statistics.median(run.tokens_per_s for run in base)
        if way != "engine":
            row["our_cpu_ms_per_token"] = 1000 * sum(r.our_cpu_s for r in some) / sum(r.tokens for r in some)
            row["load_cpu_ms_per_token"] = (
                1000 * sum(r.load_cpu_s for r in some) / sum(r.tokens for r in some)
            )
            row["model_server_threads_ms_per_token"] = _threads(some)
        if first and way != "engine":
            row["first_delta_ms"] = statistics.median(first) - statistics.median(base_first)
        rows.append(row)
    return rows


def _threads(runs: list[Run]) -> dict[str, float]:
    """Return the model server's threads that used CPU, in milliseconds per token."""
    tokens = sum(run.tokens for run in runs)
    names = {name for run in runs for name in run.threads_s}
    used = {name: 1000 * sum(run.threads_s.get(name, 0.0) for run in runs) / tokens for name in sorted(names)}
    return {name: round(ms, 4) for name, ms in used.items() if ms}


def verdicts(rows: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """Compare the rows with the targets of issue 2."""
    found = []

    def check(row: dict[str, Any], what: str, value: float, target: float, *, is_least: bool) -> None:
        is_met = value >= target if is_least else value <= target
        name = f"{row['way']} x{row['streams']} {what}"
        found.append(
            {"check": name, "value": value, "target": target, "verdict": "PASS" if is_met else "FAIL"}
        )

    for row in rows:
        if row["way"] == "engine":
            continue
        is_stream = row["way"].endswith("-stream")
        target = STREAM_RATIO if is_stream else UNARY_RATIO
        check(row, "throughput against the engine", row["ratio"], target, is_least=True)
        if is_stream and row["streams"] > 1:
            check(row, "CPU ms per token", row["our_cpu_ms_per_token"], CPU_MS_PER_TOKEN, is_least=False)
        if is_stream and row["streams"] == 1:
            check(row, "first token later by ms", row["first_delta_ms"], FIRST_TOKEN_MS, is_least=False)
    return found


def machine() -> dict[str, str]:
    """Say what this ran on."""
    lines = Path("/proc/cpuinfo").read_text().splitlines()
    models = {line.partition(":")[2].strip() for line in lines if line.startswith("model name")}
    return {
        "cpu": ", ".join(sorted(models)),
        "cores": str(os.cpu_count()),
        "system": platform.platform(),
        "python": platform.python_version(),
        "jax": importlib.metadata.version("jax"),
        "grpcio": importlib.metadata.version("grpcio"),
        "load_average": f"{os.getloadavg()[0]:.2f}",
    }


_COLUMNS = (
    ("tokens_per_s", "tokens/s", 1),
    ("ratio", "ratio", 3),
    ("our_cpu_ms_per_token", "CPU ms/token", 3),
    ("first_ms", "first ms", 1),
    ("first_delta_ms", "later by ms", 1),
)


def show(rows: list[dict[str, Any]], checks: list[dict[str, Any]]) -> None:
    """Print the tables."""
    print(f"{'way':12} streams " + " ".join(f"{title:>12}" for _, title, _ in _COLUMNS))
    for row in rows:
        cells = (_cell(row.get(key), digits) for key, _, digits in _COLUMNS)
        print(f"{row['way']:12} {row['streams']:7} " + " ".join(cells))
    for check in checks:
        print(f"{check['verdict']}  {check['check']}: {check['value']:.3f} (target {check['target']:g})")


def _cell(value: float | None, digits: int) -> str:
    return f"{'-':>12}" if value is None else f"{value:12.{digits}f}"


def main() -> int:
    """Run the benchmark."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--checkpoint", default="", help="directory or .gguf; empty: the packaged SmolLM2")
    parser.add_argument("--streams", default="1,16")
    parser.add_argument("--max_tokens", type=int, default=64)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--output", type=Path, default=HERE / "results" / "serving.json")
    flags = parser.parse_args()
    checkpoint = flags.checkpoint or str(smollm2_path())
    with tempfile.TemporaryDirectory() as folder, ProcessCell(Path(folder)) as cell:
        cell.start_admin()
        cell.environ["PYTHONPATH"] = os.pathsep.join(
            filter(None, (str(HERE / "thread_names"), os.environ.get("PYTHONPATH")))
        )
        cell.start_model("model", "--platform_chip=cpu", "--platform_topology=1")
        cell.start_http()
        cell.saxutil("publish", cell.model(MODEL), "hf.CausalLM", checkpoint, "1")
        cell.wait_ready(MODEL, 300)
        bench = Bench(cell, checkpoint, flags.max_tokens)
        try:
            runs = measure(bench, [int(count) for count in flags.streams.split(",")], flags.rounds)
        finally:
            bench.close()
    rows = summary(runs)
    checks = verdicts(rows)
    show(rows, checks)
    result = {
        "command": f"python bench/serving.py {' '.join(sys.argv[1:])}".strip(),
        "date": dt.datetime.now(dt.UTC).date().isoformat(),
        "machine": machine(),
        "model": Path(checkpoint).name,
        "rows": rows,
        "checks": checks,
    }
    flags.output.parent.mkdir(parents=True, exist_ok=True)
    flags.output.write_text(json.dumps(result, indent=1) + "\n")
    return 0 if all(check["verdict"] == "PASS" for check in checks) else 1


if __name__ == "__main__":
    sys.exit(main())
