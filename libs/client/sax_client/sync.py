"""The same client for programs without an event loop.

One background thread runs one event loop with one `AsyncClient`; every method here sends a coroutine there
and waits. Any number of threads may call at once, and an interrupted wait (Ctrl-C) cancels the call on its
way.

After a fork the child has no such thread: make a new `Client` there.
"""

from __future__ import annotations

import asyncio
import threading
from typing import TYPE_CHECKING, Any, Self, TypeVar

from sax_client import acls
from sax_client.admin import DEFAULT_TIMEOUT_S, READY_TIMEOUT_S
from sax_client.client import AsyncClient

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable, Coroutine, Iterator, Mapping, Sequence
    from types import TracebackType

    from sax_client.admin import AdminClient
    from sax_client.model import ModelClient
    from sax_client.values import (
        ChatMessage,
        ClientOptions,
        ExtraInputs,
        GenerateOptions,
        GenerateResult,
        PublishedModel,
        Stats,
        StreamChunk,
    )
    from sax_client.watchset import WatchAnswer

T = TypeVar("T")


class LoopThread:
    """An event loop on a daemon thread. `run` may be called from any other thread."""

    def __init__(self) -> None:
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, name="sax-client", daemon=True)
        self._thread.start()

    def run(self, coroutine: Coroutine[Any, Any, T]) -> T:
        """Run to the end and give its result; an exception here (Ctrl-C) cancels it there."""
        future = asyncio.run_coroutine_threadsafe(coroutine, self._loop)
        try:
            return future.result()
        except BaseException:
            future.cancel()
            raise

    def iterate(self, items: AsyncIterator[T]) -> Iterator[T]:
        """Step through an asynchronous generator; leaving early closes it there."""
        end = object()
        step_under_way: asyncio.Task[Any] | None = None

        async def step() -> Any:
            nonlocal step_under_way
            step_under_way = asyncio.current_task()
            return await anext(items, end)

        async def close() -> None:
            # After Ctrl-C the step may still be on its way out; a generator cannot be closed while it runs.
            if step_under_way is not None and not step_under_way.done():
                step_under_way.cancel()
                await asyncio.wait([step_under_way])
            aclose = getattr(items, "aclose", None)
            if aclose is not None:
                await aclose()

        try:
            while (item := self.run(step())) is not end:
                yield item
        finally:
            self.run(close())

    def stop(self) -> None:
        """End the loop and the thread."""
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join()
        self._loop.close()


class Client:
    """`AsyncClient` for threads: same names, same errors, ordinary return values."""

    def __init__(self, sax_root: str | None = None, *, notice: Callable[[str], None] | None = None) -> None:
        self._thread = LoopThread()
        self._client = self._thread.run(_make(sax_root, notice))

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def admin(self, cell: str) -> SyncAdminClient:
        """The admin server of `/sax/<cell>`."""
        return SyncAdminClient(self._thread.run(_call(self._client.admin, cell)), self._thread)

    def model(self, model_id: str, options: ClientOptions | None = None) -> SyncModelClient:
        """A published model."""
        return SyncModelClient(self._thread.run(_call(self._client.model, model_id, options)), self._thread)

    def cell_acl(self, cell: str) -> str:
        """See `acls.cell_acl`."""
        return self._thread.run(acls.cell_acl(self._client, cell))

    def set_cell_acl(self, cell: str, acl: str) -> None:
        """See `acls.set_cell_acl`."""
        self._thread.run(acls.set_cell_acl(self._client, cell, acl))

    def start_status_server(self, port: int) -> int:
        """Serve `/livez`, `/readyz` and `/metrics` on loopback until the process ends; give the port."""
        # Imported here: only programs that ask for it have an HTTP server.
        from sax_runtime.health import Health  # noqa: PLC0415
        from sax_runtime.status_server import StatusServer  # noqa: PLC0415

        return self._thread.run(StatusServer(Health(), address=f"127.0.0.1:{port}").start())

    def close(self) -> None:
        """Close all connections and end the thread; the client must not be used afterwards."""
        self._thread.run(self._client.close())
        self._thread.stop()


