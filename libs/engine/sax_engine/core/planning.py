"""Writes a `StepPlan` row by row.

What belongs to a slot for as long as a sample holds it (page table, sampling parameters) is kept here in
arrays and only gathered when a plan is finished; what changes every step is collected in lists. So the
host's work per step stays far below a millisecond at a hundred rows. Called by the scheduler alone; decides
nothing.
"""

from collections.abc import Mapping, Sequence

import numpy as np

from sax_engine.core.requests import IntegrityError, SamplingParams
from sax_engine.port import NO_TOKEN, NULL_PAGE, BackendInfo, StepPlan


class PlanBuilder:
    """The slots' arrays, and one plan in the making: add_decode*, end_decode, add_chunk*, finish."""

    def __init__(self, info: BackendInfo) -> None:
        slots = info.max_rows
        self._tables = np.full((slots, -(-info.max_len // info.page_size)), NULL_PAGE, np.int32)
        self._temperature = np.zeros(slots, np.float32)
        self._top_k = np.zeros(slots, np.int32)
        self._top_p = np.ones(slots, np.float32)
        self._seeds = np.zeros(slots, np.uint64)
        self._sample_index = np.zeros(slots, np.int32)
        self._start()

    def _start(self) -> None:
        self._tokens: list[int] = []
        self._targets: list[int] = []
        self._lengths: list[int] = []
        self._positions: list[int] = []
        self._slots: list[int] = []
        self._sources: list[int] = []
        self._samples: list[bool] = []
        self._copies: list[tuple[int, int]] = []
        self._top_logprobs = 0
        self._decode_rows = 0

    def set_slot(self, slot: int, sampling: SamplingParams, sample_index: int) -> None:
        """Give a slot to a sample."""
        self._temperature[slot] = sampling.temperature
        self._top_k[slot] = sampling.top_k
        self._top_p[slot] = sampling.top_p
        self._seeds[slot] = sampling.seed
        self._sample_index[slot] = sample_index

    def set_page(self, slot: int, index: int, page: int) -> None:
        """Say which page holds the slot's positions from index * page_size."""
        self._tables[slot, index] = page

    def clear_slot(self, slot: int) -> None:
        """Forget a slot's pages and parameters."""
        self._tables[slot] = NULL_PAGE
        self._temperature[slot] = 0.0

    def add_copy(self, source: int, target: int) -> None:
        """Have a page copied before the step writes anything."""
        self._copies.append((source, target))

    def add_decode(self, slot: int, position: int, token: int | None, top_logprobs: int) -> None:
        """Add a row of one input: `token`, or (None) whatever the slot sampled last."""
        self._tokens.append(0 if token is None else token)
        self._targets.append(NO_TOKEN)
        self._lengths.append(1)
        self._positions.append(position)
        self._slots.append(slot)
        self._sources.append(slot if token is None else NO_TOKEN)
        self._samples.append(True)
        self._top_logprobs = max(self._top_logprobs, top_logprobs)

    def end_decode(self) -> None:
        """Everything added from here on is a chunk."""
        self._decode_rows = len(self._lengths)

    def add_chunk(
        self,
        slot: int,
        position: int,
        tokens: Sequence[int],
        targets: Sequence[int],
        first_target: int,
        *,
        emits: bool,
        top_logprobs: int,
    ) -> int:
        """Add a piece of a prompt; input first_target + i is scored for targets[i]. Returns its offset."""
        offset = len(self._tokens)
        self._tokens.extend(tokens)
        scored = [NO_TOKEN] * len(tokens)
        scored[first_target : first_target + len(targets)] = targets
        self._targets.extend(scored)
        self._lengths.append(len(tokens))
        self._positions.append(position)
        self._slots.append(slot)
        self._sources.append(NO_TOKEN)
        self._samples.append(emits)
        if emits:
            self._top_logprobs = max(self._top_logprobs, top_logprobs)
        return offset

    def finish(self, number: int) -> StepPlan:
        """Make the plan and begin an empty one."""
        slots = np.array(self._slots, np.int32)
        plan = StepPlan(
            number=number,
            decode_rows=self._decode_rows,
            tokens=np.array(self._tokens, np.int32),
            targets=np.array(self._targets, np.int32),
            row_lengths=np.array(self._lengths, np.int32),
            positions=np.array(self._positions, np.int32),
            slots=slots,
            source_slots=np.array(self._sources, np.int32),
            sample=np.array(self._samples, np.bool_),
            page_tables=self._tables[slots],
            temperature=self._temperature[slots],
            top_k=self._top_k[slots],
            top_p=self._top_p[slots],
            seeds=self._seeds[slots],
            sample_index=self._sample_index[slots],
            top_logprobs=self._top_logprobs,
            copies=np.array(self._copies, np.int32).reshape(-1, 2),
        )
        self._start()
        return plan

    def check(self, pages: Mapping[int, list[int]]) -> None:
        """Raise IntegrityError unless each slot's table shows exactly its sample's pages."""
        for slot, table in enumerate(self._tables):
            held = pages.get(slot, [])
            if table[: len(held)].tolist() != held or (table[len(held) :] != NULL_PAGE).any():
                raise IntegrityError(
                    f"slot {slot} shows pages {table[table > 0].tolist()}, its sample holds {held}"
                )
