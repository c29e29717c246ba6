"""Who may call what, on one page: every RPC of every service and every HTTP route of this project.

A server refuses to start with an RPC or route that is not here (`authorization.require_rules`), so nothing
is open because somebody forgot it. The rules matter only when access control is on.

Two kinds of call need more than a rule can say, and their handlers ask again: Update and Unpublish accept
the cell's admins or the model's own (`Access.administers`), and data methods look at the model's list
for the method (`Access.may_call`). For these the rule here is what holds for all of them.
"""

from collections.abc import Mapping

from sax_common.access import CELL_ADMIN, IDENTITY, JOIN, PUBLIC, Role, Rule, role_rule

ADMIN = role_rule(Role.ADMIN)
OPERATOR = role_rule(Role.OPERATOR)
STATUS = role_rule(Role.ADMIN, Role.OPERATOR)
USERS = role_rule(Role.CLIENT, Role.GATEWAY, Role.OPERATOR)

_DATA_METHODS = {
    "sax.server.lm.LMService": ("Score", "Generate", "GenerateStream", "Embed", "Gradient"),
    "sax.server.vision.VisionService": (
        "Classify",
        "TextToImage",
        "TextAndImageToImage",
        "Embed",
        "Detect",
        "ImageToText",
        "ImageToImage",
        "VideoToText",
        "VideoToToken",
        "TokenToVideo",
    ),
    "sax.server.audio.AudioService": ("Recognize",),
    "sax.server.custom.CustomService": ("Custom",),
    "sax.server.multimodal.MultimodalService": ("Generate", "Score", "Embed"),
}

GRPC_RULES: Mapping[str, Rule] = {
    "sax.Admin/Publish": CELL_ADMIN,
    "sax.Admin/Update": IDENTITY,  # And then the cell's or the model's admin list.
    "sax.Admin/Unpublish": IDENTITY,
    "sax.Admin/List": IDENTITY,
    "sax.Admin/Stats": IDENTITY,
    "sax.Admin/WatchLoc": IDENTITY,
    "sax.Admin/WaitForReady": IDENTITY,
    "sax.Admin/Join": JOIN,
    "sax.Admin/ListServers": IDENTITY,
    "sax.Admin/Drain": CELL_ADMIN,
    "sax.Admin/Undrain": CELL_ADMIN,
    "sax.Modelet/Load": ADMIN,
    "sax.Modelet/UpdateLoaded": ADMIN,
    "sax.Modelet/Unload": ADMIN,
    "sax.Modelet/WakeUp": ADMIN,
    "sax.Modelet/Export": ADMIN,
    "sax.Modelet/Save": ADMIN,
    "sax.Modelet/GetStatus": STATUS,
    # The followers of a multi-host replica take steps from its first host only.
    "sax.server.internal.MultiHostSyncService/Sync": role_rule(Role.MODEL_SERVER),
    **{f"{service}/{method}": USERS for service, methods in _DATA_METHODS.items() for method in methods},
    # Balancers and kubelets have no identity, and the answer is one bit.
    "grpc.health.v1.Health/Check": PUBLIC,
    "grpc.health.v1.Health/List": PUBLIC,
    "grpc.health.v1.Health/Watch": PUBLIC,
    "grpc.reflection.v1alpha.ServerReflection/ServerReflectionInfo": OPERATOR,
}

_PROBES: Mapping[str, Rule] = {
    # A kubelet has no identity, and the answer is one word.
    "GET /livez": PUBLIC,
    "GET /readyz": PUBLIC,
    # A scraper shows a token or a certificate like any client.
    "GET /metrics": IDENTITY,
}

STATUS_RULES: Mapping[str, Rule] = {
    **_PROBES,
    "GET /model/{name:path}": USERS,
    "GET /server/{address:path}": USERS,
    "GET /{rest:path}": USERS,
}
"""The port of the status pages of every server, with the pages of the admin server."""

HTTP_RULES: Mapping[str, Rule] = {
    **_PROBES,
    "GET /": USERS,
    "GET /openapi.json": USERS,
    "GET /console": USERS,
    "GET /console/{name}": USERS,
    "GET /console/cells.json": USERS,
    "GET /docs": USERS,
    "GET /listcell": USERS,
    "GET /listall": USERS,
    # The admin server decides these three, for the user: the gateway only says for whom it calls.
    "POST /publish": USERS,
    "PUT /update": USERS,
    "POST /unpublish": USERS,
    # And the model server these.
    "POST /generate": USERS,
    "GET /v1/models": USERS,
    "GET /v1/models/{name:path}": USERS,
    "POST /v1/completions": USERS,
    "POST /v1/chat/completions": USERS,
}
"""The HTTP server."""
