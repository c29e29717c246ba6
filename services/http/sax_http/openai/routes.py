"""/v1/completions, /v1/chat/completions, /v1/models.

    body ─► full model name ─► GenerateOptions ─┬─ stream: false ─► generate ─► one JSON object
                                                └─ stream: true  ─► generate_stream ─► chunks ─► events

The conversation goes to the model server as messages; the chat template is the model's, not ours.
The answer repeats the model's name as the client wrote it, which some clients compare.
"""

from __future__ import annotations

import secrets
from dataclasses import dataclass
from typing import TYPE_CHECKING

from fastapi import APIRouter, Request, Response
from fastapi.responses import JSONResponse
from opentelemetry import trace
from sax_client import ChatMessage
from sax_common.names import cell_of

from sax_http.bodies import read_body
from sax_http.disconnect import unless_disconnected
from sax_http.event_stream import EventStream
from sax_http.openai.answers import model_list, model_object, whole_answer
from sax_http.openai.bodies import ChatBody, CompletionBody
from sax_http.openai.chunks import CHAT, COMPLETION, Chunks, Style
from sax_http.openai.stream import events
from sax_http.openapi import takes
from sax_http.strict_json import parse_object

if TYPE_CHECKING:
    from opentelemetry.util.types import AttributeValue
    from sax_client import GenerateOptions
    from sax_common.names import ModelName

    from sax_http.services import Services

_TAG = "OpenAI-compatible"


def openai_routes(services: Services) -> APIRouter:
    """Make the router."""
    router = APIRouter(prefix="/v1", tags=[_TAG])
    started_s = services.clock.unix_ms() // 1000

    @router.get("/models", summary="List the models")
    async def models() -> Response:
        names = [model.model_id for view in await services.directory.views() for model in view.models]
        return JSONResponse(model_list(names, created=started_s))

    @router.get("/models/{name:path}", summary="Show one model")
    async def model(name: str) -> Response:
        # A full name arrives with its leading slash doubled (/v1/models//sax/...) or without it.
        full = await services.directory.resolve(f"/{name}" if name.startswith("sax/") else name)
        found = await services.client.admin(cell_of(full)).list(full)
        return JSONResponse(model_object(found.model_id, created=started_s))

    @router.post("/completions", summary="Continue a text", **takes(CompletionBody))
    async def completions(request: Request) -> Response:
        body = read_body(CompletionBody, parse_object(await request.body()))
        ask = _Ask(
            model=await services.directory.resolve(body.model),
            style=COMPLETION,
            text=body.text,
            messages=None,
            options=body.options(),
            with_logprobs=body.logprobs is not None,
        )
        return await _answer(services, request, body, ask)

    @router.post("/chat/completions", summary="Continue a conversation", **takes(ChatBody))
    async def chat_completions(request: Request) -> Response:
        body = read_body(ChatBody, parse_object(await request.body()))
        ask = _Ask(
            model=await services.directory.resolve(body.model),
            style=CHAT,
            text="",
            messages=tuple(ChatMessage(message.role, message.text) for message in body.messages),
            options=body.options(),
            with_logprobs=bool(body.logprobs),
        )
        return await _answer(services, request, body, ask)

    return router


@dataclass(frozen=True, kw_only=True)
class _Ask:
    """What is asked of which model: to continue a text or a conversation, and in which style to answer."""

    model: ModelName
    style: Style
    text: str
    messages: tuple[ChatMessage, ...] | None
    options: GenerateOptions
    with_logprobs: bool


async def _answer(
    services: Services, request: Request, body: ChatBody | CompletionBody, ask: _Ask
) -> Response:
    answer_id = f"{ask.style.id_prefix}{secrets.token_hex(12)}"
    created = services.clock.unix_ms() // 1000
    _describe(ask, answer_id, is_stream=bool(body.stream))
    model = services.model(ask.model)
    if body.stream:
        chunks = Chunks(
            ask.style,
            answer_id=answer_id,
            created=created,
            model=body.model,
            include_usage=body.include_usage,
        )
        upstream = model.generate_stream(
            ask.text, options=ask.options, messages=ask.messages, timeout_s=services.stream_timeout_s
        )
        return EventStream(
            events(
                upstream,
                chunks,
                choices=body.choices,
                with_logprobs=ask.with_logprobs,
                include_usage=body.include_usage,
            )
        )
    result = await unless_disconnected(
        model.generate(
            ask.text, options=ask.options, messages=ask.messages, timeout_s=services.generate_timeout_s
        ),
        request.receive,
    )
    answer = whole_answer(
        ask.style,
        result,
        choices=body.choices,
        answer_id=answer_id,
        created=created,
        model=body.model,
        with_logprobs=ask.with_logprobs,
    )
    return JSONResponse(answer)


def _describe(ask: _Ask, answer_id: str, *, is_stream: bool) -> None:
    """Put what may be known of a request on the current span, under OpenTelemetry's names for it."""
    span = trace.get_current_span()
    if not span.is_recording():
        return
    asked: dict[str, AttributeValue | None] = {
        "gen_ai.request.model": ask.model,
        "gen_ai.request.stream": is_stream,
        "gen_ai.response.id": answer_id,
        "gen_ai.request.max_tokens": ask.options.max_tokens,
        "gen_ai.request.temperature": ask.options.temperature,
        "gen_ai.request.top_p": ask.options.top_p,
        "gen_ai.request.seed": ask.options.seed,
        "gen_ai.request.choice.count": ask.options.num_samples,
    }
    span.set_attributes({key: value for key, value in asked.items() if value is not None})
