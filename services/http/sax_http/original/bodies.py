"""Bodies of the original routes, and what is printed back.

Two versions of these routes are documented (reference/landscape.md A8). We take the newer form and what
the older one added: the publish echo carries `path` beside `model_path`, replicas may be a string and
are echoed as they were sent, and `extra_inputs` may be left out.

Pure.
"""

from __future__ import annotations

import json
import math
import re
from typing import TYPE_CHECKING, Annotated

from pydantic import Field, field_validator
from sax_common.names import check_checkpoint_path, check_model_path, parse_cell, parse_model

from sax_http.bodies import Body, legal

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

# What the original's server applied to every request, key by key (reference/control_plane.md section 9).
DEFAULT_EXTRA_INPUTS: Mapping[str, float] = {
    "temperature": 0.5,
    "per_example_max_decode_steps": 128,
    "per_example_top_k": 200,
    "per_example_top_p": 0.95,
}

MAX_REPLICAS = 1_000_000
MAX_QUERY_BYTES = 1 << 20

ExtraInput = Annotated[float, Field(allow_inf_nan=False)] | list[float] | str


class ModelBody(Body):
    """A body that only names a model."""

    model: str = Field(
        description="Full name of the model, /sax/<cell>/<model>.", examples=["/sax/test/lm2b"]
    )

    @field_validator("model")
    @classmethod
    def _is_a_model_name(cls, value: str) -> str:
        return legal("model", parse_model, value)


class CellBody(Body):
    """A body that only names a cell."""

    sax_cell: str = Field(description="Full name of the cell, /sax/<cell>.", examples=["/sax/test"])

    @field_validator("sax_cell")
    @classmethod
    def _is_a_cell_name(cls, value: str) -> str:
        return legal("sax_cell", parse_cell, value)


class PublishBody(ModelBody):
    """What /publish and /update take."""

    model_path: str = Field(description="Key of the model registry.", examples=["hf.CausalLM"])
    checkpoint: str = Field(description="Directory or file of the checkpoint, or None for random weights.")
    replicas: int | str = Field(description="Wanted number of replicas; a string of digits is accepted.")
    overrides: dict[str, str] | None = Field(
        default=None,
        description="Changes of the model's settings, each value as JSON text (not in the original).",
    )

    @field_validator("model_path")
    @classmethod
    def _is_a_registry_key(cls, value: str) -> str:
        return legal("model_path", check_model_path, value)

    @field_validator("checkpoint")
    @classmethod
    def _is_a_path(cls, value: str) -> str:
        return legal("checkpoint", check_checkpoint_path, value)

    @field_validator("replicas")
    @classmethod
    def _is_a_count(cls, value: int | str) -> int | str:
        if isinstance(value, str) and not re.fullmatch(r"[0-9]{1,7}", value):
            raise ValueError("must be a whole number, or a string of digits.")
        if not 0 <= int(value) <= MAX_REPLICAS:
            raise ValueError(f"must be between 0 and {MAX_REPLICAS}.")
        return value

    def echo(self) -> dict[str, object]:
        """Return what was sent, replicas as they were written."""
        sent: dict[str, object] = {
            "model": self.model,
            "model_path": self.model_path,
            "checkpoint": self.checkpoint,
            "replicas": self.replicas,
        }
        return sent if self.overrides is None else {**sent, "overrides": self.overrides}


class GenerateBody(ModelBody):
    """What /generate takes."""

    query: str = Field(description="The prompt.", min_length=1, examples=["The capital of France is"])
    extra_inputs: dict[str, ExtraInput] | None = Field(
        default=None,
        description="Decoding settings; the four documented ones have defaults.",
        examples=[dict(DEFAULT_EXTRA_INPUTS)],
    )

    @field_validator("query")
    @classmethod
    def _is_of_a_sane_size(cls, value: str) -> str:
        size = len(value.encode())
        if size > MAX_QUERY_BYTES:
            raise ValueError(f"is {size} bytes long; at most {MAX_QUERY_BYTES} are taken.")
        return value

    def defaulted_extra_inputs(self) -> dict[str, float | list[float] | str]:
        """Return the extra inputs given, with the documented defaults for the rest."""
        return {**DEFAULT_EXTRA_INPUTS, **(self.extra_inputs or {})}


def publish_echo(body: PublishBody) -> dict[str, object]:
    """Return the answer of /publish: the newer form, plus the older form's `path`."""
    return {**body.echo(), "path": body.model_path}


def generate_answer(texts: Iterable[tuple[str, float]], *, legacy: bool) -> object:
    """Return `[[text, score], ...]`, or the older `{"generate_response": [...]}` around it."""
    # JSON has no word for an infinite or undefined score.
    pairs = [[text, score if math.isfinite(score) else None] for text, score in texts]
    return {"generate_response": pairs} if legacy else pairs


def pretty(value: object) -> bytes:
    """Print JSON as the original did: four spaces deep, text as it is rather than escaped."""
    return json.dumps(value, ensure_ascii=False, indent=4).encode("utf-8", "replace")
