"""What the model server can be told: the flags of the original, those its guides use, and a few of ours.

Reference: reference/model_server.md 1.1. A flag of the original that cannot do anything here yet is
refused with a sentence that says what to do instead: a server that ignores what it was told is worse
than one that does not start.
"""

import json
import re
from collections.abc import Callable
from pathlib import Path
from typing import Self

from pydantic import Field, field_validator, model_validator
from sax_common.config import DurationS, LogFlags
from sax_common.errors import InvalidArgument
from sax_common.names import parse_cell, parse_model
from sax_runtime.security import SecurityFlags

PORT_MAX = 65_535
STATUS_PORT_OFFSET = 10_000


class ModelServerConfig(LogFlags, SecurityFlags):
    """Flags of sax-model-server."""

    port: int = Field(description="gRPC port; 0 picks a free one.", ge=0, le=PORT_MAX)
    sax_cell: str = Field(
        default="",
        description="Cell to join, /sax/<cell>. Empty: stand-alone, --models and Modelet calls only.",
    )
    sax_root: str = Field(default="", description="Directory or gs:// bucket where the cell is found.")
    platform_chip: str = Field(
        default="cpu", description="Chip reported to the admin: cpu, a100, h100, tpuv5e, ..."
    )
    platform_topology: str = Field(
        default="1", description="Topology reported to the admin: 1, 4, 2x2x1, ..."
    )
    tags: list[str] = Field(default_factory=list, description="Tags that publish constraints may ask for.")
    model_filter_regex: str = Field(
        default="", description="Only servables whose full registry name matches this are offered."
    )
    models: list[str] = Field(default_factory=list, description="Registry paths to load at start.")
    model_keys: list[str] = Field(
        default_factory=list, description="Their names /sax/<cell>/<model>, one for each of --models."
    )
    checkpoints: list[str] = Field(
        default_factory=list, description="Their checkpoints, one for each of --models."
    )
    model_config_overrides: list[str] = Field(
        default_factory=list,
        description="Their overrides: one JSON object each; quote it when it has commas, as in a CSV file.",
    )
    keep_statically_loaded_models: bool = Field(
        default=False, description="Offer the admin nothing else and refuse to unload. Needs --model_keys."
    )
    deterministic_rng: bool = Field(
        default=False, description="Load every model with seed 1234, not a random one."
    )
    servable_modules: list[str] = Field(
        default_factory=list, description="Python modules to import, which register servables of your own."
    )
    host_ordinal: int | None = Field(
        default=None, description="Rank in a multi-host replica; only 0 works so far."
    )
    admin_port: int = Field(default=0, description="Not offered: start sax-admin-server, or use `sax serve`.")
    early_reject_on_dormant: bool = Field(
        default=False, description="Not offered: no backend here ever sleeps."
    )
    jax_platforms: str = Field(default="", description="Platforms JAX may use, in order: cpu, cuda, tpu.")
    jax_cache_dir: str = Field(default="", description="Folder that keeps compiled programs between starts.")
    jax_profiler_port: int = Field(
        default=0, description="Port of JAX's profiler; 0: none.", ge=0, le=PORT_MAX
    )
    listen_address: str = Field(
        default="[::]",
        description="Address to listen on; [::] is every interface, 127.0.0.1 this machine only.",
    )
    status_address: str = Field(default="127.0.0.1", description="Address of /livez, /readyz and /metrics.")
    status_port: int | None = Field(
        default=None,
        description=f"Port of /livez, /readyz and /metrics; default --port + {STATUS_PORT_OFFSET}, -1: none.",
        ge=-1,
        le=PORT_MAX,
    )
    lame_duck_s: DurationS = Field(
        default=5.0, description="On SIGTERM: how long requests are still taken after saying NOT_SERVING."
    )
    drain_s: DurationS = Field(
        default=30.0, description="How long requests in flight may take at an unload or at the end."
    )
    step_timeout_s: DurationS = Field(
        default=120.0, description="A step of an engine that takes longer is a hang: the process ends."
    )
    load_timeout_s: DurationS = Field(
        default=600.0, description="A load that shows no progress for so long has failed."
    )

    @field_validator("sax_cell")
    @classmethod
    def _is_cell(cls, cell: str) -> str:
        return _checked(parse_cell, cell) if cell else ""

    @field_validator("model_filter_regex")
    @classmethod
    def _is_regex(cls, pattern: str) -> str:
        try:
            re.compile(pattern)
        except re.error as error:
            raise ValueError(f"is not a regular expression: {error}") from error
        return pattern

    @field_validator("model_keys")
    @classmethod
    def _are_models(cls, keys: list[str]) -> list[str]:
        return [_checked(parse_model, key) for key in keys]

    @field_validator("model_config_overrides")
    @classmethod
    def _are_objects(cls, texts: list[str]) -> list[str]:
        for text in texts:
            try:
                is_object = isinstance(json.loads(text), dict)
            except ValueError:
                is_object = False
            if not is_object:
                raise ValueError(f'{text!r} is not a JSON object such as {{"BATCH_SIZE": 4}}')
        return texts

    @model_validator(mode="after")
    def _fits_together(self) -> Self:
        if not len(self.models) == len(self.model_keys) == len(self.checkpoints):
            raise ValueError(
                f"--models, --model_keys and --checkpoints must be equally long, "
                f"not {len(self.models)}, {len(self.model_keys)} and {len(self.checkpoints)}"
            )
        if self.model_config_overrides and len(self.model_config_overrides) != len(self.models):
            raise ValueError(
                f"--model_config_overrides has {len(self.model_config_overrides)} objects "
                f"for {len(self.models)} models"
            )
        if self.keep_statically_loaded_models and not self.model_keys:
            raise ValueError("--keep_statically_loaded_models needs --model_keys")
        refusal = self._refusal()
        if refusal:
            raise ValueError(refusal)
        return self

    def _refusal(self) -> str:
        """Return why a flag of the original cannot be honoured, "" when all can."""
        if self.admin_port:
            return (
                "--admin_port is not offered: start sax-admin-server beside this server, or use `sax serve`"
            )
        if self.early_reject_on_dormant:
            return "--early_reject_on_dormant is not offered: no backend of this server is ever dormant"
        if self.host_ordinal:
            return "--host_ordinal above 0 is not offered: replicas over several hosts do not work yet"
        return ""

    def static_overrides(self) -> list[dict[str, str]]:
        """Return the overrides of each of `models`, values as JSON text like those that an admin sends."""
        objects = self.model_config_overrides or ["{}"] * len(self.models)
        return [{key: json.dumps(value) for key, value in json.loads(text).items()} for text in objects]

    def status_port_for(self, port: int) -> int:
        """Return the port of the status pages of a server on `port`; 0 = any free one, -1 = none."""
        if self.status_port is not None:
            return self.status_port
        return port + STATUS_PORT_OFFSET if port + STATUS_PORT_OFFSET <= PORT_MAX else 0


def jax_environment(config: ModelServerConfig) -> dict[str, str]:
    """Return what JAX reads from its environment when first imported; makes the cache folder."""
    environment: dict[str, str] = {}
    if config.jax_platforms:
        environment["JAX_PLATFORMS"] = config.jax_platforms
    if config.jax_cache_dir:
        folder = Path(config.jax_cache_dir).expanduser()
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        environment["JAX_COMPILATION_CACHE_DIR"] = str(folder)
        # By default JAX keeps only what took a second to compile; an engine is made of many small programs.
        environment["JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS"] = "0"
        environment["JAX_PERSISTENT_CACHE_MIN_ENTRY_SIZE_BYTES"] = "-1"
    return environment


def _checked(parse: Callable[[str], str], text: str) -> str:
    try:
        return parse(text)
    except InvalidArgument as error:
        raise ValueError(error.message) from error
