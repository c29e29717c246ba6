"""The guard of an HTTP server: a layer round the whole app, so that no route is reached by another way.

The life of a request here. `PeerCertificate` (mixed into uvicorn's protocol class) has put the connection's
certificate into the scope. `HttpGuard` finds the route that the app would take and its rule; a path that no
route has needs an identity, so that a stranger cannot learn from 404s what there is. The caller is judged
by the same `Guard` as over gRPC, and what the app then calls in the cell is called on the caller's behalf
(`outgoing.on_behalf_of`).

With access control off the app is not wrapped at all.
"""

import asyncio
import base64
import binascii
import json
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from sax_common import access as access_values
from sax_common.access import Rule
from sax_common.errors import SaxError, Unauthenticated, kind
from starlette.responses import Response
from starlette.routing import BaseRoute, Match, Route
from starlette.types import ASGIApp, Receive, Scope, Send

from sax_runtime import identity, outgoing
from sax_runtime.authorization import Guard, require_rules
from sax_runtime.identity import Shown
from sax_runtime.tokens import BEARER

_PEER = "sax_peer_certificate"
# Browsers know only Basic and then ask a person: any user name, the token as password.
_CHALLENGES = 'Bearer realm="sax", Basic realm="sax"'
_BASIC = "basic "
Refuse = Callable[[SaxError, str], Response]
"""Makes the answer to a refused request for a path."""


def route_names(routes: Sequence[BaseRoute]) -> list[str]:
    """Return every route as `METHOD /path/{parameter}`; HEAD goes with GET."""
    found = []
    for route in routes:
        if isinstance(route, Route):
            found += [f"{method} {route.path}" for method in sorted((route.methods or set()) - {"HEAD"})]
        else:
            found.append(f"{type(route).__name__} {getattr(route, 'path', '?')}")  # No rule can have it.
    return found


def guarded(
    app: ASGIApp,
    routes: Sequence[BaseRoute],
    *,
    guard: Guard,
    rules: Mapping[str, Rule],
    refuse: Refuse | None = None,
) -> ASGIApp:
    """Return `app` behind the guard; the app itself when the guard is off.

    Raises MissingRule for a route without a rule, whether or not access control is on.
    """
    require_rules(route_names(routes), rules)
    return HttpGuard(app, routes, guard=guard, rules=rules, refuse=refuse) if guard.is_on else app


class HttpGuard:
    """An ASGI layer; `refuse` shapes the answers, plain JSON `{"detail": ...}` by default."""

    def __init__(
        self,
        app: ASGIApp,
        routes: Sequence[BaseRoute],
        *,
        guard: Guard,
        rules: Mapping[str, Rule],
        refuse: Refuse | None = None,
    ) -> None:
        self._app = app
        self._routes = [route for route in routes if isinstance(route, Route)]
        self._guard = guard
        self._rules = rules
        self._refuse = refuse or _plain_refusal

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Judge one request and hand it on, or answer it."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        try:
            access = self._guard.enter(
                self._rule_of(scope), shown_over_http(scope), f"{scope['method']} {scope['path']}"
            )
        except SaxError as refusal:
            answer = self._refuse(refusal, scope["path"])
            if isinstance(refusal, Unauthenticated):
                answer.headers["www-authenticate"] = _CHALLENGES
            await answer(scope, receive, send)
            return
        if access.principal is None:
            await self._app(scope, receive, send)
            return
        with outgoing.on_behalf_of(access.principal.name):
            await self._app(scope, receive, send)

    def _rule_of(self, scope: Scope) -> Rule:
        method = "GET" if scope["method"] == "HEAD" else scope["method"]
        for route in self._routes:
            if route.matches(scope)[0] is Match.FULL:
                return self._rules[f"{method} {route.path}"]
        return access_values.IDENTITY


def shown_over_http(scope: Scope) -> Shown:
    """Collect what an HTTP caller shows. Nobody speaks for others over HTTP."""
    authorization = [value for name, value in scope["headers"] if name == b"authorization"]
    if len(authorization) > 1:
        raise Unauthenticated("the request has more than one Authorization field")
    return Shown(
        certificate=identity.certificate_of_ssl(scope.get("state", {}).get(_PEER)),
        authorization=_as_bearer(authorization[0].decode("latin-1")) if authorization else "",
    )


def _as_bearer(authorization: str) -> str:
    """Turn a browser's Basic authorization, whose password is the token, into a bearer token's."""
    if authorization[: len(_BASIC)].lower() != _BASIC:
        return authorization
    try:
        pair = base64.b64decode(authorization[len(_BASIC) :], validate=True).decode()
    except (binascii.Error, UnicodeDecodeError):
        raise Unauthenticated("the Basic authorization is not base64 of a name and a token") from None
    return f"{BEARER}{pair.partition(':')[2]}"


class PeerCertificate(asyncio.Protocol):
    """Mixed in before a uvicorn protocol class: puts the client's certificate into each scope's state."""

    app_state: dict[str, Any]

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Remember the certificate that TLS has checked."""
        connection = transport.get_extra_info("ssl_object")
        if connection is not None:
            self.app_state = {**self.app_state, _PEER: connection.getpeercert()}
        super().connection_made(transport)


def _plain_refusal(refusal: SaxError, _path: str) -> Response:
    body = json.dumps({"detail": refusal.message})
    return Response(body, status_code=kind(refusal).http_status, media_type="application/json")
