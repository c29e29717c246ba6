"""The shell round the machine: it carries out effects and brings back what came of them.

The life of a call: a handler calls `mutate` or `join`, gets a token and waits; the machine is told; its
effects become tasks (a write, a poll, an order); each task ends by telling the machine what happened; at
some point the machine answers the token. Nothing is decided here, and all of it runs on one event loop, so
the machine needs no lock.

A task that had to wait before it acts (a pause, a retry) asks the machine whether its term may still act:
leadership may have gone in the meantime.
"""

from __future__ import annotations

import asyncio
import secrets
import time
from typing import TYPE_CHECKING

from sax_common.errors import SaxError, Unavailable
from sax_common.store.port import NotDurable
from sax_runtime import metrics
from sax_runtime.logs import get_logger

from sax_admin.core.events import (
    Answer,
    CollectSlots,
    CreateSlot,
    Effect,
    End,
    Event,
    FindState,
    Forget,
    Join,
    Lead,
    Mutate,
    Note,
    OrderDone,
    Poll,
    PollAnswered,
    PollFailed,
    ReadLease,
    ReadSlot,
    Released,
    Send,
    SlotWritten,
    StateUnreadable,
    StepDown,
    Tick,
    Token,
    Wake,
    WakeUp,
    WriteLease,
)

if TYPE_CHECKING:
    from collections.abc import Callable, Coroutine
    from typing import Any

    from sax_common.clock import Clock
    from sax_common.names import ModelName

    from sax_admin.core.cell import Term
    from sax_admin.core.commands import Mutation
    from sax_admin.core.machine import Machine
    from sax_admin.fleet import Fleet
    from sax_admin.slots import Slots

_log = get_logger(__name__)

TICK_MS = 50
STORE_RETRY_FIRST_MS = 100
STORE_RETRY_LAST_MS = 2_000
# How long a process that cannot lead tries to give up the lease before it ends.
RELEASE_MS = 3_000


