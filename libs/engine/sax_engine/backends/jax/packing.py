"""A `StepPlan` as one array of int32, of a size that depends only on the bucket.

One array means one transfer per step. The layout for a bucket of D decode rows and B blocks of Q, R = D + B,
P pages per table:

    scalars [5]   decode rows used, blocks used, blocks to score, does anybody sample alternatives (0/1), 0
    rows [9, R]   position of the first input, inputs, slot, source slot, top_k, temperature*, top_p*,
    sample, samples (0/1)
    seeds [2, R]  low and high words
    tables [R, P] tokens [D + B * Q] targets [B * Q]              * float32 bit patterns

Padding rows have no inputs, slot `max_rows` (whose token nobody reads) and the null page everywhere. A chunk
becomes consecutive blocks; only its last block samples. Floats travel as bit patterns, both ways.
"""

from dataclasses import dataclass

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax

from sax_engine.port import NO_TOKEN, Int32, StepPlan, StepResult

SCALARS = 5
ROW_FIELDS = 9
SEED_WORDS = 2
ALTERNATIVES = 20


@dataclass(frozen=True, slots=True)
class Bucket:
    """The shape of a step: D decode rows, B blocks of Q prompt tokens, P pages per table."""

    decode: int
    blocks: int
    block_len: int
    pages: int
    max_rows: int

    @property
    def rows(self) -> int:
        """R: rows that may sample."""
        return self.decode + self.blocks

    @property
    def chunk_tokens(self) -> int:
        """Prompt tokens with padding."""
        return self.blocks * self.block_len

    @property
    def tokens(self) -> int:
        """Inputs with padding."""
        return self.decode + self.chunk_tokens

    def sizes(self) -> tuple[int, ...]:
        """Lengths of the sections of a packed plan, in order."""
        return (
            SCALARS,
            ROW_FIELDS * self.rows,
            SEED_WORDS * self.rows,
            self.rows * self.pages,
            self.tokens,
            self.chunk_tokens,
        )


@dataclass(frozen=True, slots=True)
class Unpacked:
    """A packed plan on the device, as the step wants it; see the module's docstring."""

    decode_used: jax.Array
    blocks_used: jax.Array
    blocks_scored: jax.Array
    wants_alternatives: jax.Array
    starts: jax.Array
    lengths: jax.Array
    slots: jax.Array
    sources: jax.Array
    top_k: jax.Array
    temperature: jax.Array
    top_p: jax.Array
    sample: jax.Array
    samples: jax.Array
    seeds: tuple[jax.Array, jax.Array]
    tables: jax.Array
    tokens: jax.Array
    targets: jax.Array


