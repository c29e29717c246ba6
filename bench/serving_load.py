"""The load generators of `serving.py`: a closed loop over HTTP or gRPC that costs as little CPU as it can.

    python bench/serving_load.py '{"way": "http-stream", "port": 8888, "streams": 16, "requests": 32, ...}'

Prints one line of JSON: wall time, tokens, its own CPU time (which `serving.py` subtracts, because on two
cores the generator takes time from the engine that a client on another machine would not), and the time to
the first token of every request. HTTP is spoken over bare sockets and one selector: a real HTTP client in
Python would cost more than the server that it measures.
"""

from __future__ import annotations

import asyncio
import json
import re
import selectors
import socket
import sys
import time
from dataclasses import dataclass, field
from typing import Any

import grpc
from saxml.protobuf import lm_pb2, lm_pb2_grpc

_TOPICS = (
    "the sea",
    "a long journey",
    "old machines",
    "the winter",
    "a small village",
    "music",
    "bread",
    "maps",
)
_TOKENS = re.compile(rb'"completion_tokens":\s*(\d+)')


def prompt(number: int) -> str:
    """Return the prompt of one request: no two are equal, so that no prefix cache answers for the engine."""
    topic = _TOPICS[number % len(_TOPICS)]
    return f"Story {number:05d}. Once upon a time there was a tale about {topic}. It begins"


@dataclass
class Figures:
    """What one run found."""

    tokens: int = 0
    first_ms: list[float] = field(default_factory=list)


@dataclass
class _Exchange:
    """One HTTP request and what came back so far."""

    connection: socket.socket
    sent_at: float
    answer: bytearray = field(default_factory=bytearray)
    has_text: bool = False


def run_http(plan: dict[str, Any]) -> Figures:
    """Keep `streams` requests open over HTTP until all were answered."""
    figures = Figures()
    selector = selectors.DefaultSelector()
    numbers = list(range(plan["first_prompt"], plan["first_prompt"] + plan["requests"]))[::-1]
    live = 0
    while numbers or live:
        while numbers and live < plan["streams"]:
            exchange = _post(plan, numbers.pop())
            selector.register(exchange.connection, selectors.EVENT_READ, exchange)
            live += 1
        for key, _ in selector.select():
            exchange = key.data
            data = exchange.connection.recv(65_536)
            exchange.answer += data
            if not exchange.has_text and b'"text":' in exchange.answer:
                exchange.has_text = True
                figures.first_ms.append(1000 * (time.perf_counter() - exchange.sent_at))
            if not data:
                selector.unregister(exchange.connection)
                exchange.connection.close()
                figures.tokens += _tokens_of(exchange.answer)
                live -= 1
    return figures


def _post(plan: dict[str, Any], number: int) -> _Exchange:
    body: dict[str, Any] = {
        "model": plan["model"],
        "prompt": prompt(number),
        "max_tokens": plan["max_tokens"],
        "temperature": 0,
    }
    if plan["way"] == "http-stream":
        body |= {"stream": True, "stream_options": {"include_usage": True}}
    content = json.dumps(body).encode()
    head = (
        "POST /v1/completions HTTP/1.1\r\nhost: localhost\r\ncontent-type: application/json\r\n"
        f"connection: close\r\ncontent-length: {len(content)}\r\n\r\n"
    )
    connection = socket.create_connection(("127.0.0.1", plan["port"]))
    sent_at = time.perf_counter()
    connection.sendall(head.encode() + content)
    return _Exchange(connection, sent_at)


def _tokens_of(answer: bytes | bytearray) -> int:
    found = _TOKENS.findall(answer)
    if not found:
        raise RuntimeError(f"no answer with token counts: {bytes(answer[:500])!r}")
    return int(found[-1])


async def run_grpc(plan: dict[str, Any]) -> Figures:
    """Keep `streams` calls open over gRPC until all were answered."""
    figures = Figures()
    numbers = iter(range(plan["first_prompt"], plan["first_prompt"] + plan["requests"]))
    options = lm_pb2.GenerateOptions(max_tokens=plan["max_tokens"], temperature=0.0)

    async def one_after_another(stub: Any) -> None:
        for number in numbers:
            request = lm_pb2.GenerateRequest(model_key=plan["model"], text=prompt(number), options=options)
            sent_at = time.perf_counter()
            if plan["way"] == "grpc":
                answer = await stub.Generate(request)
                figures.tokens += answer.usage.completion_tokens
                continue
            is_first = True
            async for message in stub.GenerateStream(request):
                if is_first:
                    is_first = False
                    figures.first_ms.append(1000 * (time.perf_counter() - sent_at))
                figures.tokens += message.usage.completion_tokens

    async with grpc.aio.insecure_channel(f"127.0.0.1:{plan['port']}") as channel:
        stub = lm_pb2_grpc.LMServiceStub(channel)
        await asyncio.gather(*(one_after_another(stub) for _ in range(plan["streams"])))
    return figures


def main() -> None:
    """Run one plan and print its figures."""
    plan = json.loads(sys.argv[1])
    started, cpu = time.perf_counter(), time.process_time()
    figures = run_http(plan) if plan["way"].startswith("http") else asyncio.run(run_grpc(plan))
    print(
        json.dumps(
            {
                "wall_s": time.perf_counter() - started,
                "tokens": figures.tokens,
                "cpu_s": time.process_time() - cpu,
                "first_ms": figures.first_ms,
            }
        )
    )


if __name__ == "__main__":
    main()
