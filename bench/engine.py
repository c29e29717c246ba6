"""Speed of the engine alone: decode at 1, 4, 16 and 64 streams, and prefill, beside peers in the same run.

Every contestant is a process that loads its model once and answers one JSON line per measurement; it is
stopped (SIGSTOP) while another is measured. Rounds are interleaved and medians reported. All use random
weights of the named shape in bfloat16: speed does not depend on the values. Greedy, no end token; the prompt
ids are in `engine_contestant.py`.

    python bench/engine.py [--model smollm2] [--device cpu] [--rounds 5] [--streams 1 4 16 64]
        [--peers transformers --peer-python /path/to/python/with/torch] [--output bench/results/engine.json]

Decode is tokens per second of all streams between the first and the last token (prompt 128, 128 new tokens);
prefill is 384 divided by the time to the first token of one stream.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import signal
import statistics
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

HERE = Path(__file__).resolve().parent
SCRIPTS = {"engine": "engine_contestant.py", "transformers": "engine_peer_transformers.py"}
PREFILL_TOKENS = 384


class Contestant:
    """A loaded model in a process of its own, stopped except while it is asked."""

    def __init__(self, name: str, python: str, arguments: list[str]) -> None:
        self.name = name
        environment = os.environ | ({"JAX_PLATFORMS": "cpu"} if "cpu" in arguments else {})
        self._process = subprocess.Popen(
            [python, str(HERE / SCRIPTS[name]), *arguments],
            stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, env=environment,
        )  # fmt: skip
        self.about = self._read()
        self._process.send_signal(signal.SIGSTOP)

    def measure(self, **task: Any) -> float:
        """Ask for one number: tokens per second."""
        assert self._process.stdin  # noqa: S101 - Popen was given a pipe.
        self._process.send_signal(signal.SIGCONT)
        self._process.stdin.write(json.dumps(task) + "\n")
        self._process.stdin.flush()
        answer = self._read()
        self._process.send_signal(signal.SIGSTOP)
        return float(answer["tokens_per_s"])

    def _read(self) -> dict[str, Any]:
        assert self._process.stdout  # noqa: S101 - Popen was given a pipe.
        line = self._process.stdout.readline()
        if not line:
            raise SystemExit(f"{self.name} ended with code {self._process.wait()}; its words are above")
        answer: dict[str, Any] = json.loads(line)
        return answer

    def close(self) -> None:
        """End the process."""
        self._process.send_signal(signal.SIGCONT)
        self._process.kill()
        self._process.wait()


def machine() -> dict[str, Any]:
    """Say where this ran."""
    lines = Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines() if sys.platform == "linux" else []
    models = [line.partition(":")[2].strip() for line in lines if line.startswith("model name")]
    return {
        "cpu": models[0] if models else platform.processor(),
        "cpus": os.cpu_count(),
        "system": platform.platform(),
        "load_before": os.getloadavg()[0],
    }


def run(options: argparse.Namespace) -> dict[str, Any]:
    """Measure everything, interleaved; numbers are lists per contestant and task."""
    common = [
        "--model",
        options.model,
        "--device",
        options.device,
        "--max-streams",
        str(max(options.streams)),
    ]
    contestants = [Contestant("engine", sys.executable, common)]
    contestants += [Contestant(peer, options.peer_python, common) for peer in options.peers]
    tasks = {f"decode_{n}": {"streams": n, "prompt": 128, "new": options.new} for n in options.streams}
    tasks["prefill"] = {"streams": 1, "prompt": PREFILL_TOKENS, "new": 1}
    numbers: dict[str, dict[str, list[float]]] = {c.name: {task: [] for task in tasks} for c in contestants}
    try:
        for contestant in contestants:
            for task in tasks.values():
                contestant.measure(**{**task, "new": min(task["new"], 3)})  # Warm up.
        for turn in range(options.rounds):
            for name, task in tasks.items():
                for contestant in contestants if turn % 2 == 0 else reversed(contestants):
                    numbers[contestant.name][name].append(contestant.measure(**task))
    finally:
        for contestant in contestants:
            contestant.close()
    return {"numbers": numbers, "about": {c.name: c.about for c in contestants}}


def table(numbers: dict[str, dict[str, list[float]]]) -> str:
    """Medians in tokens per second, and ours against the best peer."""
    names = list(numbers)
    rows = ["task        " + "".join(f"{name:>14}" for name in names) + "     ratio"]
    for task in numbers["engine"]:
        medians = [statistics.median(numbers[name][task]) for name in names]
        ratio = f"{medians[0] / max(medians[1:]):10.2f}" if medians[1:] else ""
        rows.append(f"{task:12}" + "".join(f"{median:14.1f}" for median in medians) + ratio)
    return "\n".join(rows)


def main() -> None:
    """Read the flags, measure, print, save."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--model", default="smollm2")
    parser.add_argument("--device", default="cpu", choices=["cpu", "gpu"])
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--new", type=int, default=128)
    parser.add_argument("--streams", type=int, nargs="+", default=[1, 4, 16, 64])
    parser.add_argument(
        "--peers", nargs="*", default=[], choices=[name for name in SCRIPTS if name != "engine"]
    )
    parser.add_argument("--peer-python", default=sys.executable)
    parser.add_argument("--output", type=Path)
    options = parser.parse_args()
    started = time.time()
    where = machine()
    result = run(options)
    print(table(result["numbers"]))
    record = {
        "command": " ".join(["python", "bench/engine.py", *(a for a in sys.argv[1:] if "/" not in a)]),
        "machine": where,
        "seconds": round(time.time() - started),
        "medians": {
            name: {task: round(statistics.median(values), 1) for task, values in tasks.items()}
            for name, tasks in result["numbers"].items()
        },
        **result,
    }
    print(json.dumps(record["medians"]))
    if options.output:
        options.output.write_text(json.dumps(record, indent=1) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
