#!/bin/sh
# Configures the cell, then runs its admin server. Arguments are handed on to the server.
set -eu
. /usr/local/lib/sax/roots.sh
: "${FS_ROOT:?set FS_ROOT: where the admin keeps what is published}"
sax-admin-config --sax_cell="$SAX_CELL" --sax_root="$SAX_ROOT" --fs_root="$FS_ROOT" --alsologtostderr
exec sax-admin-server --sax_cell="$SAX_CELL" --sax_root="$SAX_ROOT" --port="$PORT" --status_port=8080 \
  --alsologtostderr "$@"
