"""Vision, audio, multimodal and custom services: registered, and refused as admission says (`refusals`).

No servable of this project has such methods yet; their servicers come with the one-shot batcher. The table of
methods is data: gRPC name to the method name that ACLs and statistics use (reference/model_server.md 2.1).
"""

from collections.abc import Callable
from typing import Any, NamedTuple

import grpc
from saxml.protobuf import (
    audio_pb2_grpc,
    custom_pb2_grpc,
    multimodal_pb2_grpc,
    vision_pb2_grpc,
)

from sax_model.refusals import Refuser

Register = Callable[[Any, Any], None]


class OtherService(NamedTuple):
    """One service: how it is registered, and its gRPC methods."""

    register: Register
    base: type
    methods: dict[str, str]


OTHER_SERVICES = (
    OtherService(
        vision_pb2_grpc.add_VisionServiceServicer_to_server,
        vision_pb2_grpc.VisionServiceServicer,
        {
            "Classify": "vm.classify",
            "TextToImage": "vm.generate",
            "TextAndImageToImage": "vm.text_and_image_to_image",
            "Embed": "vm.embed",
            "Detect": "vm.detect",
            "ImageToText": "vm.image_to_text",
            "ImageToImage": "vm.image_to_image",
            "VideoToText": "vm.video_to_text",
            "VideoToToken": "vm.video_to_token",
            "TokenToVideo": "vm.token_to_video",
        },
    ),
    OtherService(
        audio_pb2_grpc.add_AudioServiceServicer_to_server,
        audio_pb2_grpc.AudioServiceServicer,
        {"Recognize": "am.recognize"},
    ),
    OtherService(
        multimodal_pb2_grpc.add_MultimodalServiceServicer_to_server,
        multimodal_pb2_grpc.MultimodalServiceServicer,
        {"Generate": "mm.generate", "Score": "mm.score", "Embed": "mm.embed"},
    ),
    OtherService(
        custom_pb2_grpc.add_CustomServiceServicer_to_server,
        custom_pb2_grpc.CustomServiceServicer,
        # The request itself names the method; `custom` is the original's default.
        {"Custom": "custom"},
    ),
)


def refusing_servicer(service: OtherService, refuser: Refuser) -> Any:
    """Return a servicer whose every method refuses."""
    handlers = {name: _refusing(refuser, method) for name, method in service.methods.items()}
    return type(f"Refusing{service.base.__name__}", (service.base,), handlers)()


def _refusing(refuser: Refuser, method: str) -> Callable[..., Any]:
    async def refuse(_self: Any, request: Any, _context: grpc.aio.ServicerContext) -> Any:
        raise refuser.refusal(request.model_key, getattr(request, "method_name", "") or method)

    return refuse
