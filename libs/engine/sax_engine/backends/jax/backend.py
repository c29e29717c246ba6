"""The engine port on JAX: packs plans into buckets, keeps the cache, and hands back results.

The life of a plan: pages to copy are copied, the smallest bucket (decode rows, prompt blocks) that holds the
plan is taken, the plan becomes one array, and one compiled program runs it. `launch` returns while the
device works; `collect` waits for the one array that comes back. Compiled once per bucket, on first use or by
`warm_up`.

Owned by one thread. After an exception from the device the state is lost and the backend must be released.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from sax_engine.backends.jax.inputs import StepSettings
from sax_engine.backends.jax.packing import ALTERNATIVES, Bucket, pack, unpack_result
from sax_engine.backends.jax.programs import Step, make_step
from sax_engine.backends.jax.step import State, copy_pages
from sax_engine.backends.jax.weights import Parameters, prepare
from sax_engine.decoder import DecoderConfig
from sax_engine.port import BackendInfo, Int32, StepPlan, StepResult, Ticket

# Seen on XLA CPU 0.10 (AMD Zen 5): products give a row the same bits from 2 rows on and cost the same from 2
# to 12; norms from 8 rows on. So steps have at least 8 rows, and a batch changes nobody's numbers.
MIN_ROWS = 8
# Attention sums in an order that depends on how many prompt blocks go together: always two. Decode rows do
# not mind.
CPU_CHUNK_GROUP = 2
MIXED_ROWS = 16
COPY_BATCH = 8


@dataclass(frozen=True, slots=True)
class _Launched:
    """What `collect` needs to know about a ticket."""

    packed: jax.Array
    bucket: Bucket
    rows: Int32
    spans: list[tuple[int, int]]


class JaxBackend:
    """See the module's docstring. Made by `make_jax_backend`."""

    def __init__(
        self, settings: StepSettings, info: BackendInfo, params: Parameters, cache_dtype: Any
    ) -> None:
        self._settings = settings
        self._info = info
        self._params = params
        self._steps: dict[Bucket, Step] = {}
        self._copy = jax.jit(copy_pages, donate_argnums=0)
        self._row_buckets = row_buckets(info.max_rows)
        self._block_buckets = block_buckets(info.max_prefill_tokens // info.prefill_block)
        config = settings.config
        shape = (info.num_pages + 1, config.num_kv_heads, info.page_size, config.head_dim)
        self._state = State(
            keys=[jnp.zeros(shape, cache_dtype) for _ in range(config.num_layers)],
            values=[jnp.zeros(shape, cache_dtype) for _ in range(config.num_layers)],
            latest=jnp.zeros(info.max_rows + 1, jnp.int32),
        )

    @property
    def info(self) -> BackendInfo:
        """Sizes."""
        return self._info

    @property
    def memory_bytes(self) -> int:
        """Bytes of weights and cache."""
        leaves = jax.tree_util.tree_leaves((self._params, self._state))
        return sum(int(leaf.nbytes) for leaf in leaves)

    def launch(self, plan: StepPlan) -> Ticket:
        """Start a step and return while it runs."""
        for first in range(0, len(plan.copies), COPY_BATCH):
            copies = np.zeros((COPY_BATCH, 2), np.int32)
            batch = plan.copies[first : first + COPY_BATCH]
            copies[: len(batch)] = batch
            self._state = self._copy(self._state, copies)
        bucket = self._bucket(plan)
        packed, rows = pack(plan, bucket)
        self._state, result = self._step(bucket)(self._params, self._state, packed)
        return Ticket(plan.number, _Launched(result, bucket, rows, _spans(plan, bucket)))

    def collect(self, ticket: Ticket) -> StepResult:
        """Wait for a step."""
        if not isinstance(ticket.handle, _Launched):
            raise TypeError(f"ticket {ticket.number} is not of this backend")
        launched = ticket.handle
        packed = np.asarray(launched.packed)
        return unpack_result(packed, ticket.number, launched.bucket, launched.rows, launched.spans)

    def release(self) -> None:
        """Let go of weights and cache."""
        self._steps.clear()
        self._params = Parameters([], {})
        self._state = State([], [], jnp.zeros(0, jnp.int32))

    def buckets(self) -> list[Bucket]:
        """Every bucket a plan can fall into, the commonest first."""
        decode_only = [self._make_bucket(rows, 0) for rows in self._row_buckets]
        rows = mixed_rows(self._row_buckets)
        mixed = [self._make_bucket(count, blocks) for count in rows for blocks in self._block_buckets]
        return decode_only + mixed

    def run_empty(self, bucket: Bucket) -> None:
        """Run a step of nothing but padding, so that the bucket is compiled."""
        plan = _nothing(self._info)
        packed, _ = pack(plan, bucket)
        self._state, result = self._step(bucket)(self._params, self._state, packed)
        np.asarray(result)

    def run_empty_copy(self) -> None:
        """Copy the null page onto itself, so that copying is compiled."""
        self._state = self._copy(self._state, np.zeros((COPY_BATCH, 2), np.int32))

    def _step(self, bucket: Bucket) -> Step:
        step = self._steps.get(bucket)
        if step is None:
            step = self._steps[bucket] = make_step(self._settings, bucket)
        return step

    def _bucket(self, plan: StepPlan) -> Bucket:
        lengths = plan.row_lengths[plan.decode_rows :]
        blocks = int((-(-lengths // self._info.prefill_block)).sum())
        if not blocks:
            return self._make_bucket(_at_least(self._row_buckets, plan.decode_rows), 0)
        rows = _at_least(mixed_rows(self._row_buckets), plan.decode_rows)
        return self._make_bucket(rows, _at_least(self._block_buckets, blocks))

    def _make_bucket(self, rows: int, blocks: int) -> Bucket:
        info = self._info
        return Bucket(rows, blocks, info.prefill_block, -(-info.max_len // info.page_size), info.max_rows)


def row_buckets(max_rows: int) -> list[int]:
    """Sizes of decode batches: 8, 16, 32, ... up to one that holds max_rows."""
    sizes = [MIN_ROWS]
    while sizes[-1] < max_rows:
        sizes.append(2 * sizes[-1])
    return sizes


def mixed_rows(buckets: list[int]) -> list[int]:
    """Decode rows of steps that also take prompts: beside 32 tokens or more, a few rows cost little."""
    return sorted({min(MIXED_ROWS, buckets[-1]), buckets[-1]})


def block_buckets(max_blocks: int) -> list[int]:
    """Sizes of the prompt part in blocks, all even: 2, and the quarters of max_blocks."""
    quarters = {2 * -(-max_blocks * quarter // 8) for quarter in (1, 2, 3, 4)}
    return sorted({2, *quarters})


def layers_per_program(num_layers: int) -> int:
    """How many layers to compile together: equal groups of at most 8, or 6 when none divides well."""
    divisors = [size for size in range(1, min(8, num_layers // 2) + 1) if num_layers % size == 0]
    best = max(divisors, default=1)
    return best if best > 2 or num_layers <= 4 else 6  # noqa: PLR2004 - explained above.


def _at_least(sizes: list[int], wanted: int) -> int:
    return next(size for size in sizes if size >= wanted)


def _spans(plan: StepPlan, bucket: Bucket) -> list[tuple[int, int]]:
    """Where each chunk's targets lie among the packed ones: (start, length)."""
    spans, start = [], 0
    for length in plan.row_lengths[plan.decode_rows :].tolist():
        spans.append((start, length))
        start += -(-length // bucket.block_len) * bucket.block_len
    return spans


def _nothing(info: BackendInfo) -> StepPlan:
    none = np.zeros(0, np.int32)
    floats = np.zeros(0, np.float32)
    tables = np.zeros((0, -(-info.max_len // info.page_size)), np.int32)
    return StepPlan(
        number=0, decode_rows=0, tokens=none, targets=none, row_lengths=none, positions=none, slots=none,
        source_slots=none, sample=np.zeros(0, np.bool_),
        page_tables=tables, temperature=floats, top_k=none,
        top_p=floats, seeds=np.zeros(0, np.uint64), sample_index=none, top_logprobs=0,
        copies=np.zeros((0, 2), np.int32),
    )  # fmt: skip


def make_jax_backend(
    config: DecoderConfig,
    params: Mapping[str, Any],
    *,
    dtype: str = "bfloat16",
    max_len: int | None = None,
    max_rows: int = 16,
    num_pages: int | None = None,
    page_size: int = 16,
    prefill_block: int = 32,
    max_prefill_tokens: int = 512,
) -> JaxBackend:
    """Place a model on the default device and make its cache.

    `params` maps canonical names (`sax_engine.decoder`) to arrays; every name is read once, layer by layer,
    so tensors may be made on demand. `dtype` is that of matrices and cache: bfloat16 or float32. `max_len`
    (prompt plus answer) defaults to the model's; `num_pages` to what max_rows sequences of max_len need.
    Raises BadWeights naming the tensor.
    """
    length = min(max_len if max_len is not None else config.max_len, config.max_len)
    info = BackendInfo(
        vocab_size=config.vocab_size,
        max_len=length,
        page_size=page_size,
        num_pages=num_pages if num_pages is not None else max_rows * -(-length // page_size),
        max_rows=max_rows,
        prefill_block=prefill_block,
        max_prefill_tokens=max(max_prefill_tokens // prefill_block, 1) * prefill_block,
        max_top_logprobs=min(ALTERNATIVES, config.vocab_size),
    )
    weights_dtype = jnp.dtype(dtype)
    is_cpu = jax.default_backend() == "cpu"
    settings = StepSettings(
        config=config,
        page_size=page_size,
        decode_group=16 if is_cpu else None,
        chunk_group=CPU_CHUNK_GROUP if is_cpu else None,
        layers_per_program=layers_per_program(config.num_layers) if is_cpu else None,
    )
    cache_dtype = jnp.uint16 if weights_dtype == jnp.bfloat16 else weights_dtype
    return JaxBackend(settings, info, prepare(config, params, weights_dtype), cache_dtype)
