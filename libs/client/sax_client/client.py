"""The asynchronous client: one object per process, root and event loop.

    async with AsyncClient() as client:
        await client.admin("/sax/test").publish("/sax/test/m", "hf.CausalLM", "/models/m", 1)
        result = await client.model("/sax/test/m").generate("The capital of France is")

It owns what its admin and model clients share: the store, one link per cell, one channel per model server.
Making it and its parts does no I/O; the first call of each does. It must be used on one event loop and
closed there.
"""

from __future__ import annotations

import asyncio
import os
import random
import uuid
import weakref
from typing import TYPE_CHECKING, Self

from sax_common import names
from sax_common.clock import Clock, SystemClock
from sax_common.errors import InvalidArgument
from sax_common.roots import find_sax_root

from sax_client import retry
from sax_client.admin import AdminClient
from sax_client.attempts import Target
from sax_client.cache import AddressCache, default_directory
from sax_client.link import AdminLink
from sax_client.model import ModelClient
from sax_client.pool import ChannelPool
from sax_client.replicas import FixedReplica, Replicas, WatchedReplicas
from sax_client.values import ClientOptions

if TYPE_CHECKING:
    from collections.abc import Callable
    from types import TracebackType

    from sax_common.store.port import ObjectStore
    from sax_runtime.outgoing import Outgoing

MODELS_KEPT = 1024
"""Above so many models, those that follow nothing are forgotten: a gateway is asked for any name."""

PROXY_SCHEME = "google:///"
"""Model ids that name a target instead of a cell, as in the original (control_plane.md 3.3)."""


class AsyncClient:
    """Everything a program needs to use Sax cells under one root.

    `sax_root` is a directory or gs:// URL; None takes SAX_ROOT from the environment, which may raise
    MissingRoot as soon as a cell is needed. `notice` is told in one line what is being waited for, when
    something is. `outgoing` is what the program shows to servers; None is what the environment says
    (SAX_TLS_CA_FILE, SAX_TOKEN_FILE, ...; see sax_runtime.outgoing). `clock` and `rng` are for tests.
    """

    def __init__(
        self,
        sax_root: str | None = None,
        *,
        notice: Callable[[str], None] | None = None,
        outgoing: Outgoing | None = None,
        clock: Clock | None = None,
        rng: random.Random | None = None,
    ) -> None:
        self._given_root = sax_root
        self._outgoing = outgoing
        self._wait_notice = notice
        self._notice = notice or _say_nothing
        self._clock = clock or SystemClock()
        self._rng = rng or random.Random()  # noqa: S311 - load spreading, not secrets
        self._salt = uuid.uuid4().hex
        self._store: ObjectStore | None = None
        self._links: dict[names.CellName, AdminLink] = {}
        self._models: dict[tuple[str, ClientOptions], ModelClient] = {}
        self._all: weakref.WeakSet[ModelClient] = weakref.WeakSet()
        self._pool = ChannelPool(outgoing)

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.close()

    @property
    def sax_root(self) -> str:
        """The root in use. Raises MissingRoot."""
        return find_sax_root(self._given_root, os.environ)

    def admin(self, cell: str) -> AdminClient:
        """The admin server of `/sax/<cell>`. Raises InvalidArgument or MissingRoot; does no I/O."""
        name = names.parse_cell(cell)
        if name not in self._links:
            self._links[name] = AdminLink(
                name,
                root=self.sax_root,
                store=self.store,
                clock=self._clock,
                rng=self._rng,
                notice=self._notice,
                outgoing=self._outgoing,
            )
        return AdminClient(self._links[name], clock=self._clock, rng=self._rng)

    def model(self, model_id: str, options: ClientOptions | None = None) -> ModelClient:
        """A published model, or a proxy target. Raises InvalidArgument or MissingRoot; does no I/O.

        Asked twice for the same model and options it gives the same object.
        """
        options = options or ClientOptions()
        key = (model_id, options)
        model = self._models.pop(key, None) or self._new_model(model_id, options)
        self._models[key] = model  # At the end: the dictionary is in order of last use.
        self._all.add(model)
        if len(self._models) > MODELS_KEPT:
            self._forget_idle()
        return model

    async def store(self) -> ObjectStore:
        """The object store of the root, opened on first use. Raises MissingRoot and what opening raises."""
        if self._store is None:
            # Imported late: a program that only talks to a proxy needs no store.
            from sax_common.store.open import open_store  # noqa: PLC0415

            self._store = open_store(self.sax_root)
        return self._store

    async def close(self) -> None:
        """Stop all watches and close all connections; calls in flight end with CANCELLED."""
        await asyncio.gather(*(model.close() for model in list(self._all)))
        self._models.clear()
        await self._pool.close()
        await asyncio.gather(*(link.close() for link in self._links.values()))
        self._links.clear()
        if self._store is not None:
            await self._store.close()
            self._store = None

    def _forget_idle(self) -> None:
        """Drop the models used longest ago that follow nothing; who still holds one may go on using it."""
        idle = [key for key, model in self._models.items() if model.is_idle]
        for key in idle[: len(self._models) - MODELS_KEPT]:
            del self._models[key]

    def _new_model(self, model_id: str, options: ClientOptions) -> ModelClient:
        if options.num_conn <= 0:
            raise InvalidArgument(f"num_conn must be at least 1, not {options.num_conn}.")
        kind = retry.CallKind.DATA_FAIL_FAST if options.fail_fast else retry.CallKind.DATA
        target = Target(
            model_id=model_id,
            replicas=self._replicas(model_id, options),
            kind=kind,
            clock=self._clock,
            rng=self._rng,
            notice=self._notice,
            ready_timeout_s=options.ready_timeout_s,
        )
        return ModelClient(target, self._pool, options)

    def _replicas(self, model_id: str, options: ClientOptions) -> Replicas:
        if options.proxy_address or model_id.startswith(PROXY_SCHEME):
            return FixedReplica(options.proxy_address or model_id, self._pool)
        model = names.parse_model(model_id)
        return WatchedReplicas(
            model,
            self.admin(names.cell_of(model)),
            self._pool,
            limit=options.num_conn,
            salt=self._salt,
            notice=self._wait_notice,
            cache=AddressCache(default_directory(), root=self.sax_root),
            clock=self._clock,
            rng=self._rng,
        )


def _say_nothing(_: str) -> None:
    """What a program without a person tells."""
