"""A whole cell on this machine, as child processes on loopback: admin, model server, HTTP server.

    async with LocalCell(plan, tell=print) as cell:      # ready here: the model answers
        ... cell.http_url, cell.root ...
        await cell.child_death()                         # or whatever is waited for
                                                         # stopped here: HTTP, model, admin

All three start at once and find each other through the root; then the model is published and awaited.
Every phase is told with the seconds since the start. A child that dies ends the cell with `ChildDied`,
which carries the last lines of its log.
"""

import asyncio
import importlib.util
import socket
import tempfile
import time
import urllib.error
import urllib.request
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Self, TypeVar

from sax_client import AsyncClient
from sax_common.errors import AlreadyExists, FailedPrecondition, SaxError, Unavailable
from sax_common.names import cell_of, parse_model
from sax_runtime.outgoing import Outgoing

from sax_model.serve_child import Child, child_environ

START_TIMEOUT_S = 60.0
STOP_TIMEOUT_S = 15.0
LOOK_S = 0.05
NEEDED = {"sax_admin": "sax-admin", "sax_http": "sax-http"}

T = TypeVar("T")


class ChildDied(Unavailable):
    """A server of the cell ended by itself; the message ends with its last log lines."""


@dataclass(frozen=True, slots=True, kw_only=True)
class CellPlan:
    """What to serve and where. Ports 0 are any free ones; `root` "" is a temporary folder."""

    model: str
    model_path: str
    checkpoint: str
    port: int = 0
    http_port: int = 0
    root: str = ""
    jax_cache_dir: str = ""
    jax_platforms: str = ""
    shows_logs: bool = False


