"""What the HTTP server can be told."""

from __future__ import annotations

from pydantic import Field, field_validator
from sax_common.config import DurationS, LogFlags
from sax_common.errors import InvalidArgument
from sax_common.names import parse_cell
from sax_runtime.security import SecurityFlags


class HttpConfig(LogFlags, SecurityFlags):
    """Flags of sax-http-server."""

    port: int = Field(default=8888, ge=0, le=65535, description="TCP port; 0 takes any free one.")
    host: str = Field(
        default="127.0.0.1",
        description="Address to listen on; 0.0.0.0 opens the server to the network: "
        "give --tls_cert_file and --acl_file too.",
    )
    sax_root: str = Field(default="", description="Root of the cells: a directory or gs://bucket/path.")
    sax_cell: str = Field(
        default="",
        description="Cell of short model names, as in /sax/test; empty: the cells are looked up.",
    )
    legacy_generate_response: bool = Field(
        default=False,
        description='Answer /generate with {"generate_response": [...]}, as older versions did.',
    )
    generate_timeout: DurationS = Field(default=600.0, description="Longest time of one whole answer.")
    stream_timeout: DurationS = Field(default=3600.0, description="Longest time of one streamed answer.")
    ready_timeout: DurationS = Field(
        default=30.0,
        description="How long a request waits for a first ready replica; then 503 with the reason.",
    )
    max_body_bytes: int = Field(
        default=4 << 20, ge=1024, description="Longest request body; more is answered 413."
    )
    max_connections: int = Field(default=4096, ge=1, description="Open connections; more are answered 503.")
    drain_timeout: DurationS = Field(
        default=30.0, description="How long requests in progress may take after the server was asked to stop."
    )

    @field_validator("sax_cell")
    @classmethod
    def _is_a_cell(cls, value: str) -> str:
        try:
            return str(parse_cell(value)) if value else ""
        except InvalidArgument as error:
            raise ValueError(error.message) from None
