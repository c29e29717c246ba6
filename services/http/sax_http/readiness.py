"""Whether requests should be sent to this server: it listens, is not stopping, and can read the root.

Without the root no model can be found. An admin that is away does not make the server unready: models that
were found before answer without it (DESIGN section 1, sentence 7). The loop here is the only one that calls
`Health.set`; `/readyz` and `/livez` are the routes of `sax_runtime.status_server`, which every process has.
"""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, NoReturn

from sax_common.errors import SaxError

if TYPE_CHECKING:
    from sax_common.clock import Clock
    from sax_runtime.health import Health

    from sax_http.directory import Directory

CHECK_EVERY_MS = 5_000
ROOT_ANSWERS_WITHIN_S = 2.0


async def keep_readiness(health: Health, directory: Directory, clock: Clock) -> NoReturn:
    """Check the root for ever and note what was found; cancel to end."""
    while True:
        reason = await unready_reason(directory)
        health.set("", serving=not reason, reason=reason)
        await clock.sleep_ms(CHECK_EVERY_MS)


async def unready_reason(directory: Directory) -> str:
    """Say why no requests should come, or nothing when they may."""
    try:
        async with asyncio.timeout(ROOT_ANSWERS_WITHIN_S):
            await directory.check()
    except TimeoutError:
        return f"the root did not answer within {ROOT_ANSWERS_WITHIN_S:g} s"
    except SaxError as error:
        return error.message
    return ""
