"""Bearer tokens: made once, kept as hashes, compared in constant time.

    python -m sax_runtime.tokens alice
    token (give it to alice, it is not shown again):  alice.9mX2...
    line for --token_hashes_file:                     alice 6c1f...

A token is `<name>.<secret>`: the name is the key by which its hash is found, so the time of a look-up tells
nothing about the secret (CVE-2025-59425 was a plain comparison), and the secret has 256 random bits, so
plain SHA-256 is hash enough. A name may have several lines, old and new, while a token is being changed. The
server's file holds only hashes; tokens are never logged, and no error message holds one.
"""

import hashlib
import hmac
import re
import secrets
import sys
from collections.abc import Mapping, Sequence

from sax_common.errors import InvalidArgument, Unauthenticated
from sax_common.names import shown

from sax_runtime.watched_files import Watched

BEARER = "Bearer "
_NAME = re.compile(r"[\w.@-]{1,128}", re.ASCII)
_HASH = re.compile(r"[0-9a-f]{64}", re.ASCII)
_TOKEN_CHARS_MAX = 512
_NO_HASH = hashlib.sha256(b"").hexdigest()

Hashes = Mapping[str, tuple[str, ...]]
"""Names to the hashes of their tokens."""


def new_token(name: str) -> tuple[str, str]:
    """Make a token for `name`: the token, and the line that lets it in. Raises InvalidArgument."""
    if _NAME.fullmatch(name) is None:
        raise InvalidArgument(f"{shown(name)} must be letters, digits and . _ @ - to be the name of a token")
    token = f"{name}.{secrets.token_urlsafe(32)}"
    return token, f"{name} {_hash(token)}"


def parse_hashes(text: str) -> Hashes:
    """Read lines of `name sha256-hex`; empty lines and lines that begin with # are passed over.

    Raises InvalidArgument with the number of the line, never with its text.
    """
    found: dict[str, tuple[str, ...]] = {}
    for number, line in enumerate(text.splitlines(), 1):
        parts = line.split()
        if not parts or parts[0].startswith("#"):
            continue
        if len(parts) != 2 or not _NAME.fullmatch(parts[0]) or not _HASH.fullmatch(parts[1].lower()):  # noqa: PLR2004
            raise InvalidArgument(f"line {number} is not of the form `name sha256-hex`")
        found[parts[0]] = (*found.get(parts[0], ()), parts[1].lower())
    return found


def name_of(header: str, hashes: Hashes) -> str:
    """Return whose token an Authorization header carries. Raises Unauthenticated."""
    scheme, token = header[: len(BEARER)], header[len(BEARER) :].strip()
    if scheme.lower() != BEARER.lower():
        raise Unauthenticated("the authorization must be of the form `Bearer <token>`")
    name = token.rpartition(".")[0]
    given = _hash(token[:_TOKEN_CHARS_MAX])
    # All lines of the name, and one comparison for a name that has none, so that time tells nothing.
    matches = [hmac.compare_digest(given, known) for known in hashes.get(name, (_NO_HASH,))]
    if not any(matches) or name not in hashes:
        raise Unauthenticated("the bearer token is not known here, or no longer")
    return name


def watch_hashes(path: str) -> Watched[Hashes]:
    """Read the server's file now and again when it changes. Raises FailedPrecondition, InvalidArgument."""

    def parse(contents: Sequence[bytes]) -> Hashes:
        try:
            return parse_hashes(contents[0].decode())
        except (InvalidArgument, UnicodeDecodeError) as error:
            raise InvalidArgument(f"{path}: {error}") from None

    return Watched([path], parse)


def watch_token(path: str) -> Watched[str]:
    """Read a caller's own token now and again when it changes. Raises FailedPrecondition."""

    def parse(contents: Sequence[bytes]) -> str:
        token = contents[0].decode(errors="replace").strip()
        if not token or len(token) > _TOKEN_CHARS_MAX or not token.isascii() or not token.isprintable():
            raise InvalidArgument(f"{path} does not hold one bearer token on one line")
        return token

    return Watched([path], parse, is_secret=True)


def _hash(token: str) -> str:
    return hashlib.sha256(token.encode()).hexdigest()


def main(arguments: Sequence[str]) -> int:
    """Make a token and print it with its line."""
    if len(arguments) != 1:
        sys.stderr.write("usage: python -m sax_runtime.tokens <name>\n")
        return 2
    try:
        token, line = new_token(arguments[0])
    except InvalidArgument as error:
        sys.stderr.write(f"{error}\n")
        return 1
    sys.stdout.write(f"token (give it to {arguments[0]}, it is not shown again):  {token}\n")
    sys.stdout.write(f"line for --token_hashes_file:  {line}\n")
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