class LocalCell:
    """See the module. Owned by the event loop."""

    def __init__(self, plan: CellPlan, tell: Callable[[str], None]) -> None:
        """`tell` is given one line per phase."""
        self.plan = plan
        self.cell = cell_of(parse_model(plan.model))
        self._tell = tell
        self._folder = None if plan.root else tempfile.TemporaryDirectory(prefix="sax-")
        folder = Path(plan.root if self._folder is None else self._folder.name).expanduser().resolve()
        folder.mkdir(parents=True, exist_ok=True)
        self.root = str(folder)
        self.http_port = plan.http_port or _free_port()
        self.http_url = f"http://127.0.0.1:{self.http_port}"
        self._children: list[Child] = []
        self._started = time.monotonic()

    async def __aenter__(self) -> Self:
        try:
            await self._start()
        except BaseException:
            await self._stop()
            raise
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self._stop()

    async def child_death(self) -> None:
        """Wait until a child ends by itself; raises ChildDied."""
        waits = {asyncio.ensure_future(child.ended()): child for child in self._children}
        try:
            done, _ = await asyncio.wait(waits, return_when=asyncio.FIRST_COMPLETED)
        finally:
            for wait in waits:
                wait.cancel()
        for wait in done:
            child = waits[wait]
            code = wait.result()
            raise ChildDied(f"the {child.name} ended with code {code}; its last words:\n{_last_words(child)}")

    def kill(self) -> None:
        """End all children at once."""
        for child in self._children:
            child.kill()

    async def _start(self) -> None:
        _check_installed()
        await self._run("cell set-up", "sax_admin.config_main", [f"--fs_root={self.root}/fs-root"])
        await self._spawn(
            "admin server", "sax_admin.main", ["--port=0", "--status_port=0", "--listen_host=127.0.0.1"]
        )
        await self._spawn("model server", "sax_model.main", self._model_server_flags())
        await self._spawn("HTTP server", "sax_http.main", [f"--port={self.http_port}", "--host=127.0.0.1"])
        await self._unless_dead(self._publish())
        await self._unless_dead(self._until(self._http_is_ready, "HTTP server"))
        self._say("HTTP server ready")

    def _model_server_flags(self) -> list[str]:
        plan = self.plan
        flags = [f"--port={plan.port}", "--listen_address=127.0.0.1", "--status_port=0", "--lame_duck_s=0"]
        if plan.jax_cache_dir:
            flags.append(f"--jax_cache_dir={plan.jax_cache_dir}")
        if plan.jax_platforms:
            flags.append(f"--jax_platforms={plan.jax_platforms}")
        return flags

    async def _publish(self) -> None:
        plan = self.plan
        async with AsyncClient(self.root, outgoing=Outgoing()) as client:
            admin = client.admin(self.cell)

            async def is_up() -> bool:
                try:
                    await admin.list_all(timeout_s=1.0)
                except SaxError:
                    return False
                return True

            async def has_server() -> bool:
                stats = await admin.stats()
                return sum(each.count for each in stats.server_types) > 0

            await self._until(is_up, "admin server")
            self._say("admin server ready")
            try:
                await admin.publish(plan.model, plan.model_path, plan.checkpoint, 1)
                self._say(f"published {plan.model}")
            except AlreadyExists:
                await admin.update(
                    plan.model, model_path=plan.model_path, checkpoint=plan.checkpoint, replicas=1
                )
                self._say(f"updated {plan.model}, which this root knew already")
            await self._until(has_server, "model server")
            self._say("model server joined")
            await self._until_loaded(client)
            self._say("model loaded")

    async def _until_loaded(self, client: AsyncClient) -> None:
        """Wait for the first replica; a load that fails is not going to succeed by itself here."""
        admin = client.admin(self.cell)
        ready = asyncio.ensure_future(admin.wait_for_ready(self.plan.model, 1))
        try:
            while not (await asyncio.wait({ready}, timeout=1.0))[0]:
                published = await admin.list(self.plan.model)
                for replica in published.replicas:
                    if replica.failure_reason:
                        raise FailedPrecondition(
                            f"{self.plan.checkpoint} cannot be loaded: {replica.failure_reason}"
                        )
            await ready
        finally:
            ready.cancel()

    async def _http_is_ready(self) -> bool:
        def ask() -> bool:
            try:
                with urllib.request.urlopen(f"{self.http_url}/readyz", timeout=5) as answer:  # noqa: S310 - loopback.
                    return bool(answer.status == 200)  # noqa: PLR2004 - OK.
            except (OSError, urllib.error.URLError):
                return False

        return await asyncio.to_thread(ask)

    async def _until(self, is_so: Callable[[], Awaitable[bool]], what: str) -> None:
        try:
            async with asyncio.timeout(START_TIMEOUT_S):
                while not await is_so():  # noqa: ASYNC110 - what is waited for is in another process.
                    await asyncio.sleep(LOOK_S)
        except TimeoutError as error:
            logs = [_last_words(child) for child in self._children if child.name == what]
            raise Unavailable(
                f"the {what} did not come up within {START_TIMEOUT_S:g} s; its last words:\n{''.join(logs)}"
            ) from error

    async def _unless_dead(self, work: Awaitable[T]) -> T:
        """Return what `work` returns; raises ChildDied when a child ends before."""
        task = asyncio.ensure_future(work)
        death = asyncio.ensure_future(self.child_death())
        try:
            await asyncio.wait({task, death}, return_when=asyncio.FIRST_COMPLETED)
            if death.done():
                death.result()
            return await task
        finally:
            for each in (task, death):
                each.cancel()
            await asyncio.gather(task, death, return_exceptions=True)

    async def _run(self, name: str, module: str, flags: list[str]) -> None:
        await self._spawn(name, module, flags)
        child = self._children.pop()
        if code := await child.ended():
            raise ChildDied(f"the {name} failed with code {code}:\n{_last_words(child)}")
        self._say(f"{name} done")

    async def _spawn(self, name: str, module: str, flags: list[str]) -> None:
        show = self._tell if self.plan.shows_logs else None
        everyone = [f"--sax_cell={self.cell}", f"--sax_root={self.root}"]
        environ = child_environ(self.root)
        self._children.append(await Child.start(name, module, [*everyone, *flags], environ, show))

    async def _stop(self) -> None:
        while self._children:
            # Started admin, model, HTTP; stopped the other way round (DESIGN D18).
            child = self._children.pop()
            if child.is_running:
                await child.stop(STOP_TIMEOUT_S)
                self._say(f"{child.name} stopped")
        if self._folder is not None:
            self._folder.cleanup()

    def _say(self, what: str) -> None:
        self._tell(f"{time.monotonic() - self._started:6.1f} s  {what}")


def _last_words(child: Child) -> str:
    return "\n".join(f"  {line}" for line in child.last_lines())


def _check_installed() -> None:
    missing = [package for module, package in NEEDED.items() if importlib.util.find_spec(module) is None]
    if missing:
        raise FailedPrecondition(
            f"a local cell needs {' and '.join(missing)} too: install them into this environment"
        )


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])