def pack(plan: StepPlan, bucket: Bucket) -> tuple[Int32, Int32]:
    """Lay out a plan; also say which packed row holds each row of the plan."""
    scalars, rows, seeds, tables, tokens, targets = _empty(bucket)
    used = plan.decode_rows
    device_rows = np.arange(len(plan.row_lengths), dtype=np.int32)
    if used:
        _fill_rows(rows, seeds, plan, device_rows[:used], device_rows[:used])
        rows[0, :used] = plan.positions[:used]
        rows[1, :used] = 1
        tables[:used] = plan.page_tables[:used]
        tokens[:used] = plan.tokens[:used]
    block, offset, scored = bucket.decode, used, False
    for row in range(used, len(plan.row_lengths)):
        length = int(plan.row_lengths[row])
        count = -(-length // bucket.block_len)
        span = slice(block, block + count)
        rows[0, span] = plan.positions[row] + bucket.block_len * np.arange(count)
        rows[1, span] = bucket.block_len
        rows[1, block + count - 1] = length - bucket.block_len * (count - 1)
        tables[span] = plan.page_tables[row]
        at = bucket.decode + (block - bucket.decode) * bucket.block_len
        tokens[at : at + length] = plan.tokens[offset : offset + length]
        wanted = plan.targets[offset : offset + length]
        targets[at - bucket.decode : at - bucket.decode + length] = wanted
        scored = scored or bool((wanted != NO_TOKEN).any())
        block, offset = block + count, offset + length
        device_rows[row] = block - 1
    chunks = np.arange(used, len(plan.row_lengths), dtype=np.int32)
    _fill_rows(rows, seeds, plan, chunks, device_rows[chunks])
    blocks = block - bucket.decode
    scalars[:4] = used, blocks, blocks if scored else 0, plan.top_logprobs > 0
    packed = np.concatenate([part.ravel() for part in (scalars, rows, seeds, tables, tokens, targets)])
    return packed, device_rows


def _empty(bucket: Bucket) -> tuple[Int32, ...]:
    rows = np.zeros((ROW_FIELDS, bucket.rows), np.int32)
    rows[2] = bucket.max_rows
    rows[3] = NO_TOKEN
    return (
        np.zeros(SCALARS, np.int32),
        rows,
        np.zeros((SEED_WORDS, bucket.rows), np.int32),
        np.zeros((bucket.rows, bucket.pages), np.int32),
        np.zeros(bucket.tokens, np.int32),
        np.full(bucket.chunk_tokens, NO_TOKEN, np.int32),
    )


def _fill_rows(rows: Int32, seeds: Int32, plan: StepPlan, source: Int32, target: Int32) -> None:
    """Write what does not depend on how a row is cut."""
    samples = plan.sample[source]
    rows[2, target] = np.where(samples, plan.slots[source], rows[2, target])
    rows[3, target] = plan.source_slots[source]
    rows[4, target] = plan.top_k[source]
    rows[5, target] = np.where(samples, plan.temperature[source], np.float32(0)).view(np.int32)
    rows[6, target] = plan.top_p[source].view(np.int32)
    rows[7, target] = plan.sample_index[source]
    rows[8, target] = samples
    words = plan.seeds[source].astype("<u8").view(np.int32).reshape(-1, SEED_WORDS)
    seeds[:, target] = words.T


def unpack(packed: jax.Array, bucket: Bucket) -> Unpacked:
    """Undo `pack` on the device."""
    bounds = np.cumsum(bucket.sizes())[:-1].tolist()
    scalars, rows, seeds, tables, tokens, targets = jnp.split(packed, bounds)
    rows, seeds = rows.reshape(ROW_FIELDS, bucket.rows), seeds.reshape(SEED_WORDS, bucket.rows)
    words = lax.bitcast_convert_type(seeds, jnp.uint32)
    return Unpacked(
        decode_used=scalars[0],
        blocks_used=scalars[1],
        blocks_scored=scalars[2],
        wants_alternatives=scalars[3] > 0,
        starts=rows[0],
        lengths=rows[1],
        slots=rows[2],
        sources=rows[3],
        top_k=rows[4],
        temperature=lax.bitcast_convert_type(rows[5], jnp.float32),
        top_p=lax.bitcast_convert_type(rows[6], jnp.float32),
        sample=rows[7],
        samples=rows[8] > 0,
        seeds=(words[0], words[1]),
        tables=tables.reshape(bucket.rows, bucket.pages),
        tokens=tokens,
        targets=targets,
    )


def pack_result(
    tokens: jax.Array, logprobs: jax.Array, top: tuple[jax.Array, jax.Array], targets: jax.Array
) -> jax.Array:
    """Put what the host wants into one array of int32."""
    floats = jnp.concatenate([logprobs, top[1].ravel(), targets])
    return jnp.concatenate([tokens, top[0].ravel(), lax.bitcast_convert_type(floats, jnp.int32)])


def unpack_result(
    packed: Int32, number: int, bucket: Bucket, plan_rows: Int32, spans: list[tuple[int, int]]
) -> StepResult:
    """Undo `pack_result`, in the plan's order of rows; `spans` are (start, length) of its chunks' targets."""
    count = bucket.rows
    alternatives = (len(packed) - bucket.chunk_tokens) // count // 2 - 1
    tokens, top_tokens, floats = np.split(packed, [count, count * (1 + alternatives)])
    logprobs, top_logprobs, targets = np.split(floats.view(np.float32), [count, count * (1 + alternatives)])
    parts = [targets[start : start + length] for start, length in spans]
    decode = np.zeros(len(plan_rows) - len(spans), np.float32)
    return StepResult(
        number=number,
        tokens=tokens[plan_rows],
        logprobs=logprobs[plan_rows],
        top_tokens=top_tokens.reshape(count, alternatives)[plan_rows],
        top_logprobs=top_logprobs.reshape(count, alternatives)[plan_rows],
        target_logprobs=np.concatenate([decode, *parts]),
    )
