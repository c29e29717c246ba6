"""An object store in a Google Cloud Storage bucket (or an emulator named by STORAGE_EMULATOR_HOST).

The life of a write: one upload request with `ifGenerationMatch` (0: must not exist), which the bucket
applies as a whole or not at all; its answer carries the new generation. A read takes body and generation
from one response, so they belong together. Objects are stored with `Cache-Control: no-store`, for a
cache between us would break read-your-write.

Each request is sent once (the library would retry, and then a lost answer looks like a lost race) and
waits at most 2 s for a connection and 2 s for each piece of the answer, 4 s in all; retrying belongs to
the caller, who knows its deadline. What a failure means depends on whether the request was on its way:

    connection refused, no such host, connect timeout, 429    StoreUnavailable: surely not applied
    412                                                       Conflict
    reset, timeout while waiting, 408, 5xx                    change: OutcomeUnknown; read: StoreUnavailable
    401, 403                                                  Unauthenticated, PermissionDenied
    404 of the bucket                                         FailedPrecondition: not an empty bucket
    no credentials on this machine                            FailedPrecondition that says how to get some

The library is blocking, so requests run in eight threads of the store; a cancelled caller does not stop its
request. The client is made by the first request: looking for credentials may ask the network.
"""

import asyncio
import os
import threading
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from http import HTTPStatus
from typing import Any, TypeVar

import google.auth
import requests
import urllib3
from google.api_core import exceptions as api
from google.auth import credentials as auth_credentials
from google.auth import exceptions as auth_errors
from google.cloud import storage
from google.cloud.storage import exceptions as storage_errors

from sax_common.errors import (
    FailedPrecondition,
    InvalidArgument,
    PermissionDenied,
    SaxError,
    Unauthenticated,
)
from sax_common.store.port import (
    Conflict,
    OutcomeUnknown,
    StoredObject,
    StoreUnavailable,
    check_name,
    check_prefix,
    is_name,
)

T = TypeVar("T")

THREADS = 8
WAIT_S = 2.0
REQUEST_S = 4.0
LIST_S = 30.0
EMULATOR_VARIABLE = "STORAGE_EMULATOR_HOST"
SCOPE = "https://www.googleapis.com/auth/devstorage.read_write"

# Neither buckets nor objects need a project, but the library insists on one.
_PROJECT = "unused"
_BY_STATUS: dict[int, type[SaxError]] = {
    401: Unauthenticated,
    403: PermissionDenied,
    404: FailedPrecondition,  # Of an object it is no error, so this is the bucket.
    412: Conflict,
    429: StoreUnavailable,
}
_ONCE: dict[str, Any] = {"retry": None, "timeout": (WAIT_S, WAIT_S)}


