#!/bin/sh
# Runs the HTTP server of all cells under SAX_ROOT. Arguments are handed on to the server.
set -eu
. /usr/local/lib/sax/roots.sh
exec sax-http-server --host=0.0.0.0 --port="$PORT" "$@"
