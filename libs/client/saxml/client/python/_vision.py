"""`VisionModel` of the original API."""

# ruff: noqa: N802, INP001 - the original's names and signatures; saxml is a PEP 420 namespace.

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from saxml.client.python._model import Face
from saxml.protobuf import vision_pb2, vision_pb2_grpc

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from saxml.client.python._options import ModelOptions

    Box = tuple[float, float, float, float]
    Mask = tuple[int, int, bytes]
    Detected = tuple[float, float, float, float, bytes, float, Mask]


class VisionModel(Face):
    """Classify, make, embed and describe images and videos."""

    def Classify(self, image_bytes: bytes, options: ModelOptions | None = None) -> list[tuple[str, float]]:
        """Give (label, score) pairs."""
        response = self._vision("Classify", vision_pb2.ClassifyRequest(image_bytes=image_bytes), options)
        return [(item.text, item.score) for item in response.texts]

    def TextToImage(self, text: str, options: ModelOptions | None = None) -> list[tuple[bytes, float]]:
        """Make images from a text; (image, score) pairs."""
        request = vision_pb2.TextToImageRequest(text=text)
        return _images(self._vision("TextToImage", request, options))

    def TextAndImageToImage(
        self, text: str, image_bytes: bytes, options: ModelOptions | None = None
    ) -> list[tuple[bytes, float]]:
        """Make images from a text and an image."""
        request = vision_pb2.TextAndImageToImageRequest(text=text, image_bytes=image_bytes)
        return _images(self._vision("TextAndImageToImage", request, options))

    def ImageToImage(self, text: bytes, options: ModelOptions | None = None) -> list[tuple[bytes, float]]:
        """Make images from an image; the argument is the image, although the original names it `text`."""
        request = vision_pb2.ImageToImageRequest(image_bytes=text)
        return _images(self._vision("ImageToImage", request, options))

    def Embed(self, image: bytes, options: ModelOptions | None = None) -> list[float]:
        """Give the embedding of an image."""
        request = vision_pb2.EmbedRequest(image_bytes=image)
        return list(self._vision("Embed", request, options).embedding)

    def Detect(
        self,
        image_bytes: bytes,
        text: Sequence[str] = (),
        boxes: Iterable[Box] = (),
        options: ModelOptions | None = None,
    ) -> list[Detected]:
        """Find things; (cx, cy, w, h, text, score, (mask height, mask width, mask)) for each."""
        request = vision_pb2.DetectRequest(image_bytes=image_bytes, text=text)
        for cx, cy, w, h in boxes:
            request.boxes_of_interest.add(cx=cx, cy=cy, w=w, h=h)
        return [_detected(box) for box in self._vision("Detect", request, options).bounding_boxes]

    def ImageToText(
        self, image_bytes: bytes, text: str = "", options: ModelOptions | None = None
    ) -> list[tuple[bytes, float]]:
        """Describe an image; (text, score) pairs."""
        request = vision_pb2.ImageToTextRequest(image_bytes=image_bytes, text=text)
        return _texts(self._vision("ImageToText", request, options))

    def VideoToText(
        self, image_frames: Sequence[bytes], text: str = "", options: ModelOptions | None = None
    ) -> list[tuple[bytes, float]]:
        """Describe a video; (text, score) pairs."""
        request = vision_pb2.VideoToTextRequest(image_frames=image_frames, text=text)
        return _texts(self._vision("VideoToText", request, options))

    def VideoToToken(self, image_frames: Sequence[bytes], options: ModelOptions | None = None) -> list[float]:
        """Turn a video into tokens."""
        request = vision_pb2.VideoToTokenRequest(image_frames=image_frames)
        return list(self._vision("VideoToToken", request, options).tokens)

    def TokenToVideo(self, tokens: Sequence[float], options: ModelOptions | None = None) -> list[bytes]:
        """Turn tokens into the frames of a video."""
        request = vision_pb2.TokenToVideoRequest(tokens=tokens)
        return list(self._vision("TokenToVideo", request, options).image_frames)

    def _vision(self, method: str, request: Any, options: ModelOptions | None) -> Any:
        return self._call(vision_pb2_grpc.VisionServiceStub, method, request, options)


def _images(response: Any) -> list[tuple[bytes, float]]:
    return [(item.image, item.score) for item in response.images]


def _texts(response: Any) -> list[tuple[bytes, float]]:
    # The original hands these texts out as bytes.
    return [(item.text.encode(), item.score) for item in response.texts]


def _detected(box: vision_pb2.BoundingBox) -> Detected:
    mask = (box.mask.mask_height, box.mask.mask_width, box.mask.mask_values)
    return box.cx, box.cy, box.w, box.h, box.text.encode(), box.score, mask
