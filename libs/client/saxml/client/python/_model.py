"""`Model` of the original API, and what the faces of its modalities share."""

# ruff: noqa: N802, INP001 - the original's names and signatures; saxml is a PEP 420 namespace.

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from sax_client import wire
from saxml.client.python import _process
from saxml.client.python._options import ModelOptions, Options
from saxml.client.python._status import translated

if TYPE_CHECKING:
    from sax_client.sync import SyncModelClient
    from saxml.client.python._language import LanguageModel
    from saxml.client.python._others import AudioModel, CustomModel, MultimodalModel
    from saxml.client.python._vision import VisionModel


class Model:
    """A published model. Making one never raises: a bad name is reported by each call."""

    def __init__(self, id: str, options: Options | None = None, /) -> None:  # noqa: A002
        self._id = id
        self._options = options or Options()

    def LM(self) -> LanguageModel:
        """Its language methods."""
        from saxml.client.python._language import LanguageModel  # noqa: PLC0415 - they know each other

        return LanguageModel(self._id, self._options)

    def VM(self) -> VisionModel:
        """Its vision methods."""
        from saxml.client.python._vision import VisionModel  # noqa: PLC0415

        return VisionModel(self._id, self._options)

    def AM(self) -> AudioModel:
        """Its audio methods."""
        from saxml.client.python._others import AudioModel  # noqa: PLC0415

        return AudioModel(self._id, self._options)

    def CM(self) -> CustomModel:
        """Its custom methods."""
        from saxml.client.python._others import CustomModel  # noqa: PLC0415

        return CustomModel(self._id, self._options)

    def MM(self) -> MultimodalModel:
        """Its multimodal methods."""
        from saxml.client.python._others import MultimodalModel  # noqa: PLC0415

        return MultimodalModel(self._id, self._options)


class Face:
    """What all modalities share: the model's name and how to call it."""

    def __init__(self, id: str, options: Options, /) -> None:  # noqa: A002
        self._id = id
        self._options = options

    @property
    def _client(self) -> SyncModelClient:
        return _process.client().model(self._id, self._options.to_client())

    def _call(self, service: Any, method: str, request: Any, options: ModelOptions | None) -> Any:
        """Send `request` with the model's name, the extra inputs and the deadline added."""
        request.model_key = self._id
        if options is not None:
            request.extra_inputs.CopyFrom(wire.extra_inputs(options.to_client()))
        with translated():
            return self._client.call(service, method, request, timeout_s=timeout_s(options))


def timeout_s(options: ModelOptions | None) -> float | None:
    """The deadline that the options set; None for the default."""
    return None if options is None else options.timeout_s
