"""Calls to one model: pick a replica, send, and repeat elsewhere what may be repeated.

The life of a call:

    budget gets its fifth of a token
    loop:  lease an address that was not tried yet   (waits for a replica until the deadline)
           connect, send with what is left of the deadline
           ok      -> answer
           failed  -> give the address back, ask `retry`; pause and go on, or raise the error

A stream is repeated the same way until its first message; afterwards an error is an error, for the caller
has already seen half an answer. Leaving a stream early (``aclose``, a ``break`` in an ``async with``)
cancels the call, which frees the slot on the server.
"""

from __future__ import annotations

import contextlib
from typing import TYPE_CHECKING, Any

import grpc
from saxml.protobuf import lm_pb2_grpc

from sax_client import wire
from sax_client.attempts import Attempts
from sax_client.rpc import CallFailed, failure_of, unary

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, Callable, Sequence

    from sax_client.attempts import Target
    from sax_client.pool import ChannelPool
    from sax_client.values import (
        ChatMessage,
        ClientOptions,
        ExtraInputs,
        GenerateOptions,
        GenerateResult,
        StreamChunk,
    )


class ModelClient:
    """One model, however many replicas it has. Made by `AsyncClient.model`; owned by its event loop."""

    def __init__(self, target: Target, pool: ChannelPool, options: ClientOptions) -> None:
        self.model_id = target.model_id
        self._target = target
        self._pool = pool
        self._options = options

    async def generate(
        self,
        text: str,
        *,
        extra: ExtraInputs | None = None,
        options: GenerateOptions | None = None,
        messages: Sequence[ChatMessage] | None = None,
        timeout_s: float | None = None,
    ) -> GenerateResult:
        """Continue `text` (or answer `messages`, with `text` empty). Raises SaxError."""
        request = wire.generate_request(self.model_id, text, extra=extra, options=options, messages=messages)
        response = await self.call(lm_pb2_grpc.LMServiceStub, "Generate", request, timeout_s=timeout_s)
        return wire.generate_result(response)

    async def score(
        self,
        prefix: str,
        suffixes: Sequence[str],
        *,
        extra: ExtraInputs | None = None,
        timeout_s: float | None = None,
    ) -> list[float]:
        """Log-probability of each suffix after `prefix`. Raises SaxError."""
        request = wire.score_request(self.model_id, prefix, suffixes, extra)
        response = await self.call(lm_pb2_grpc.LMServiceStub, "Score", request, timeout_s=timeout_s)
        return list(response.logp)

    async def embed(
        self, text: str, *, extra: ExtraInputs | None = None, timeout_s: float | None = None
    ) -> list[float]:
        """Embed `text`. Raises SaxError."""
        request = wire.embed_request(self.model_id, text, extra)
        response = await self.call(lm_pb2_grpc.LMServiceStub, "Embed", request, timeout_s=timeout_s)
        return list(response.embedding)

    async def generate_stream(
        self,
        text: str,
        *,
        extra: ExtraInputs | None = None,
        options: GenerateOptions | None = None,
        messages: Sequence[ChatMessage] | None = None,
        timeout_s: float | None = None,
    ) -> AsyncGenerator[StreamChunk, None]:
        """As `generate`, in pieces as they are made. Raises SaxError, also in the middle.

        The deadline covers the whole stream.
        """
        request = wire.generate_request(self.model_id, text, extra=extra, options=options, messages=messages)
        texts: list[str] = []
        stream = self.stream(lm_pb2_grpc.LMServiceStub, "GenerateStream", request, timeout_s=timeout_s)
        # Closed here and not by the garbage collector: the server's slot is free when `aclose` returns.
        async with contextlib.aclosing(stream):
            async for response in stream:
                yield wire.stream_chunk(response, texts)

    async def call(
        self,
        service: Callable[[grpc.aio.Channel], Any],
        method: str,
        request: Any,
        *,
        timeout_s: float | None = None,
    ) -> Any:
        """Any unary data call: `service` is a stub class of ``saxml.protobuf``. Raises SaxError."""
        attempts = self._attempts(timeout_s)
        while True:
            address = await attempts.begin()
            try:
                stub = await self._pool.stub(address, service, timeout_s=attempts.remaining_s)
                response = await unary(getattr(stub, method), request, timeout_s=attempts.remaining_s)
            except CallFailed as failed:
                await attempts.failed(address, failed)
            except BaseException:
                attempts.ended(address)
                raise
            else:
                attempts.ended(address)
                return response

    async def stream(
        self,
        service: Callable[[grpc.aio.Channel], Any],
        method: str,
        request: Any,
        *,
        timeout_s: float | None = None,
    ) -> AsyncGenerator[Any, None]:
        """Any streaming data call, message by message. Raises SaxError."""
        attempts = self._attempts(timeout_s)
        while True:
            address = await attempts.begin()
            count = 0
            try:
                stub = await self._pool.stub(address, service, timeout_s=attempts.remaining_s)
                call = getattr(stub, method)(request, timeout=attempts.remaining_s)
                try:
                    async for response in call:
                        count += 1
                        yield response
                except grpc.aio.AioRpcError as error:
                    raise failure_of(error) from None
                finally:
                    call.cancel()  # Does nothing to a finished call.
            except CallFailed as failed:
                await attempts.failed(address, failed, messages=count)
            except BaseException:
                attempts.ended(address)
                raise
            else:
                attempts.ended(address)
                return

    @property
    def is_idle(self) -> bool:
        """Whether nothing is followed and no call is in flight, so that the object may be forgotten."""
        return self._target.replicas.is_idle

    async def close(self) -> None:
        """Stop following the model."""
        await self._target.replicas.close()

    def _attempts(self, timeout_s: float | None) -> Attempts:
        return Attempts(self._target, timeout_s=self._options.timeout_s if timeout_s is None else timeout_s)