class Controller:
    """Runs one machine. Made and used on one event loop; `run` must be running for anything to happen.

    `on_lead` is told (with the term) once the claim is durable, `on_step_down` (with the other leader's
    address) when leadership is lost, `on_fatal` (with the reason) when the process must end at once because
    it cannot know its own state.
    """

    def __init__(
        self,
        machine: Machine,
        *,
        slots: Slots,
        fleet: Fleet,
        clock: Clock,
        on_lead: Callable[[Term], Coroutine[Any, Any, None]],
        on_step_down: Callable[[str], None],
        on_fatal: Callable[[str], None],
    ) -> None:
        """Tie the machine to its store, its connections and its clock."""
        self.machine = machine
        self._slots = slots
        self._fleet = fleet
        self._clock = clock
        self._on_lead = on_lead
        self._on_step_down = on_step_down
        self._on_fatal = on_fatal
        self._released = asyncio.Event()
        self._tasks: set[asyncio.Task[None]] = set()
        self._answers: dict[Token, asyncio.Future[int]] = {}
        self._next_token = 0
        self._waiters: dict[ModelName, set[asyncio.Future[None]]] = {}

    @property
    def now_ms(self) -> int:
        """The clock that the machine lives by."""
        return self._clock.monotonic_ms()

    @property
    def unix_ms(self) -> int:
        """Wall-clock time, for people."""
        return self._clock.unix_ms()

    def may_act(self, term: Term) -> bool:
        """Tell whether something that belongs to `term` may be done now."""
        return self.machine.may_act(term, self.now_ms)

    async def run(self) -> None:
        """Watch the lease, lead when it is won, until cancelled. Raises what makes it impossible to lead."""
        while True:
            self.tell(Tick(self._clock.unix_ms()))
            if self.machine.failure is not None:
                # Another admin, perhaps a newer program, may be able to do what this one cannot.
                await self.end(RELEASE_MS)
                raise self.machine.failure
            await self._clock.sleep_ms(TICK_MS)

    async def end(self, timeout_ms: int) -> None:
        """Finish what is being written and give up the lease, for at most `timeout_ms`."""
        self.tell(End())
        deadline_ms = self.now_ms + timeout_ms
        while not self._released.is_set() and self.now_ms < deadline_ms:
            await self._clock.sleep_ms(TICK_MS // 5)
            self.tell(Tick(self._clock.unix_ms()))

    async def close(self) -> None:
        """End all tasks that are under way. Their outcomes are no longer told to anybody."""
        tasks = list(self._tasks)
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        await self._fleet.close()

    # ---- What callers ask ----

    async def mutate(self, mutation: Mutation) -> int:
        """Make a change durable and return the number of its record. Raises the error the caller must see."""
        return await self._ask(lambda token: Mutate(token, mutation))

    async def join(self, make: Callable[[Token], Join]) -> int:
        """Let a model server join and return the term. Raises DeadlineExceeded when it does not answer."""
        return await self._ask(make)

    async def _ask(self, make: Callable[[Token], Event]) -> int:
        self._next_token += 1
        token = self._next_token
        future: asyncio.Future[int] = asyncio.get_running_loop().create_future()
        self._answers[token] = future
        try:
            self.tell(make(token))
            return await future
        finally:
            self._answers.pop(token, None)

    async def wait_for_change(self, model: ModelName, timeout_s: float | None) -> bool:
        """Wait until something about `model` may have changed; false when `timeout_s` passed first."""
        future: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._waiters.setdefault(model, set()).add(future)
        metrics.WATCHERS.inc()
        try:
            async with asyncio.timeout(timeout_s):
                await future
        except TimeoutError:
            return False
        finally:
            metrics.WATCHERS.dec()
            waiting = self._waiters.get(model)
            if waiting is not None:
                waiting.discard(future)
                if not waiting:
                    del self._waiters[model]
        return True

    # ---- Events in, effects out ----

    def tell(self, event: Event) -> None:
        """Tell the machine what happened and carry out what it wants."""
        reconciles, started_s = self.machine.fleet.reconciles, time.perf_counter()
        effects = self.machine.on(event, self.now_ms)
        if self.machine.fleet.reconciles != reconciles:
            metrics.RECONCILE_SECONDS.observe(time.perf_counter() - started_s)
        for effect in effects:
            self._carry_out(effect)

    def _carry_out(self, effect: Effect) -> None:  # noqa: C901, PLR0912  # A flat table.
        match effect:
            case Answer(token, result):
                self._answer(token, result)
            case Wake(models):
                self._wake(models)
            case Note(text, is_warning):
                (_log.warning if is_warning else _log.info)(text)
            case ReadLease(attempt):
                self._spawn(self._read_lease(attempt))
            case WriteLease():
                self._spawn(self._write_lease(effect))
            case Released():
                self._released.set()
            case FindState():
                self._spawn(self._find_state(effect))
            case CreateSlot():
                self._spawn(self._create(effect))
            case ReadSlot():
                self._spawn(self._read(effect))
            case CollectSlots():
                self._spawn(self._collect(effect))
            case Poll():
                self._spawn(self._poll(effect))
            case Send():
                self._spawn(self._send(effect))
            case WakeUp():
                self._spawn(self._wake_up(effect))
            case Forget(address):
                self._fleet.forget(address)
            case Lead(term):
                self._spawn(self._on_lead(term))
            case StepDown(address, _):
                self._on_step_down(address)

    def _answer(self, token: Token, result: int | SaxError) -> None:
        future = self._answers.get(token)
        if future is None or future.done():
            return
        if isinstance(result, SaxError):
            future.set_exception(result)
        else:
            future.set_result(result)

    def _wake(self, models: frozenset[ModelName]) -> None:
        for model in models:
            for future in self._waiters.pop(model, ()):
                if not future.done():
                    future.set_result(None)

    def _spawn(self, work: Coroutine[Any, Any, None]) -> None:
        task = asyncio.get_running_loop().create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._done)

    def _done(self, task: asyncio.Task[None]) -> None:
        self._tasks.discard(task)
        if not task.cancelled() and (error := task.exception()) is not None:
            # A task that dies takes an outcome with it that the machine waits for.
            _log.error("a task of the admin ended on an error", exc_info=error)
            self._on_fatal(f"{type(error).__name__}: {error}")

    # ---- The store ----

    async def _read_lease(self, attempt: int) -> None:
        self.tell(await self._slots.read_lease(attempt))

    async def _write_lease(self, effect: WriteLease) -> None:
        self.tell(await self._slots.write_lease(effect))

    async def _find_state(self, effect: FindState) -> None:
        async def find() -> Event:
            try:
                return await self._slots.find_newest(
                    effect.term, self._clock.unix_ms(), hint_sequence=effect.hint_sequence
                )
            except Unavailable:
                raise
            except SaxError as error:
                return StateUnreadable(effect.term, error)

        await self._until_answered(effect.term, find)

    async def _create(self, effect: CreateSlot) -> None:
        if effect.delay_ms:
            await self._clock.sleep_ms(effect.delay_ms)
        if not self.may_act(effect.term):
            return
        started_s = time.perf_counter()
        try:
            outcome = await self._slots.create(effect.term, effect.record)
        except NotDurable as error:
            self._on_fatal(f"state record {effect.record.sequence} may be lost: {error.message}")
            return
        if isinstance(outcome, SlotWritten):
            metrics.COMMIT_SECONDS.observe(time.perf_counter() - started_s)
        self.tell(outcome)

    async def _read(self, effect: ReadSlot) -> None:
        async def read() -> Event:
            try:
                return await self._slots.read(effect.term, effect.sequence)
            except Unavailable:
                raise
            except SaxError as error:
                return StateUnreadable(effect.term, error)

        await self._clock.sleep_ms(effect.delay_ms)
        await self._until_answered(effect.term, read)

    async def _until_answered(self, term: Term, ask: Callable[[], Coroutine[Any, Any, Event]]) -> None:
        """Ask the store until it answers or the term is over, and tell the machine."""
        delay_ms = STORE_RETRY_FIRST_MS
        while self.may_act(term):
            try:
                event = await ask()
            except Unavailable as error:
                _log.warning("the store does not answer", again_in_ms=delay_ms, reason=error.message)
                await self._clock.sleep_ms(delay_ms)
                delay_ms = min(STORE_RETRY_LAST_MS, 2 * delay_ms)
                continue
            self.tell(event)
            return

    async def _collect(self, effect: CollectSlots) -> None:
        try:
            await self._slots.collect(effect.term, effect.below)
        except SaxError as error:
            # Harmless: the next collection starts where this one stopped.
            _log.warning("old state records were not deleted", reason=error.message)

    # ---- The servers ----

    async def _poll(self, effect: Poll) -> None:
        try:
            report = await self._fleet.poll(effect.address, effect.term, is_original=effect.is_original)
        except SaxError as error:
            _log.debug("a model server did not answer", server=effect.address, reason=error.message)
            self.tell(PollFailed(effect.address, effect.term, error.message))
            return
        self.tell(PollAnswered(effect.address, effect.term, effect.orders_changed, report))

    async def _send(self, effect: Send) -> None:
        order = effect.order
        try:
            await self._fleet.send(order)
        except SaxError as error:
            metrics.ORDERS.labels(order=order.kind.value, outcome="failed").inc()
            self.tell(OrderDone(order, error.message or type(error).__name__))
            return
        metrics.ORDERS.labels(order=order.kind.value, outcome="ok").inc()
        self.tell(OrderDone(order, None))

    async def _wake_up(self, effect: WakeUp) -> None:
        try:
            await self._fleet.wake_up(effect)
        except SaxError as error:
            # Said again when the server is still missed after a while.
            _log.warning("a server was not woken up", server=effect.address, reason=error.message)


def fresh_bytes() -> bytes:
    """Return 16 random bytes: a model's uuid, or the name of an operation whose caller gave none."""
    return secrets.token_bytes(16)
