"""A model whose answers can be computed by hand, behind the real port.

Its "keys and values" are the input tokens themselves, one per cache position. With a vocabulary of V, the
logits after position p say: token t = (sum of cached tokens at positions 0..p, weighted by position + 1) mod
V is best, the next ids (mod V) follow at steps of one:

    logit[(t + i) mod V] = -i

Example, V = 10, prompt [3, 1], greedy:

    cache 3 1        1*3 + 2*1              =  5  -> 5
    cache 3 1 5      5 + 3*5                = 20  -> 0
    cache 3 1 5 0    20 + 4*0               = 20  -> 0
    cache 3 1 5 0 0  20 + 5*0               = 20  -> 0        answer 5 0 0 0

A wrong page, a stale copy, a token read from the wrong slot or a position off by one changes the sum, and so
the answer. Steps run when they are launched, in order. `fail_at_step` raises there, `nan_at_step` returns
what a broken model would.
"""

from dataclasses import dataclass

import numpy as np

from sax_engine.core.requests import SamplingParams
from sax_engine.core.sampling import choose, log_softmax
from sax_engine.port import NO_TOKEN, BackendInfo, Float32, StepPlan, StepResult, Ticket

EMPTY = -(10**6)  # What an unwritten cache position holds: reading one would spoil every sum.


class ToyFailure(RuntimeError):  # noqa: N818 - says what happened.
    """The failure that `fail_at_step` asks for."""


@dataclass(frozen=True, slots=True)
class _Row:
    """One row of a plan, cut out of its arrays."""

    index: int
    inputs: list[int]
    targets: list[int]
    position: int
    params: SamplingParams


class ToyBackend:
    """See the module's docstring. Made by `make_toy_backend`."""

    def __init__(self, info: BackendInfo, *, fail_at_step: int | None, nan_at_step: int | None) -> None:
        self._info = info
        self._fail_at_step = fail_at_step
        self._nan_at_step = nan_at_step
        self._cache = np.full((info.num_pages + 1, info.page_size), EMPTY, np.int64)
        self._latest = np.zeros(info.max_rows, np.int32)

    @property
    def info(self) -> BackendInfo:
        """Sizes."""
        return self._info

    def launch(self, plan: StepPlan) -> Ticket:
        """Run the step at once."""
        if plan.number == self._fail_at_step:
            raise ToyFailure(f"the toy was told to fail at step {plan.number}")
        for source, target in plan.copies.tolist():
            self._cache[target] = self._cache[source]
        rows = self._rows(plan)
        for row in rows:
            for i, token in enumerate(row.inputs):
                self._cell(plan, row, row.position + i)[...] = token
        return Ticket(plan.number, self._result(plan, rows))

    def _rows(self, plan: StepPlan) -> list[_Row]:
        rows, start = [], 0
        for index, length in enumerate(plan.row_lengths.tolist()):
            source = int(plan.source_slots[index])
            inputs = plan.tokens[start : start + length].tolist()
            params = SamplingParams(
                temperature=float(plan.temperature[index]), top_k=int(plan.top_k[index]),
                top_p=float(plan.top_p[index]), seed=int(plan.seeds[index]),
            )  # fmt: skip
            rows.append(
                _Row(
                    index,
                    inputs if source == NO_TOKEN else [int(self._latest[source])],
                    plan.targets[start : start + length].tolist(),
                    int(plan.positions[index]),
                    params,
                )
            )
            start += length
        return rows

    def _cell(self, plan: StepPlan, row: _Row, position: int) -> np.ndarray:
        page, offset = divmod(position, self._info.page_size)
        return self._cache[plan.page_tables[row.index, page], offset : offset + 1]

    def _logits(self, plan: StepPlan, row: _Row, position: int) -> Float32:
        total = sum((p + 1) * int(self._cell(plan, row, p)[0]) for p in range(position + 1))
        size = self._info.vocab_size
        return -((np.arange(size) - total) % size).astype(np.float32)

    def _result(self, plan: StepPlan, rows: list[_Row]) -> StepResult:
        count, alternatives = len(rows), self._info.max_top_logprobs
        tokens, logprobs = np.zeros(count, np.int32), np.zeros(count, np.float32)
        top_tokens = np.zeros((count, alternatives), np.int32)
        top_logprobs = np.zeros((count, alternatives), np.float32)
        scored: list[float] = []
        for row in rows:
            for i, target in enumerate(row.targets):
                is_wanted = target != NO_TOKEN
                scores = log_softmax(self._logits(plan, row, row.position + i)) if is_wanted else None
                scored.append(0.0 if scores is None else float(scores[target]))
            if not plan.sample[row.index]:
                continue
            end = row.position + len(row.inputs)
            logits = self._logits(plan, row, end - 1)
            if plan.number == self._nan_at_step:
                logits = np.full_like(logits, np.nan)
            token = choose(logits, row.params, sample=int(plan.sample_index[row.index]), position=end)
            self._latest[plan.slots[row.index]] = tokens[row.index] = token
            every = log_softmax(logits)
            logprobs[row.index] = every[token]
            best = np.argsort(-every, kind="stable")[:alternatives]
            top_tokens[row.index, : len(best)], top_logprobs[row.index, : len(best)] = best, every[best]
        return StepResult(
            number=plan.number, tokens=tokens, logprobs=logprobs, top_tokens=top_tokens,
            top_logprobs=top_logprobs, target_logprobs=np.array(scored, np.float32),
        )  # fmt: skip

    def collect(self, ticket: Ticket) -> StepResult:
        """Hand over what `launch` computed."""
        if not isinstance(ticket.handle, StepResult):
            raise TypeError(f"ticket {ticket.number} is not of this backend")
        return ticket.handle

    def release(self) -> None:
        """Let go of the cache."""
        self._cache = np.zeros((0, 0), np.int64)


def make_toy_backend(
    *,
    vocab_size: int = 97,
    max_len: int = 64,
    page_size: int = 4,
    num_pages: int = 64,
    max_rows: int = 8,
    prefill_block: int = 4,
    max_prefill_tokens: int = 16,
    fail_at_step: int | None = None,
    nan_at_step: int | None = None,
) -> ToyBackend:
    """Make a toy; sizes are small so that tests meet every boundary."""
    info = BackendInfo(
        vocab_size=vocab_size, max_len=max_len, page_size=page_size, num_pages=num_pages, max_rows=max_rows,
        prefill_block=prefill_block, max_prefill_tokens=max_prefill_tokens,
        max_top_logprobs=min(vocab_size, 20),
    )  # fmt: skip
    return ToyBackend(info, fail_at_step=fail_at_step, nan_at_step=nan_at_step)


def toy_answer(prompt: tuple[int, ...], count: int, vocab_size: int = 97) -> list[int]:
    """Compute by hand what greedy decoding of the toy must answer."""
    tokens = list(prompt)
    for _ in range(count):
        tokens.append(sum((p + 1) * token for p, token in enumerate(tokens)) % vocab_size)
    return tokens[len(prompt) :]