class GcsStore:
    """Objects below a prefix of one bucket. Any number of processes on many machines may share it."""

    def __init__(self, bucket: str, prefix: str = "") -> None:
        self._bucket_name = bucket
        self._prefix = f"{prefix}/" if prefix else ""
        self._threads = ThreadPoolExecutor(THREADS, thread_name_prefix="sax-gcs")
        self._client: storage.Client | None = None
        self._client_lock = threading.Lock()

    async def read(self, name: str) -> StoredObject | None:
        """Read an object; None when it does not exist."""
        check_name(name)
        return await self._run(lambda: self._read(name), f"read {name}", is_change=False)

    async def create(self, name: str, data: bytes) -> str:
        """Make a new object. Raises Conflict when the name exists."""
        check_name(name)
        return await self._run(lambda: self._upload(name, data, if_generation_match=0), f"create {name}")

    async def replace(self, name: str, data: bytes, *, generation: str) -> str:
        """Change an object from `generation`. Raises Conflict when it changed or is gone."""
        check_name(name)
        if not generation.isdecimal() or int(generation) == 0:
            raise Conflict(f"{name} never had the generation {generation!r}.")
        number = int(generation)
        return await self._run(
            lambda: self._upload(name, data, if_generation_match=number), f"replace {name}"
        )

    async def write(self, name: str, data: bytes) -> str:
        """Make or change an object, whatever was there."""
        check_name(name)
        return await self._run(lambda: self._upload(name, data), f"write {name}")

    async def list(self, prefix: str, *, start_after: str = "") -> list[str]:
        """List names with this prefix after `start_after`, in ascending order."""
        check_prefix(prefix)
        return await self._run(
            lambda: list(self._names(prefix, start_after)), f"list {prefix}", is_change=False, limit_s=LIST_S
        )

    async def delete(self, name: str) -> None:
        """Remove an object; it is fine when there is none."""
        check_name(name)
        await self._run(lambda: self._delete(name), f"delete {name}")

    async def close(self) -> None:
        """Wait for running requests (they are bounded) and close the connections."""
        await asyncio.to_thread(self._threads.shutdown)
        if self._client is not None:
            self._client.close()
            self._client = None

    async def _run(
        self, work: Callable[[], T], action: str, *, is_change: bool = True, limit_s: float = REQUEST_S
    ) -> T:
        what = f"{action} in gs://{self._bucket_name}/{self._prefix}"
        try:
            async with asyncio.timeout(limit_s):
                return await asyncio.get_running_loop().run_in_executor(self._threads, work)
        except TimeoutError as error:
            raise _lost(f"No answer in {limit_s} s to {what}.", is_change=is_change) from error
        except SaxError:
            raise
        except Exception as error:
            raise _translated(error, what, is_change=is_change) from error

    def _bucket(self) -> storage.Bucket:
        with self._client_lock:
            if self._client is None:
                self._client = _make_client()
                # Else the library asks for the bucket's metadata in a background thread, with retries of its
                # own, for span attributes that nobody reads here: a storm against a bucket that is unwell.
                self._client._bucket_metadata_cache = None  # noqa: SLF001 -- Checked by a test.
            return self._client.bucket(self._bucket_name)

    def _blob(self, name: str) -> storage.Blob:
        return self._bucket().blob(f"{self._prefix}{name}")

    def _read(self, name: str) -> StoredObject | None:
        blob = self._blob(name)
        try:
            data = blob.download_as_bytes(**_ONCE)
        except api.NotFound:
            self._names(name, "")  # A missing bucket gives 404 too, but then listing fails as well.
            return None
        return StoredObject(data, str(blob.generation))

    def _upload(self, name: str, data: bytes, **condition: int) -> str:
        blob = self._blob(name)
        blob.cache_control = "no-store"
        blob.upload_from_string(data, content_type="application/octet-stream", **_ONCE, **condition)
        return str(blob.generation)

    def _names(self, prefix: str, start_after: str) -> Sequence[str]:
        blobs = self._bucket().list_blobs(
            prefix=f"{self._prefix}{prefix}",
            start_offset=f"{self._prefix}{start_after}" if start_after else None,
            fields="items(name),nextPageToken",
            **_ONCE,
        )
        names = (blob.name.removeprefix(self._prefix) for blob in blobs)
        return sorted(name for name in names if name > start_after and is_name(name))

    def _delete(self, name: str) -> None:
        try:
            self._blob(name).delete(**_ONCE)
        except api.NotFound:
            self._names(name, "")


def _make_client() -> storage.Client:
    if os.environ.get(EMULATOR_VARIABLE):
        anonymous = auth_credentials.AnonymousCredentials()  # type: ignore[no-untyped-call]  # Theirs.
        return storage.Client(project=_PROJECT, credentials=anonymous)
    try:
        credentials, _ = google.auth.default(scopes=[SCOPE])
    except auth_errors.DefaultCredentialsError as error:
        raise FailedPrecondition(
            "There are no Google Cloud credentials on this machine: run"
            " `gcloud auth application-default login`, set GOOGLE_APPLICATION_CREDENTIALS to a key file,"
            " or use a directory as root."
            f" ({error})"
        ) from error
    return storage.Client(project=_PROJECT, credentials=credentials)


def _lost(message: str, *, is_change: bool) -> SaxError:
    return OutcomeUnknown(f"{message} It may have happened.") if is_change else StoreUnavailable(message)


def _translated(error: Exception, what: str, *, is_change: bool) -> SaxError:
    """Say in the port's words what went wrong with one request; the table is in the module's docstring."""
    message = f"Could not {what}: {str(error).partition(chr(10))[0]}"
    if isinstance(error, api.GoogleAPICallError):
        status = int(error.code or HTTPStatus.INTERNAL_SERVER_ERROR)
        if status == HTTPStatus.REQUEST_TIMEOUT or status >= HTTPStatus.INTERNAL_SERVER_ERROR:
            return _lost(message, is_change=is_change)
        return _BY_STATUS.get(status, InvalidArgument)(message)
    if isinstance(error, auth_errors.RefreshError | auth_errors.InvalidOperation):
        return Unauthenticated(message)
    if isinstance(error, auth_errors.GoogleAuthError) or _is_unsent(error):
        return StoreUnavailable(message)  # No token or no connection, so nothing reached the bucket.
    if isinstance(error, requests.RequestException | storage_errors.DataCorruption):
        return _lost(message, is_change=is_change)
    raise error


def _is_unsent(error: Exception) -> bool:
    """Say whether not even a connection came about."""
    if isinstance(error, requests.ConnectTimeout):
        return True
    cause = error.args[0] if isinstance(error, requests.ConnectionError) and error.args else None
    return isinstance(getattr(cause, "reason", None), urllib3.exceptions.NewConnectionError)