class SyncAdminClient:
    """`AdminClient` for threads."""

    def __init__(self, admin: AdminClient, thread: LoopThread) -> None:
        self._admin = admin
        self._run = thread.run
        self._iterate = thread.iterate

    def publish(
        self,
        model_id: str,
        model_path: str,
        checkpoint: str,
        replicas: int,
        overrides: Mapping[str, str] | None = None,
        *,
        timeout_s: float = DEFAULT_TIMEOUT_S,
    ) -> None:
        """See `AdminClient.publish`."""
        self._run(
            self._admin.publish(model_id, model_path, checkpoint, replicas, overrides, timeout_s=timeout_s)
        )

    def update(
        self,
        model_id: str,
        *,
        replicas: int | None = None,
        checkpoint: str | None = None,
        model_path: str | None = None,
        overrides: Mapping[str, str] | None = None,
        admin_acl: str | None = None,
        acls: Mapping[str, str] | None = None,
        allow_downtime: bool = False,
        timeout_s: float = DEFAULT_TIMEOUT_S,
    ) -> None:
        """See `AdminClient.update`."""
        self._run(
            self._admin.update(
                model_id,
                replicas=replicas,
                checkpoint=checkpoint,
                model_path=model_path,
                overrides=overrides,
                admin_acl=admin_acl,
                acls=acls,
                allow_downtime=allow_downtime,
                timeout_s=timeout_s,
            )
        )

    def unpublish(self, model_id: str, *, timeout_s: float = DEFAULT_TIMEOUT_S) -> None:
        """See `AdminClient.unpublish`."""
        self._run(self._admin.unpublish(model_id, timeout_s=timeout_s))

    def list(self, model_id: str, *, timeout_s: float = DEFAULT_TIMEOUT_S) -> PublishedModel:
        """See `AdminClient.list`."""
        return self._run(self._admin.list(model_id, timeout_s=timeout_s))

    def list_all(self, *, timeout_s: float = DEFAULT_TIMEOUT_S) -> Sequence[PublishedModel]:
        """See `AdminClient.list_all`."""
        return self._run(self._admin.list_all(timeout_s=timeout_s))

    def stats(self, model_id: str = "", *, timeout_s: float = DEFAULT_TIMEOUT_S) -> Stats:
        """See `AdminClient.stats`."""
        return self._run(self._admin.stats(model_id, timeout_s=timeout_s))

    def wait_for_ready(self, model_id: str, replicas: int, *, timeout_s: float = READY_TIMEOUT_S) -> None:
        """See `AdminClient.wait_for_ready`."""
        self._run(self._admin.wait_for_ready(model_id, replicas, timeout_s=timeout_s))

    def set_method_acl(
        self, model_id: str, method: str, acl: str, *, timeout_s: float = DEFAULT_TIMEOUT_S
    ) -> None:
        """See `acls.set_method_acl`."""
        self._run(acls.set_method_acl(self._admin, model_id, method, acl, timeout_s=timeout_s))

    def watch(self, model_id: str) -> Iterator[WatchAnswer]:
        """See `AdminClient.watch`."""
        return self._iterate(self._admin.watch(model_id))


class SyncModelClient:
    """`ModelClient` for threads."""

    def __init__(self, model: ModelClient, thread: LoopThread) -> None:
        self.model_id = model.model_id
        self._model = model
        self._run = thread.run
        self._iterate = thread.iterate

    def generate(
        self,
        text: str,
        *,
        extra: ExtraInputs | None = None,
        options: GenerateOptions | None = None,
        messages: Sequence[ChatMessage] | None = None,
        timeout_s: float | None = None,
    ) -> GenerateResult:
        """See `ModelClient.generate`."""
        return self._run(
            self._model.generate(text, extra=extra, options=options, messages=messages, timeout_s=timeout_s)
        )

    def generate_stream(
        self,
        text: str,
        *,
        extra: ExtraInputs | None = None,
        options: GenerateOptions | None = None,
        messages: Sequence[ChatMessage] | None = None,
        timeout_s: float | None = None,
    ) -> Iterator[StreamChunk]:
        """See `ModelClient.generate_stream`."""
        return self._iterate(
            self._model.generate_stream(
                text, extra=extra, options=options, messages=messages, timeout_s=timeout_s
            )
        )

    def score(
        self,
        prefix: str,
        suffixes: Sequence[str],
        *,
        extra: ExtraInputs | None = None,
        timeout_s: float | None = None,
    ) -> Sequence[float]:
        """See `ModelClient.score`."""
        return self._run(self._model.score(prefix, suffixes, extra=extra, timeout_s=timeout_s))

    def embed(
        self, text: str, *, extra: ExtraInputs | None = None, timeout_s: float | None = None
    ) -> Sequence[float]:
        """See `ModelClient.embed`."""
        return self._run(self._model.embed(text, extra=extra, timeout_s=timeout_s))

    def call(self, service: Any, method: str, request: Any, *, timeout_s: float | None = None) -> Any:
        """See `ModelClient.call`."""
        return self._run(self._model.call(service, method, request, timeout_s=timeout_s))


async def _make(sax_root: str | None, notice: Callable[[str], None] | None) -> AsyncClient:
    return AsyncClient(sax_root, notice=notice)


async def _call(method: Any, *args: Any) -> Any:
    return method(*args)
