"""Status pages, probes and metrics."""

from __future__ import annotations

import asyncio
import urllib.error
import urllib.parse
import urllib.request
from types import SimpleNamespace

import pytest
from sax_testing.fake_modelet import FakeModelServer
from saxml.protobuf import admin_pb2


def fetch(url):
    """Get a page whatever its status."""
    try:
        with urllib.request.urlopen(url, timeout=10) as page:
            return SimpleNamespace(text=page.read().decode(), headers=page.headers)
    except urllib.error.HTTPError as error:
        with error:
            return SimpleNamespace(text=error.read().decode(), headers=error.headers)


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


async def test_metrics_count_replicas_and_servers(cell):
    """Wanted, ready and failed replicas, servers by state, the record and the time of commits are scraped."""
    fake = FakeModelServer()
    await fake.start()
    await fake.join(f"127.0.0.1:{cell.server.port}")
    await cell.publish(replicas=2)
    await cell.ready()
    text = (await get(cell, "/metrics"))[1]
    assert 'sax_admin_replicas{kind="wanted",model="/sax/test/m"} 2.0' in text
    assert 'sax_admin_replicas{kind="ready",model="/sax/test/m"} 1.0' in text
    assert 'sax_admin_models_ready{cell="/sax/test"} 0.0' in text
    assert 'sax_admin_model_servers{cell="/sax/test",state="alive"} 1.0' in text
    assert f'sax_admin_record{{cell="/sax/test"}} {cell.server.controller.machine.journal.sequence}.0' in text
    assert "sax_admin_commit_seconds_count" in text
    assert "sax_admin_reconcile_seconds_count" in text
    await cell.stub.Unpublish(admin_pb2.UnpublishRequest(model_id="/sax/test/m"))
    assert "sax_admin_replicas{" not in (await get(cell, "/metrics"))[1]
    await fake.stop()


async def test_nothing_that_others_say_becomes_markup(cell):
    """Paths, reasons, tags and checkpoints are escaped, and the browser is told to run and load nothing."""
    evil = "<script>alert(1)</script>\"'"
    fake = FakeModelServer(paths=["p.Q", f"p.{evil}"], tags=[evil])
    await fake.start()
    await fake.join(f"127.0.0.1:{cell.server.port}")
    fake.fail_loads["/sax/test/m"] = evil
    await cell.publish(path="p.Q", overrides={"A": evil})
    for path in ("/", "/model/sax/test/m", f"/server/{fake.address}", f"/server/{evil}", f"/model/{evil}"):
        url = f"http://127.0.0.1:{cell.server.status_port}{urllib.parse.quote(path)}"
        page = await asyncio.to_thread(fetch, url)
        assert "<script" not in page.text
        assert "default-src 'none'" in page.headers["Content-Security-Policy"]
    await fake.stop()


async def test_the_cell_page_shows_who_leads_and_who_changed_what(cell):
    """Term, record and recent operations, which the original does not show."""
    await cell.publish()
    text = (await get(cell, "/"))[1]
    assert f"<dd>{cell.server.address}</dd>" in text
    assert "<span>publish</span>" in text
    assert 'name="viewport"' in text
