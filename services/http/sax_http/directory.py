"""Which cells and models are there, and which model a client means.

OpenAI's clients send short names; a cell wants `/sax/<cell>/<model>`. How a name is resolved:

    /sax/test/smollm2                 taken as it is, nobody is asked
    smollm2, --sax_cell=/sax/test     /sax/test/smollm2, nobody is asked
    smollm2, one cell under the root  that cell
    smollm2, several cells            the only cell that has published it; two are an error naming both

The cells are the folders of the root that hold a `location.proto`. What was found is remembered for a few
seconds, so that a busy server asks the store and the admins about as often as an idle one; what this server
itself changes is seen at once.

Owned by the event loop. Never used on the way of a request with a full name: the data plane does not need
the admin.
"""

from __future__ import annotations

import asyncio
from dataclasses import dataclass
from typing import TYPE_CHECKING

from sax_common.errors import NotFound, SaxError
from sax_common.names import CellName, ModelName, parse_cell, parse_model, short_name
from sax_common.roots import CELLS_PREFIX, location_name
from sax_runtime.logs import get_logger

from sax_http.bodies import InvalidField, legal

if TYPE_CHECKING:
    from collections.abc import Sequence

    from sax_client import AsyncClient, PublishedModel
    from sax_common.clock import Clock

REMEMBERED_MS = 2_000
ADMIN_TIMEOUT_S = 5.0

_log = get_logger(__name__)


@dataclass(frozen=True)
class CellView:
    """One cell and what is published there; `problem` says why the models are not known."""

    name: CellName
    models: tuple[PublishedModel, ...] = ()
    problem: str = ""


class Directory:
    """Finds cells and models under one root."""

    def __init__(self, client: AsyncClient, *, default_cell: CellName | None, clock: Clock) -> None:
        self._client = client
        self._default_cell = default_cell
        self._clock = clock
        self._cells: tuple[CellName, ...] = ()
        self._views: tuple[CellView, ...] = ()
        self._cells_until_ms = self._views_until_ms = -1

    async def cells(self) -> Sequence[CellName]:
        """List the cells: the default one alone when there is one. Raises what the store raises."""
        if self._default_cell is not None:
            return (self._default_cell,)
        if self._clock.monotonic_ms() > self._cells_until_ms:
            names = await (await self._client.store()).list(CELLS_PREFIX)
            self._cells = tuple(_cells_among(names))
            self._cells_until_ms = self._clock.monotonic_ms() + REMEMBERED_MS
        return self._cells

    async def check(self) -> None:
        """Raise unless the root can be read now."""
        store = await self._client.store()
        if self._default_cell is None:
            await store.list(CELLS_PREFIX)
        else:
            await store.read(location_name(self._default_cell))

    async def views(self) -> Sequence[CellView]:
        """List the models of every cell; a cell whose admin does not answer comes with its problem."""
        if self._clock.monotonic_ms() > self._views_until_ms:
            self._views = tuple(await asyncio.gather(*(self._view(cell) for cell in await self.cells())))
            self._views_until_ms = self._clock.monotonic_ms() + REMEMBERED_MS
        return self._views

    def forget(self) -> None:
        """Ask anew next time: this server has just changed something."""
        self._views_until_ms = -1

    async def resolve(self, name: str) -> ModelName:
        """Return the full name of the model that a client means.

        Raises InvalidField for an illegal or ambiguous name, NotFound for one that no cell knows.
        """
        if name.startswith("/"):
            return _checked(name)
        cells = await self.cells()
        if len(cells) == 1:
            return _checked(f"{cells[0]}/{name}")
        _checked(f"/sax/any/{name}")
        views = await self.views()
        found = [
            model.model_id
            for view in views
            for model in view.models
            if short_name(ModelName(model.model_id)) == name
        ]
        if len(found) > 1:
            raise InvalidField("model", f"several cells have it; say which one: {', '.join(found)}.")
        if not found:
            silent = "".join(
                f" {view.name} could not be asked: {view.problem}" for view in views if view.problem
            )
            raise NotFound(f"No cell has a model of that name.{silent}")
        return ModelName(found[0])

    async def _view(self, cell: CellName) -> CellView:
        try:
            models = await self._client.admin(cell).list_all(timeout_s=ADMIN_TIMEOUT_S)
        except SaxError as error:
            _log.warning("an admin server does not answer", cell=cell, reason=error.message)
            return CellView(cell, problem=error.message)
        return CellView(cell, models=tuple(models))


def _checked(name: str) -> ModelName:
    return ModelName(legal("model", parse_model, name))


def _cells_among(names: Sequence[str]) -> list[CellName]:
    cells = []
    for name in names:
        folder, _, last = name.rpartition("/")
        if last == "location.proto":
            try:
                cells.append(parse_cell(f"/{folder}"))
            except SaxError:
                # Somebody else's folder in a shared bucket; no client could name it either.
                _log.debug("a folder under the root is no cell", folder=folder)
    return cells
