"""How this server finds an admin and calls Join: protobuf on the way out and back."""

import grpc
from sax_common.roots import NO_ADMIN_YET
from sax_runtime.channels import open_channel
from sax_runtime.outgoing import Outgoing
from sax_runtime.rpc_errors import error_of
from saxml.protobuf import admin_pb2, admin_pb2_grpc

from sax_model.core.platform import chip_type, topology_type

JOIN_TIMEOUT_S = 10.0

_TOPOLOGIES = frozenset(admin_pb2.ModelServer.ChipTopology.keys())


def location(data: bytes) -> str | None:
    """Return the address in a location file; None for the placeholder and for what makes no sense."""
    try:
        text: str = admin_pb2.Location.FromString(data).location
    except Exception:  # noqa: BLE001 - whatever the parser raises, the file is being written or is not ours.
        return None
    return text if text and text != NO_ADMIN_YET else None


def join_request(
    *,
    address: str,
    chip: str,
    topology: str,
    servable_paths: list[str],
    tags: list[str],
    incarnation: str,
    term: int,
) -> admin_pb2.JoinRequest:
    """Return what this server says of itself."""
    return admin_pb2.JoinRequest(
        address=address,
        data_address=address,
        model_server=admin_pb2.ModelServer(
            chip_type=chip_type(chip),
            chip_topology=topology_type(topology, _TOPOLOGIES),
            servable_model_paths=servable_paths,
            tags=tags,
        ),
        incarnation=incarnation,
        highest_term=term,
    )


async def call_join(admin: str, request: admin_pb2.JoinRequest, outgoing: Outgoing | None = None) -> int:
    """Call Join and return the admin's term, 0 for an original; raises SaxError.

    One connection per call: joins are rare, and original admins end connections that are kept alive with
    pings.
    """
    async with open_channel(admin, keepalive=False, outgoing=outgoing) as channel:
        stub = admin_pb2_grpc.AdminStub(channel)  # type: ignore[no-untyped-call] # generated.
        try:
            response = await stub.Join(request, timeout=JOIN_TIMEOUT_S)
        except grpc.aio.AioRpcError as error:
            raise error_of(error) from error
    return int(response.term)
