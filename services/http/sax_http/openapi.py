"""What /openapi.json says about request bodies.

The routes read their bodies themselves (strict JSON, errors that name a field), so FastAPI does not see the
types. Here they are told to it: `takes` for one route, `add_schemas` for the shared part of the document.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from pydantic.json_schema import models_json_schema

if TYPE_CHECKING:
    from collections.abc import Sequence

    from fastapi import FastAPI

    from sax_http.bodies import Body

_REFERENCE = "#/components/schemas/{model}"


def takes(kind: type[Body], *, in_query: bool = False) -> dict[str, Any]:
    """Return the arguments of a route decorator that describe its body, or the same fields in the query."""
    schema = {"$ref": _REFERENCE.format(model=kind.__name__)}
    described: dict[str, Any] = {
        "requestBody": {"required": not in_query, "content": {"application/json": {"schema": schema}}}
    }
    if in_query:
        described["parameters"] = [
            {
                "name": name,
                "in": "query",
                "required": False,
                "schema": {"type": "string"},
                "description": field.description,
            }
            for name, field in kind.model_fields.items()
        ]
    return {"openapi_extra": described}


def add_schemas(app: FastAPI, kinds: Sequence[type[Body]]) -> None:
    """Let `app.openapi()` carry the schemas that `takes` refers to; FastAPI keeps what it makes once."""
    make = app.openapi

    def with_schemas() -> dict[str, Any]:
        document = make()
        _, definitions = models_json_schema([(kind, "validation") for kind in kinds], ref_template=_REFERENCE)
        document.setdefault("components", {}).setdefault("schemas", {}).update(definitions.get("$defs", {}))
        return document

    app.openapi = with_schemas  # type: ignore[method-assign] # FastAPI's documented way to extend the document.
