"""The access control file: lists, groups and roles, in TOML.

    [acl]
    "acl/ops" = ["alice", "group:team"]
    "acl/data" = ["group:users"]          # what data methods without a list of their own inherit

    [group]
    team = ["bob", "spiffe://test/operator/carol"]
    users = ["group:team", "dave"]

    [role]                                # for tokens and certificates without a spiffe:// name
    admin = ["admin-1"]
    modelserver = ["group:servers"]

A member is the name of a principal (the name of a token, the common name or a URI of a certificate) or
`group:<name>`. Groups may hold groups, but not themselves. `acl/all` cannot be redefined. What this file does
not say is refused when it is read, not ignored: a misspelt key in a list of permissions is a hole.
"""

import re
import tomllib
from collections.abc import Mapping, Sequence
from typing import Any

from sax_common.access import ALL, AclTable, Role
from sax_common.errors import InvalidArgument, SaxError
from sax_common.names import check_acl_name, shown

from sax_runtime.watched_files import Watched

GROUP_PREFIX = "group:"
_SECTIONS = ("acl", "group", "role")
_MEMBER = re.compile(r"[\w.@/:+-]{1,256}", re.ASCII)


def watch_acl_file(path: str) -> Watched[AclTable]:
    """Read the file now and again when it changes. Raises FailedPrecondition or InvalidArgument."""

    def parse(contents: Sequence[bytes]) -> AclTable:
        try:
            return parse_acls(contents[0].decode())
        except (SaxError, UnicodeDecodeError) as error:
            raise InvalidArgument(f"{path}: {error}") from error

    return Watched([path], parse)


def parse_acls(text: str) -> AclTable:
    """Read the file's text. Raises InvalidArgument saying which entry is wrong and why."""
    try:
        document = tomllib.loads(text)
    except tomllib.TOMLDecodeError as error:
        raise InvalidArgument(f"not a TOML file: {error}") from error
    for section in document:
        if section not in _SECTIONS:
            raise InvalidArgument(f"unknown section [{section}]: there are [acl], [group] and [role]")
    groups = _sets(document, "group")
    lists = {}
    for name, members in _sets(document, "acl").items():
        if not name or check_acl_name(name) == ALL:
            raise InvalidArgument(f"{name!r} cannot be defined: it means everybody who is known")
        lists[name] = _expanded(members, groups, f"[acl] {name}")
    roles = {}
    for name, members in _sets(document, "role").items():
        if name not in set(Role):
            raise InvalidArgument(f"unknown role {name!r}: there are {', '.join(sorted(Role))}")
        roles[Role(name)] = _expanded(members, groups, f"[role] {name}")
    for name, members in groups.items():
        _expanded(members, groups, f"[group] {name}")
    return AclTable(lists=lists, roles=roles)


def _sets(document: Mapping[str, Any], section: str) -> dict[str, list[str]]:
    table = document.get(section, {})
    if not isinstance(table, dict):
        raise InvalidArgument(f"[{section}] must be a table")
    for name, members in table.items():
        where = f"[{section}] {name}"
        if not isinstance(members, list) or not all(isinstance(member, str) for member in members):
            raise InvalidArgument(f'{where} must be a list of names such as ["alice", "group:team"]')
        for member in members:
            if _MEMBER.fullmatch(member) is None:
                raise InvalidArgument(f"{where}: {shown(member)} is not the name of a principal or group")
    return table


def _expanded(members: Sequence[str], groups: Mapping[str, Sequence[str]], where: str) -> frozenset[str]:
    """Replace groups by their members, however deep; a group that holds itself is an error."""
    found: set[str] = set()
    _collect(members, groups, where, (), found)
    return frozenset(found)


def _collect(
    members: Sequence[str],
    groups: Mapping[str, Sequence[str]],
    where: str,
    path: tuple[str, ...],
    found: set[str],
) -> None:
    for member in members:
        group = member.removeprefix(GROUP_PREFIX)
        if group == member:
            found.add(member)
        elif group in path:
            raise InvalidArgument(f"{where}: group {group} holds itself ({' > '.join((*path, group))})")
        elif group not in groups:
            raise InvalidArgument(f"{where}: there is no group {group}")
        else:
            _collect(groups[group], groups, where, (*path, group), found)
