"""`LanguageModel` of the original API."""

# ruff: noqa: N802, INP001 - the original's names and signatures; saxml is a PEP 420 namespace.

from __future__ import annotations

from typing import TYPE_CHECKING

from saxml.client.python._model import Face, timeout_s
from saxml.client.python._status import translated
from saxml.protobuf import lm_pb2, lm_pb2_grpc

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from saxml.client.python._options import ModelOptions

    StreamItems = list[tuple[str, int, list[float]]]


class LanguageModel(Face):
    """Score, generate and embed text."""

    def Score(self, prefix: str, suffix: Sequence[str], options: ModelOptions | None = None) -> list[float]:
        """Give the log-probability of each suffix after `prefix`."""
        request = lm_pb2.ScoreRequest(prefix=prefix, suffix=suffix)
        return list(self._call(lm_pb2_grpc.LMServiceStub, "Score", request, options).logp)

    def Generate(self, text: str, options: ModelOptions | None = None) -> list[tuple[str, float]]:
        """Continue `text`; one (text, score) per sample."""
        request = lm_pb2.GenerateRequest(text=text)
        response = self._call(lm_pb2_grpc.LMServiceStub, "Generate", request, options)
        return [(item.text, item.score) for item in response.texts]

    def GenerateStream(
        self, text: str, callback: Callable[[bool, StreamItems], None], options: ModelOptions | None = None
    ) -> None:
        """Continue `text` in pieces; returns when the stream has ended.

        Calls ``callback(False, [(text, prefix_len, scores), ...])`` for each message, one item per sample,
        and at the end ``callback(True, [])``. Every sample's text is ``result = result[:prefix_len] +
        text``.
        """
        extra = None if options is None else options.to_client()
        with translated():
            for chunk in self._client.generate_stream(text, extra=extra, timeout_s=timeout_s(options)):
                items = [(item.sent_text, item.prefix_len, list(item.scores)) for item in chunk.samples]
                callback(False, items)  # noqa: FBT003 - the original passes it by position
        callback(True, [])  # noqa: FBT003

    def Embed(self, text: str, options: ModelOptions | None = None) -> list[float]:
        """Give the embedding of `text`."""
        request = lm_pb2.EmbedRequest(text=text)
        return list(self._call(lm_pb2_grpc.LMServiceStub, "Embed", request, options).embedding)

    def Gradient(
        self, prefix: str, suffix: str, options: ModelOptions | None = None
    ) -> tuple[list[float], dict[str, list[float]]]:
        """Give the scores and the gradients by name."""
        request = lm_pb2.GradientRequest(prefix=prefix, suffix=suffix)
        response = self._call(lm_pb2_grpc.LMServiceStub, "Gradient", request, options)
        return list(response.score), {name: list(one.values) for name, one in response.gradients.items()}
