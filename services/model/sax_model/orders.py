"""Load, update, unload: what an admin may order, carried out on the model table.

The life of a model: `load` puts an `Entry` into the table and waits for its task; the task runs the load
function on a loader thread, then gives the engine to the device thread and turns the entry LOADED;
`unload` turns it UNLOADING, so that new requests get NOT_FOUND, waits for those in flight (`drain_ms` at
most, then they end with UNAVAILABLE) and drops the entry once the engine has been released.

A call that is cancelled (the admin went away) does not cancel the load: what is wanted is
level-triggered, and the next poll will find the model LOADED. Which events are legal in which state is
`core.lifecycle`'s business. Owned by the event loop.
"""

import asyncio
from collections.abc import Mapping
from dataclasses import replace

from sax_common.clock import Clock
from sax_common.errors import (
    FailedPrecondition,
    Internal,
    InvalidArgument,
    NotFound,
    SaxError,
    Unavailable,
    kind,
)
from sax_common.names import parse_model
from sax_runtime import metrics
from sax_runtime.logs import get_logger

from sax_model.core.lifecycle import Event, State
from sax_model.dispatch import Dispatcher
from sax_model.entry import Entry
from sax_model.hosted_model import HostedModel
from sax_model.loader import Loader, LoadJob, LoadSpec
from sax_model.mailbox import AddLane
from sax_model.memory import device_memory
from sax_model.table import ModelTable

BESIDE_HEADROOM = 1.5  # Loading holds a tensor or two twice, and serving goes on meanwhile.

_log = get_logger(__name__)


