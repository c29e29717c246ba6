# Sourced by the entry points: find SAX_ROOT (and FS_ROOT) the way the original images did.
#   SAX_DIR=d                           d/sax-root and d/sax-fs-root
#   GSBUCKET=b or SAX_GCS_BUCKET=b      gs://b/sax-root and gs://b/sax-fs-root,
#   with SAX_REPLICA_NAME=r             gs://b/r/sax-root and gs://b/r/sax-fs-root
# What is set explicitly wins.
bucket="${SAX_GCS_BUCKET:-${GSBUCKET:-}}"
if [ -n "${SAX_DIR:-}" ]; then
  base="$SAX_DIR"
elif [ -n "$bucket" ]; then
  base="gs://${bucket#gs://}${SAX_REPLICA_NAME:+/$SAX_REPLICA_NAME}"
else
  base=""
fi
if [ -n "$base" ]; then
  SAX_ROOT="${SAX_ROOT:-$base/sax-root}"
  FS_ROOT="${FS_ROOT:-$base/sax-fs-root}"
fi
if [ -z "${SAX_ROOT:-}" ]; then
  echo "entrypoint: set SAX_ROOT, or SAX_DIR (a mounted folder), or SAX_GCS_BUCKET (a bucket's name)" >&2
  exit 1
fi
export SAX_ROOT
