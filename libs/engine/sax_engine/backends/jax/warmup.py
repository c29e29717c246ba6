"""Compile before the first request, and keep what was compiled.

`warm_up` runs an empty step in each bucket a plan can fall into; afterwards nothing is ever compiled again,
whatever the lengths and the mix. With `use_compilation_cache` the next process reads the programs from disk.
"""

from collections.abc import Callable, Iterator

import jax

from sax_engine.backends.jax.backend import JaxBackend


def warm_up_steps(backend: JaxBackend) -> Iterator[tuple[int, int]]:
    """Compile one bucket per turn, yielding (done, total) after each: the caller is free between."""
    buckets = backend.buckets()
    total = len(buckets) + 1
    backend.run_empty_copy()
    yield 1, total
    for done, bucket in enumerate(buckets, start=2):
        backend.run_empty(bucket)
        yield done, total


def warm_up(backend: JaxBackend, report: Callable[[int, int], None] | None = None) -> None:
    """Compile every bucket; `report(done, total)` is called after each."""
    for done, total in warm_up_steps(backend):
        if report is not None:
            report(done, total)


def use_compilation_cache(folder: str) -> None:
    """Keep compiled programs in `folder` (made when missing) from now on, for the whole process."""
    update: Callable[[str, object], None] = jax.config.update
    update("jax_compilation_cache_dir", folder)
    update("jax_persistent_cache_min_compile_time_secs", 0.5)
