"""Does a server's engine still finish steps? Health follows progress, not promises.

A server that answers GetStatus but whose device hangs would keep its clients for ever. So each answer says
how many steps its engines have finished, how old the step in flight is, and how slow steps have been; a
server with work to do that finishes no step within a bound learned from its own step times leaves routing,
and comes back with the next finished step.

    bound      8 times the slowest recent step, at least 2 s; 30 s while no step has ever finished
    doubtful   a step older than a quarter of the bound: the server is asked again soon, not after 2 s

With polls every 2 s a hang is seen 2.5 s after it began, at most 3 s. A slow server teaches a long bound,
and one that compiles says so and is let be.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Mapping

    from sax_common.names import ModelName

    from sax_admin.core.servers import Progress

SLOWEST_TIMES = 8
BOUND_LEAST_MS = 2_000
BOUND_UNLEARNED_MS = 30_000
LOOK_AGAIN_MS = 400


@dataclass(frozen=True, slots=True)
class _Mark:
    """When an engine was last seen to get on, its steps finished by then, and when it last compiled."""

    steps_finished: int
    at_ms: int
    compiled_ms: int | None


def bound_ms(progress: Progress) -> int:
    """Return for how long a step of this engine may take before it counts as hung."""
    if not progress.slowest_step_ms and not progress.steps_finished:
        return BOUND_UNLEARNED_MS
    return max(BOUND_LEAST_MS, SLOWEST_TIMES * progress.slowest_step_ms)


@dataclass(slots=True)
class EngineWatch:
    """What the answers of one server have shown so far. `stuck` names the models that do not get on."""

    stuck: dict[ModelName, int] = field(default_factory=dict)
    is_doubtful: bool = False
    _marks: dict[ModelName, _Mark] = field(default_factory=dict)

    def note(self, engines: Mapping[ModelName, Progress], now_ms: int) -> bool:
        """Take in one answer; returns whether the server's fitness for routing changed."""
        was_stuck = bool(self.stuck)
        self.stuck, self.is_doubtful = {}, False
        self._marks = {name: self._mark(name, engine, now_ms) for name, engine in engines.items()}
        for name, engine in engines.items():
            mark = self._marks[name]
            age_ms = engine.step_age_ms
            if mark.compiled_ms is not None:
                # The step in flight waited for the compiler first; only what came after counts.
                age_ms = min(age_ms, now_ms - mark.compiled_ms)
            without_ms = max(age_ms, now_ms - mark.at_ms)
            if without_ms > bound_ms(engine):
                self.stuck[name] = without_ms
            self.is_doubtful |= without_ms > bound_ms(engine) // 4
        return was_stuck != bool(self.stuck)

    def _mark(self, name: ModelName, engine: Progress, now_ms: int) -> _Mark:
        """Remember the last sign of progress; an idle engine and one that compiles owe none."""
        last = self._marks.get(name)
        compiled_ms = now_ms if engine.is_compiling else last.compiled_ms if last is not None else None
        is_owing = bool(engine.queued or engine.running) and not engine.is_compiling
        if last is not None and is_owing and last.steps_finished == engine.steps_finished:
            return last
        return _Mark(engine.steps_finished, now_ms, compiled_ms)
