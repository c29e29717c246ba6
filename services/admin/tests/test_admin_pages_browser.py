"""The status pages in a real browser, on a desktop and on a phone; skipped without Chromium."""

from __future__ import annotations

import asyncio
import shutil

import pytest
from sax_testing.fake_modelet import GIB, FakeModelServer

CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser")
EVIL = "<script>document.title='owned'</script><img src=x onerror=\"document.title='owned'\">"
PHONE, DESKTOP = "412,1700", "1280,900"

pytestmark = [
    pytest.mark.processes,
    pytest.mark.skipif(CHROMIUM is None, reason="needs chromium"),
]


@pytest.fixture
async def busy_cell(cell, eventually):
    """A cell with a loaded model, a failed one whose reason is HTML, one without a place, and a drain."""
    fakes = [
        FakeModelServer(paths=["hf.CausalLM"], total_bytes=16 * GIB),
        FakeModelServer(paths=["saxml.server.pax.lm.params.lm_cloud.LmCloudSpmd2BTest"]),
    ]
    for fake in fakes:
        await fake.start()
        await fake.join(f"127.0.0.1:{cell.server.port}")
    fakes[1].fail_loads["/sax/test/broken"] = f"no checkpoint at {EVIL}"
    await cell.publish("chat", path="hf.CausalLM", checkpoint="/models/smollm2")
    await cell.ready("chat")
    await cell.publish("broken", path="saxml.server.pax.lm.params.lm_cloud.LmCloudSpmd2BTest")
    await cell.publish("lonely", path="hf.CausalLn")
    machine = cell.server.controller.machine
    await eventually(lambda: any(view.attempts for view in machine.fleet.servers.values()))
    yield cell
    for fake in fakes:
        await fake.stop()


async def browse(folder, url, *arguments):
    """Let Chromium open a page and return what it prints."""
    process = await asyncio.create_subprocess_exec(
        CHROMIUM,
        *("--headless", "--no-sandbox", "--disable-gpu", "--no-first-run", "--hide-scrollbars"),
        *("--disable-background-networking", "--disable-component-update", "--disable-sync"),
        f"--user-data-dir={folder / 'profile'}",
        *arguments,
        url,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.DEVNULL,
    )
    try:
        async with asyncio.timeout(90):
            out, _ = await process.communicate()
    finally:
        if process.returncode is None:
            process.kill()
            await process.wait()
    return out.decode()


@pytest.mark.parametrize(("name", "size"), [("phone", PHONE), ("desktop", DESKTOP)])
async def test_the_cell_page_in_a_browser(busy_cell, tmp_path, name, size):
    """Nothing in a failure reason runs or becomes markup, and the page can be photographed."""
    url = f"http://127.0.0.1:{busy_cell.server.status_port}/"
    picture = tmp_path / f"{name}.png"
    await browse(tmp_path, url, f"--window-size={size}", f"--screenshot={picture}")
    assert picture.stat().st_size > 10_000
    document = await browse(tmp_path, url, f"--window-size={size}", "--dump-dom")
    assert "<title>/sax/test Cell Status</title>" in document
    assert ("<img" in document, "<script" in document) == (False, False)
    assert "onerror=" in document  # As text.
