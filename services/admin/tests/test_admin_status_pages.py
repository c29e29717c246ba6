"""Status pages, probes and metrics."""

from __future__ import annotations

import asyncio
import urllib.error
import urllib.request

import pytest
from sax_testing.fake_modelet import FakeModelServer


async def get(cell, path):
    """Return status and text of one page."""

    def fetch():
        try:
            with urllib.request.urlopen(
                f"http://127.0.0.1:{cell.server.status_port}{path}", timeout=10
            ) as page:
                return page.status, page.read().decode()
        except urllib.error.HTTPError as error:
            with error:
                return error.code, error.read().decode()

    return await asyncio.to_thread(fetch)


async def test_the_cell_page_shows_models_servers_and_reasons(cell):
    """People see what the original hides: the reason why something does not run."""
    fake = FakeModelServer(paths=["other.<Model>"])
    await fake.start()
    await fake.join(f"127.0.0.1:{cell.server.port}")
    await cell.publish()
    status, text = await get(cell, "/")
    assert (status, "/sax/test Cell Status" in text) == (200, True)
    assert "no server offers the model path" in text
    assert "other.&lt;Model&gt;" in text
    assert fake.address in text
    assert "CHIP_TYPE_CPU" in text
    await fake.stop()


@pytest.mark.parametrize("path", ["/model/sax/test/m", "/server/127.0.0.1:1"])
async def test_what_is_not_there_is_a_404(cell, path):
    """Pages of unknown models and servers say so."""
    status, text = await get(cell, path)
    assert (status, "ot found" in text) == (404, True)


async def test_model_and_server_pages_link_to_each_other(cell):
    """Each page shows its side of a loaded replica."""
    fake = FakeModelServer()
    await fake.start()
    await fake.join(f"127.0.0.1:{cell.server.port}")
    await cell.publish()
    await cell.ready()
    assert f'href="/server/{fake.address}"' in (await get(cell, "/model/sax/test/m"))[1]
    assert 'href="/model/sax/test/m"' in (await get(cell, f"/server/{fake.address}"))[1]
    await fake.stop()


async def test_probes_and_metrics_answer(cell):
    """A leader is alive and ready, and its gauges are live."""
    assert (await get(cell, "/livez"))[0] == 200
    assert (await get(cell, "/readyz"))[0] == 200
    assert 'sax_admin_is_leader{cell="/sax/test"} 1.0' in (await get(cell, "/metrics"))[1]
