#!/bin/sh
# The command line: `docker run sax-util ls /sax/test`. Help works without a root.
set -eu
case "${1:-help}" in
  help | flags | commands) exec saxutil "$@" ;;
esac
. /usr/local/lib/sax/roots.sh
exec saxutil "$@"