class ModelOrders:
    """Carries out orders. `static_keys` are models that no order may unload."""

    def __init__(
        self, table: ModelTable, loader: Loader, dispatcher: Dispatcher, clock: Clock, *, drain_ms: int
    ) -> None:
        self._table = table
        self._loader = loader
        self._dispatcher = dispatcher
        self._clock = clock
        self._drain_ms = drain_ms
        self._replacements: set[asyncio.Task[None]] = set()
        self.static_keys: frozenset[str] = frozenset()

    async def load(self, spec: LoadSpec) -> None:
        """Return once the model is LOADED; a second call for the same spec waits for the same load.

        Raises InvalidArgument for a bad spec, ResourceExhausted when too many loads wait,
        FailedPrecondition when the key is held by another spec, and what the load raised.
        """
        parse_model(spec.key)
        entry = self._table.find(spec.key)
        if entry is None or entry.state is State.FAILED:
            self._loader.check_room()
            entry = self._begin(spec)
        elif not _is_same(entry.spec, spec):
            raise FailedPrecondition(
                f"{spec.key} is {entry.state_name} here with another specification; unload it first"
            )
        elif entry.state is State.UNLOADING:
            raise Unavailable(f"{spec.key} is being unloaded; try again once it is gone")
        if entry.task is not None:
            await asyncio.shield(entry.task)

    async def update(
        self, key: str, *, acls: Mapping[str, str] | None, checkpoint_path: str, digest: bytes
    ) -> None:
        """Replace the ACLs (None keeps them), and the checkpoint if it is another one than the loaded one.

        Another checkpoint is loaded beside the old one where memory allows, so that a broken one changes
        nothing and nobody waits; otherwise it is an unload and a load. An original admin sends the checkpoint
        path with every update, so the same path again is no reason to reload (the original's weakness W1).
        Raises NotFound, and FailedPrecondition when `digest` says that something else than the checkpoint has
        changed, which only a Load can do.
        """
        if not key:
            raise InvalidArgument("UpdateLoaded needs a model_key")
        entry = self._table.find(key)
        if entry is None or entry.state is not State.LOADED:
            raise NotFound(f"{key} is not loaded here")
        spec = replace(entry.spec, acls=entry.spec.acls if acls is None else dict(acls))
        if checkpoint_path and checkpoint_path != entry.spec.checkpoint_path:
            spec = replace(spec, checkpoint_path=checkpoint_path, digest=digest)
            await self._change_checkpoint(entry, spec)
        elif digest and digest != entry.spec.digest:
            raise FailedPrecondition(f"more than the ACLs of {key} has changed; unload it and load it again")
        else:
            entry.spec = spec

    async def unload(self, key: str) -> None:
        """Return once the model is gone; InvalidArgument for a key that is not here or already going."""
        if not key:
            raise InvalidArgument("Unload needs a model_key")
        if key in self.static_keys:
            raise Unavailable(f"{key} was loaded statically (--keep_statically_loaded_models) and stays")
        entry = self._table.find(key)
        if entry is None:
            raise InvalidArgument(f"{key} is not here, so it cannot be unloaded")
        if entry.state is State.UNLOADING:
            raise InvalidArgument(f"{key} is already being unloaded")
        await asyncio.shield(asyncio.ensure_future(self._unload(entry)))

    async def _change_checkpoint(self, entry: Entry, spec: LoadSpec) -> None:
        if entry.is_being_replaced:
            raise Unavailable(f"another checkpoint of {spec.key} is being loaded; try again")
        if not self._fits_beside(entry):
            await self.unload(spec.key)
            await self.load(spec)
            return
        self._loader.check_room()
        entry.is_being_replaced = True
        task = asyncio.create_task(self._replace(entry, spec), name=f"replace {spec.key}")
        task.add_done_callback(_retrieve)
        task.add_done_callback(lambda _: setattr(entry, "is_being_replaced", False))
        self._replacements.add(task)
        task.add_done_callback(self._replacements.discard)
        await asyncio.shield(task)

    def _fits_beside(self, entry: Entry) -> bool:
        """Whether a second model of this size fits; a checkpoint of one class is as large as another."""
        total, used = device_memory(is_device_in_use=True)
        needed = entry.model.memory_bytes if entry.model is not None else 0
        return total - used > needed * BESIDE_HEADROOM

    def _begin(self, spec: LoadSpec) -> Entry:
        entry = Entry(spec, LoadJob(self._clock))
        self._table.put(entry)
        _log.info(f"Loading model {spec.key}", model_path=spec.model_path, checkpoint=spec.checkpoint_path)
        entry.task = asyncio.create_task(self._load(entry), name=f"load {spec.key}")
        entry.task.add_done_callback(_retrieve)
        return entry

    async def _load(self, entry: Entry) -> None:
        try:
            model = await self._make(entry)
        except SaxError as failure:
            if entry.state is State.LOADING:
                entry.fail(Event.LOAD_FAILED, failure.message)
                self._table.publish_state(entry)
            raise
        if entry.state is not State.LOADING:  # Unloaded meanwhile: the load came to an end all the same.
            model.close()
            return
        self._install(entry, model)

    async def _replace(self, entry: Entry, spec: LoadSpec) -> None:
        """Load `spec` beside the loaded entry, then let it take over; a load that fails changes nothing."""
        fresh = Entry(spec, LoadJob(self._clock))
        model = await self._make(fresh)
        if entry.state is not State.LOADED:
            model.close()
            raise Unavailable(f"{spec.key} was unloaded or failed while another checkpoint was being loaded")
        self._install(fresh, model)
        entry.apply(Event.UNLOAD)
        await self._drain(entry)
        entry.apply(Event.UNLOAD_DONE)

    async def _make(self, entry: Entry) -> HostedModel:
        """Run the load of an entry; raises SaxError, whatever went wrong."""
        started_ms, key = self._clock.monotonic_ms(), entry.spec.key
        try:
            model = await self._loader.run(entry.spec, entry.job)
        except Exception as error:
            failure = _load_error(error)
            metrics.LOADS.labels(outcome=kind(failure).name).inc()
            _log.error(f"Failed to load {key}", reason=failure.message, exc_info=_traceback(error))
            raise failure from error
        seconds = (self._clock.monotonic_ms() - started_ms) / 1000
        metrics.LOADS.labels(outcome="OK").inc()
        metrics.LOAD_SECONDS.observe(seconds)
        _log.info("loading completed.", model=key, seconds=round(seconds, 2))
        return model

    def _install(self, entry: Entry, model: HostedModel) -> None:
        self._table.install(entry, model)
        self._dispatcher.add_lane(AddLane(entry.lane, model.engine, model.close))
        _log.info(f"Successfully loaded model for key: {entry.spec.key}")

    async def _unload(self, entry: Entry) -> None:
        key, was = entry.spec.key, entry.state
        entry.apply(Event.UNLOAD)
        self._table.publish_state(entry)
        if was is State.LOADING:
            entry.job.cancel()
            if entry.task is not None:
                await asyncio.wait({entry.task})
        elif was is State.LOADED:
            await self._drain(entry)
        if entry.state is not None:
            entry.apply(Event.UNLOAD_DONE)
        self._table.drop(entry)
        _log.info(f"Unloaded model {key}")

    async def _drain(self, entry: Entry) -> None:
        try:
            async with asyncio.timeout(self._drain_ms / 1000):
                await entry.idle()
        except TimeoutError:
            _log.warning(
                "requests in flight are ended by the unload", model=entry.spec.key, count=entry.in_flight
            )
        if self._table.forget_lane(entry.lane) is not None:
            gone = Unavailable(f"{entry.spec.key} was unloaded before the answer was complete")
            await self._dispatcher.remove_lane(entry.lane, gone)
        entry.model = None


def _is_same(held: LoadSpec, asked: LoadSpec) -> bool:
    """Whether a Load asks for what is there; to an original admin, which sends no digest, it always does."""
    return not asked.digest or not held.digest or asked.digest == held.digest


def _load_error(error: Exception) -> SaxError:
    if isinstance(error, SaxError):
        return error
    if isinstance(error, MemoryError):
        return Internal(f"Loading error: out of memory: {error}")
    return Internal(f"Loading error: {type(error).__name__}: {error}")


def _traceback(error: Exception) -> Exception | None:
    """A SaxError says all in its message; for anything else the log needs to show where it came from."""
    return None if isinstance(error, SaxError) else error


def _retrieve(task: "asyncio.Task[None]") -> None:
    """Look at the outcome, which GetStatus shows anyway: asyncio complains when nobody does."""
    if not task.cancelled():
        task.exception()
