"""`AudioModel`, `CustomModel` and `MultimodalModel` of the original API."""

# ruff: noqa: N802, INP001 - the original's names and signatures; saxml is a PEP 420 namespace.

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from saxml.client.python._model import Face
from saxml.client.python._status import Status, StatusNotOk
from saxml.protobuf import (
    audio_pb2,
    audio_pb2_grpc,
    custom_pb2,
    custom_pb2_grpc,
    multimodal_pb2,
    multimodal_pb2_grpc,
)

if TYPE_CHECKING:
    from saxml.client.python._options import ModelOptions


class AudioModel(Face):
    """Recognise speech."""

    def Recognize(
        self,
        audio_bytes: bytes = b"",
        options: ModelOptions | None = None,
        *,
        id: bytes = b"",  # noqa: A002 - the name that the original has for the same argument
    ) -> list[tuple[str, float]]:
        """Recognise a waveform file; (text, score) pairs."""
        request = audio_pb2.AsrRequest(
            audio_bytes=audio_bytes or id, audio_format=audio_pb2.AsrRequest.WAVEFORM_FILE
        )
        response = self._call(audio_pb2_grpc.AudioServiceStub, "Recognize", request, options)
        return [(item.text, item.score) for item in response.hyps]


class CustomModel(Face):
    """Call methods that only the model knows."""

    def Custom(self, request: bytes, method_name: str, options: ModelOptions | None = None) -> bytes:
        """Send bytes, get bytes."""
        message = custom_pb2.CustomRequest(request=request, method_name=method_name)
        response: bytes = self._call(custom_pb2_grpc.CustomServiceStub, "Custom", message, options).response
        return response

    def CustomNoException(
        self, request: bytes, method_name: str, options: ModelOptions | None = None
    ) -> bytes | Status:
        """As `Custom`, but an error is the result instead of raised."""
        try:
            return self.Custom(request, method_name, options)
        except StatusNotOk as error:
            return error.status


class MultimodalModel(Face):
    """Methods whose inputs and outputs mix text, images and sound; requests are messages."""

    def Generate(
        self, request: multimodal_pb2.GenerateRequest, options: ModelOptions | None = None
    ) -> multimodal_pb2.GenerateResponse:
        """Continue the items of `request`."""
        message = multimodal_pb2.GenerateRpcRequest(request=request)
        response: multimodal_pb2.GenerateResponse = self._multimodal("Generate", message, options)
        return response

    def Score(
        self, request: multimodal_pb2.ScoreRequest, options: ModelOptions | None = None
    ) -> multimodal_pb2.ScoreResponse:
        """Score the suffix items of `request`."""
        message = multimodal_pb2.ScoreRpcRequest(request=request)
        response: multimodal_pb2.ScoreResponse = self._multimodal("Score", message, options)
        return response

    def Embed(
        self, request: multimodal_pb2.EmbedRequest, options: ModelOptions | None = None
    ) -> multimodal_pb2.EmbedResponse:
        """Embed the items of `request`."""
        message = multimodal_pb2.EmbedRpcRequest(request=request)
        response: multimodal_pb2.EmbedResponse = self._multimodal("Embed", message, options)
        return response

    def _multimodal(self, method: str, message: Any, options: ModelOptions | None) -> Any:
        return self._call(multimodal_pb2_grpc.MultimodalServiceStub, method, message, options).response
