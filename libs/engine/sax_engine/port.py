"""The one port between the engine and whatever runs the model: `launch` a step, `collect` its result.

A step is a `StepPlan` of plain arrays, so that a follower of a multi-host replica can replay it. It holds
*rows*; a row is a run of consecutive input tokens of one sequence: one token (decode) or a block-aligned
piece of a prompt (prefill).

    rows        0        1        2                      row 2 is a chunk of five prompt tokens
    tokens   [ 17 ]   [  *  ]   [ 5  9  2  8  8 ]        * = what slot 4 sampled last (source_slots[1] == 4)
    position   40       12        0 1 2 3 4

The backend writes keys and values of every input at its position, through the row's page table, and then
lets each input attend to all positions up to its own. For rows with `sample` set it chooses a token from the
last input's logits and keeps it under `slots[row]`: that is how plan n+1 is made before ticket n is
collected.

Promises the conformance suite (`sax_testing.engine_suite`) checks: plans run in the order of launch; the
result of a row depends on nothing but that row; page 0 belongs to nobody, so padding may write there.
"""

from dataclasses import dataclass
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

Int32 = NDArray[np.int32]
Float32 = NDArray[np.float32]

NO_TOKEN = -1  # In `targets`: nothing is scored here. In `source_slots`: the input is a literal token.
NULL_PAGE = 0  # Padding writes here; the allocator never hands it out.


@dataclass(frozen=True, kw_only=True, slots=True)
class BackendInfo:
    """What a backend can hold. `num_pages` counts usable pages: their ids are 1 to num_pages.

    Chunks of a prompt start at multiples of `prefill_block`, whatever runs beside them: so a token is always
    computed in the same company of its own prompt. `max_prefill_tokens` bounds the blocks of one step.
    """

    vocab_size: int
    max_len: int
    page_size: int
    num_pages: int
    max_rows: int
    prefill_block: int
    max_prefill_tokens: int
    max_top_logprobs: int


@dataclass(frozen=True, kw_only=True, slots=True)
class StepPlan:
    """One step, for T input tokens in R rows; rows lie one after another in `tokens`.

    The first `decode_rows` rows have one token each and are generating; the rest are prompt chunks.
    `copies` are (source page, target page) pairs, done before anything is written.
    """

    number: int
    decode_rows: int
    tokens: Int32  # [T]
    targets: Int32  # [T]: token whose log-probability after this input is wanted, or NO_TOKEN
    row_lengths: Int32  # [R]
    positions: Int32  # [R]: position of the row's first input
    slots: Int32  # [R]: where the sampled token is kept
    source_slots: Int32  # [R]: slot whose latest token is the row's (only) input, or NO_TOKEN
    sample: NDArray[np.bool_]  # [R]
    page_tables: Int32  # [R, max_len / page_size], unused entries are NULL_PAGE
    temperature: Float32  # [R]
    top_k: Int32  # [R]
    top_p: Float32  # [R]
    seeds: NDArray[np.uint64]  # [R]
    sample_index: Int32  # [R]
    top_logprobs: int  # the most alternatives any row wants
    copies: Int32  # [C, 2]


@dataclass(frozen=True, slots=True)
class Ticket:
    """A step that has been launched; `handle` is the backend's own business."""

    number: int
    handle: object


@dataclass(frozen=True, kw_only=True, slots=True)
class StepResult:
    """What a step computed; entries of rows that sample nothing are meaningless."""

    number: int
    tokens: Int32  # [R]
    logprobs: Float32  # [R]
    top_tokens: Int32  # [R, A] with A >= the plan's top_logprobs, best first
    top_logprobs: Float32  # [R, A]
    target_logprobs: Float32  # [T]


class Backend(Protocol):
    """Runs steps of one model. Owned by one thread; at most two tickets are out at a time."""

    @property
    def info(self) -> BackendInfo:
        """Sizes, fixed for life."""

    def launch(self, plan: StepPlan) -> Ticket:
        """Start a step and return at once; the plan's arrays are not kept after the return."""

    def collect(self, ticket: Ticket) -> StepResult:
        """Wait for a step; tickets are collected in the order in which they were launched, each once."""

    def release(self) -> None:
        """Give back the model's and the cache's memory; nothing may be called afterwards."""
