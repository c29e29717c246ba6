"""What the routes work with: made once by `main` and handed down, so that a test makes its own."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from sax_client import ClientOptions

if TYPE_CHECKING:
    from sax_client import AsyncClient, ModelClient
    from sax_common.clock import Clock
    from sax_runtime.health import Health

    from sax_http.directory import Directory


@dataclass(frozen=True, kw_only=True)
class Services:
    """Everything a route may need. All of it is owned by the event loop."""

    client: AsyncClient
    directory: Directory
    health: Health
    clock: Clock
    is_legacy_generate: bool
    generate_timeout_s: float
    stream_timeout_s: float
    ready_timeout_s: float

    def model(self, name: str) -> ModelClient:
        """Return the client of a model: one per name, with a bounded wait for a replica."""
        return self.client.model(name, ClientOptions(ready_timeout_s=self.ready_timeout_s))
