"""The engine of a language model called directly, in a process of its own: the baseline of `serving.py`.

    python bench/serving_engine.py <checkpoint>

Loads `hf.CausalLM` exactly as a model server does, prints one line of JSON with what it loaded, and then
answers one line for each line of JSON it reads:

    {"streams": 16, "requests": 32, "max_tokens": 64, "first_prompt": 0}
    {"wall_s": 9.1, "tokens": 2048, "cpu_s": 17.9, "first_ms": [31.0, ...]}

`streams` requests are in the engine at any time until `requests` have been submitted (a closed loop). No
text is made of the tokens: this is what the engine alone can do.
"""

from __future__ import annotations

import json
import sys
import time
from typing import Any

from sax_zoo import loading, registry
from sax_zoo.lm.calls import GenerateCall, GenerateOptions
from serving_load import prompt


def load(checkpoint: str) -> Any:
    """Load the model as `sax_model` does."""
    registry.load_modules()
    cls = registry.lookup("hf.CausalLM")
    return loading.load(cls, checkpoint, seed=1, report=lambda _progress: None, is_cancelled=lambda: False)


def run(model: Any, plan: dict[str, int]) -> dict[str, Any]:
    """Run one closed loop and return its figures."""
    options = GenerateOptions(max_tokens=plan["max_tokens"], temperature=0.0)
    waiting = [
        model.generate_request(
            f"r{number}", GenerateCall(text=prompt(number), options=options), deadline_ms=None
        )
        for number in range(plan["first_prompt"], plan["first_prompt"] + plan["requests"])
    ]
    waiting.reverse()
    submitted: dict[str, float] = {}
    first_ms: list[float] = []
    tokens = 0
    started, cpu = time.perf_counter(), time.process_time()
    live: set[str] = set()
    while waiting or live:
        while waiting and len(live) < plan["streams"]:
            request = waiting.pop()
            live.add(request.request_id)
            submitted[request.request_id] = time.perf_counter()
            model.engine.submit(request, int(time.monotonic() * 1000))
        for emission in model.engine.step(int(time.monotonic() * 1000)):
            if emission.tokens and emission.request_id in submitted:
                first_ms.append(1000 * (time.perf_counter() - submitted.pop(emission.request_id)))
            tokens += len(emission.tokens)
            if emission.finish is not None:
                live.discard(emission.request_id)
    return {
        "wall_s": time.perf_counter() - started,
        "tokens": tokens,
        "cpu_s": time.process_time() - cpu,
        "first_ms": first_ms,
    }


def main() -> None:
    """Load, then answer plans until standard input ends."""
    model = load(sys.argv[1])
    print(json.dumps({"memory_bytes": model.memory_bytes}), flush=True)
    for line in sys.stdin:
        print(json.dumps(run(model, json.loads(line))), flush=True)


if __name__ == "__main__":
    main()
