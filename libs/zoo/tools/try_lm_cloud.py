"""Loads the full LmCloudSpmd2BTest and asks it a question: the promise of the quick start, measured.

Prints one JSON line: seconds to load, seconds to the answer, resident memory at the peak, and fails beyond
12 GiB or 180 s.

    python libs/zoo/tools/try_lm_cloud.py
"""

# ruff: noqa: INP001 -- A script, not a package.

import json
import resource
import sys
import time

from sax_zoo import loading, registry
from sax_zoo.lm.calls import GenerateCall
from sax_zoo.lm.model import LanguageModel

PATH = "saxml.server.pax.lm.params.lm_cloud.LmCloudSpmd2BTest"
SECONDS_MAX = 180.0
GIB_MAX = 12.0


def main() -> int:
    """Run it; the exit status says whether both limits held."""
    registry.load_modules()
    begin = time.monotonic()
    model = loading.load(
        registry.lookup(PATH), "None", seed=1, report=lambda _: None, is_cancelled=lambda: False
    )
    if not isinstance(model, LanguageModel):
        raise TypeError(f"{PATH} is not a language model")
    loaded_s = time.monotonic() - begin
    request = model.generate_request("question", GenerateCall(text="Q: Who is Harry Potter's mother? A: "))
    model.engine.submit(request, now_ms=0)
    tokens = 0
    while model.engine.has_work:
        tokens += sum(len(emission.tokens) for emission in model.engine.step(now_ms=0))
    answered_s = time.monotonic() - begin
    peak_gib = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20
    result = {"loaded_s": loaded_s, "answered_s": answered_s, "peak_gib": peak_gib, "tokens": tokens}
    sys.stdout.write(json.dumps({key: round(value, 1) for key, value in result.items()}) + "\n")
    return int(answered_s > SECONDS_MAX or peak_gib > GIB_MAX)


if __name__ == "__main__":
    sys.exit(main())
