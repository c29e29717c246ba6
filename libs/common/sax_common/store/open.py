"""Open the store that a root names: `/some/dir` or `gs://bucket/prefix`."""

from sax_common.errors import FailedPrecondition, InvalidArgument
from sax_common.names import shown
from sax_common.store.local import LocalStore
from sax_common.store.port import ObjectStore

GCS_SCHEME = "gs://"


def open_store(root: str, *, is_shared_fs_allowed: bool = False) -> ObjectStore:
    """Make the store for a root, with or without a slash at the end. Nothing is read or written yet.

    `is_shared_fs_allowed` only concerns directories (see `local`). Raises InvalidArgument for an empty
    or malformed root, FailedPrecondition for a bucket without the library (credentials are looked for by the
    first request).
    """
    if root.startswith(GCS_SCHEME):
        try:
            # Imported here because only users of buckets have the library (and 0.5 s to load it).
            from sax_common.store.gcs import GcsStore  # noqa: PLC0415
        except ModuleNotFoundError as error:
            raise FailedPrecondition(
                f"Root {shown(root)} needs the Google Cloud library: pip install 'sax-common[gcs]'."
            ) from error
        bucket, _, prefix = root.removeprefix(GCS_SCHEME).partition("/")
        if not bucket:
            raise InvalidArgument(f"Root {shown(root)} must name a bucket: gs://bucket/path.")
        return GcsStore(bucket, prefix.strip("/"))
    if not root or "://" in root:
        raise InvalidArgument(f"Root {shown(root)} must be a directory or gs://bucket/path.")
    return LocalStore(root, is_shared_fs_allowed=is_shared_fs_allowed)
