#!/bin/sh
# Runs a model server of the cell. Arguments are handed on, and win over the environment.
set -eu
. /usr/local/lib/sax/roots.sh
exec sax-model-server --sax_cell="$SAX_CELL" --port="$PORT" --status_port=8081 --alsologtostderr "$@"
