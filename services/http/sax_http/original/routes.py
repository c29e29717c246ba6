"""The original's routes: /listcell, /listall, /publish, /unpublish, /update, /generate.

    JSON body (also on GET, as its users send it) or query ─► body ─► client library ─► JSON, indented by 4

/generate and the four extra inputs. The original's server sent its own defaults for them with every
request, whatever the model. A model that does not declare one of the four refuses such a request as a
whole. So: the defaults are sent together with what the client gave; when the model refuses that as invalid,
what the client gave is sent alone, and the model's own defaults fill the rest. The answer, or the error, of
the second try is the answer. A key that the client wrote itself is never dropped.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, TypeVar

from fastapi import APIRouter, Request, Response
from sax_client import ExtraInputs
from sax_common.errors import InvalidArgument
from sax_common.names import CellName, ModelName, cell_of

from sax_http.bodies import Body, read_body
from sax_http.disconnect import unless_disconnected
from sax_http.openapi import takes
from sax_http.original.bodies import (
    CellBody,
    GenerateBody,
    ModelBody,
    PublishBody,
    generate_answer,
    pretty,
    publish_echo,
)
from sax_http.strict_json import parse_object

if TYPE_CHECKING:
    from collections.abc import Mapping

    from sax_client import AdminClient, GenerateResult

    from sax_http.services import Services

AnyBody = TypeVar("AnyBody", bound=Body)

_TAG = "Sax (original routes)"


def original_routes(services: Services) -> APIRouter:
    """Make the router."""
    router = APIRouter(tags=[_TAG])
    _add_reading(router, services)
    _add_changes(router, services)

    @router.post("/generate", summary="Generate text", **takes(GenerateBody))
    async def generate(request: Request) -> Response:
        body = await _body(GenerateBody, request)
        result = await unless_disconnected(_generate(services, body), request.receive)
        texts = ((one.text, one.score) for one in result.texts)
        return _printed(generate_answer(texts, legacy=services.is_legacy_generate))

    return router


def _admin(services: Services, model: str) -> AdminClient:
    """Return the client of the admin whose cell the model is in."""
    return services.client.admin(cell_of(ModelName(model)))


def _add_reading(router: APIRouter, services: Services) -> None:
    """Add the routes that only look."""

    @router.get("/", summary="Say what this is")
    async def index() -> Response:
        return _printed({"message": "HTTP Server for SAX Client"})

    @router.get("/listcell", summary="Show one published model", **takes(ModelBody, in_query=True))
    async def listcell(request: Request) -> Response:
        body = await _body(ModelBody, request)
        found = await _admin(services, body.model).list(body.model)
        return _printed(
            {
                "model": body.model,
                "model_path": found.model_path,
                "checkpoint": found.checkpoint,
                "max_replicas": found.requested_replicas,
                "active_replicas": len(found.addresses),
            }
        )

    @router.get("/listall", summary="List the models of a cell", **takes(CellBody, in_query=True))
    async def listall(request: Request) -> Response:
        body = await _body(CellBody, request)
        models = await services.client.admin(CellName(body.sax_cell)).list_all()
        return _printed([model.model_id for model in models])


def _add_changes(router: APIRouter, services: Services) -> None:
    """Add the routes that change what is wanted."""

    @router.post("/publish", summary="Publish a model", **takes(PublishBody))
    async def publish(request: Request) -> Response:
        body = await _body(PublishBody, request)
        await _admin(services, body.model).publish(
            body.model, body.model_path, body.checkpoint, int(body.replicas), body.overrides
        )
        services.directory.forget()
        return _printed(publish_echo(body))

    @router.put("/update", summary="Change a published model", **takes(PublishBody))
    async def update(request: Request) -> Response:
        body = await _body(PublishBody, request)
        await _admin(services, body.model).update(
            body.model,
            model_path=body.model_path,
            checkpoint=body.checkpoint,
            replicas=int(body.replicas),
            overrides=body.overrides,
        )
        services.directory.forget()
        return _printed(body.echo())

    @router.post("/unpublish", summary="Take a model away", **takes(ModelBody))
    async def unpublish(request: Request) -> Response:
        body = await _body(ModelBody, request)
        await _admin(services, body.model).unpublish(body.model)
        services.directory.forget()
        return _printed({"model": body.model})


async def _generate(services: Services, body: GenerateBody) -> GenerateResult:
    """Ask with the documented defaults, and without them when the model does not take them (see above)."""
    model = services.model(body.model)
    timeout_s = services.generate_timeout_s
    given = body.extra_inputs or {}
    defaulted = body.defaulted_extra_inputs()
    try:
        return await model.generate(body.query, extra=_extra_inputs(defaulted), timeout_s=timeout_s)
    except InvalidArgument:
        if defaulted.keys() == given.keys():
            raise
    return await model.generate(body.query, extra=_extra_inputs(given), timeout_s=timeout_s)


def _extra_inputs(values: Mapping[str, float | list[float] | str]) -> ExtraInputs:
    """Sort by type into the three maps of the wire format."""
    return ExtraInputs(
        items={key: value for key, value in values.items() if isinstance(value, int | float)},
        tensors={key: tuple(value) for key, value in values.items() if isinstance(value, list)},
        strings={key: value for key, value in values.items() if isinstance(value, str)},
    )


async def _body(kind: type[AnyBody], request: Request) -> AnyBody:
    """Read the JSON body; on GET also the query parameters, which a body overrules as a whole."""
    content = await request.body()
    if request.method == "GET" and not content:
        return read_body(kind, dict(request.query_params))
    return read_body(kind, parse_object(content))


def _printed(value: object) -> Response:
    return Response(pretty(value), media_type="application/json")
