"""The guard of a server: may this caller make this call. One place for gRPC and HTTP.

The life of a call here. `GrpcServer.add` asks the guard for a `check` of each method, and `require_rules`
has made sure that each has a rule. When a call comes, `calls` runs the check before it decodes a byte of
the request: who calls (`identity`), what rule (`access_rules`), yes or no (`sax_common.access.decide`).
The answer stays in a context variable, so that a handler whose decision needs more than the rule asks
`caller()`. HTTP requests go through `http_guard`, which asks the same guard.

With access control off there is no check at all, and messages of a stream never meet one.

Owned by the event loop; the files it follows may be read from anywhere.
"""

import copy
from collections.abc import Callable, Iterable, Mapping
from contextvars import ContextVar

import grpc
from sax_common.access import NOBODY, Access, AclTable, Need, Rule, Verdict, check_advertised, decide
from sax_common.errors import FailedPrecondition

from sax_runtime import access_rules, identity
from sax_runtime.addresses import split_host_port
from sax_runtime.identity import Shown
from sax_runtime.logs import get_logger
from sax_runtime.tokens import Hashes
from sax_runtime.watched_files import Watched

Check = Callable[[grpc.aio.ServicerContext], None]

_log = get_logger(__name__)
_caller: ContextVar[Access] = ContextVar("sax_caller")


def caller() -> Access:
    """Return who makes the call that is being handled; `Access()` (off) outside one."""
    return _caller.get(NOBODY)


class MissingRule(FailedPrecondition):
    """An RPC or route is registered that no rule speaks about: a server must not start so."""


class Guard:
    """Judges callers by the files it was given. `Guard()` is off and lets everybody in.

    `cell` is the cell's short name ("" for a server of all cells).
    """

    def __init__(
        self,
        *,
        acls: Watched[AclTable] | None = None,
        hashes: Watched[Hashes] | None = None,
        cell: str = "",
        has_client_certificates: bool = False,
    ) -> None:
        self.cell = cell
        self._cell_acl: Callable[[], str] = lambda: ""
        self._acls = acls
        self._hashes = hashes
        self._has_client_certificates = has_client_certificates

    @property
    def is_on(self) -> bool:
        """Say whether callers are asked anything."""
        return self._acls is not None

    def with_cell_acl(self, cell_acl: Callable[[], str]) -> "Guard":
        """Return a guard that also knows the cell's admin list as it is now; for the admin server."""
        knowing = copy.copy(self)
        knowing._cell_acl = cell_acl  # noqa: SLF001 - a copy of our own.
        return knowing

    def access(self, shown_by: Shown) -> Access:
        """Return the caller before the lists in force now.

        Raises Unauthenticated, PermissionDenied or InvalidArgument for what cannot be believed.
        """
        if self._acls is None:
            return NOBODY
        table = self._acls.get()
        hashes = self._hashes.get() if self._hashes is not None else {}
        return Access(
            principal=identity.principal_of(shown_by, cell=self.cell, table=table, hashes=hashes),
            table=table,
            cell_acl=self._cell_acl(),
            needs_join_role=self._has_client_certificates or bool(table.roles),
        )

    def enter(self, rule: Rule, shown_by: Shown, what: str) -> Access:
        """Let the caller do `what`, or raise the refusal; `caller()` says from now on who it is."""
        if rule.need is Need.NOTHING:
            return NOBODY  # Whatever is shown: a probe with an old token is a probe.
        access = self.access(shown_by)
        verdict = decide(rule, access, what)
        if verdict.refusal is not None:
            _log.info("refused", what=what, who=access.who or "nobody known", needs=str(rule))
            raise verdict.refusal
        _caller.set(access)
        return access

    def check_of(self, name: str, rules: Mapping[str, Rule]) -> Check | None:
        """Return what to ask the callers of one gRPC method (`sax.Admin/List`); None when off.

        Raises MissingRule.
        """
        require_rules([name], rules)
        if not self.is_on:
            return None
        rule = rules[name]

        def check(context: grpc.aio.ServicerContext) -> None:
            shown_by = identity.shown_over_grpc(
                context.auth_context() or {}, context.invocation_metadata() or ()
            )
            self.enter(rule, shown_by, name)

        return check


def require_rules(names: Iterable[str], rules: Mapping[str, Rule] = access_rules.GRPC_RULES) -> None:
    """Raise MissingRule naming every RPC or route that has no rule."""
    missing = sorted(set(names) - rules.keys())
    if missing:
        raise MissingRule(f"no access rule for {', '.join(missing)}: add one to sax_runtime.access_rules")


def check_join(addresses: Iterable[str], peer: str, access: Access) -> None:
    """Raise PermissionDenied unless the caller may advertise all `addresses` (`host:port`, empty skipped).

    `peer` is gRPC's own word for where the call comes from.
    """
    for address in addresses:
        if access.is_on and address:
            host = identity.normal_host(split_host_port(address)[0])
            verdict: Verdict = check_advertised(host, identity.peer_host(peer), access)
            if verdict.refusal is not None:
                raise verdict.refusal


def warn_if_exposed(address: str, *, has_tls: bool, has_acls: bool) -> bool:
    """Say loudly that a listener beyond this machine lacks TLS or access control (DESIGN D18), if it does.

    Returns whether it said so.
    """
    lacks = [
        word
        for word, has in (("TLS (--tls_cert_file)", has_tls), ("access control (--acl_file)", has_acls))
        if not has
    ]
    if lacks:
        _log.warning(
            f"listening beyond this machine without {' and without '.join(lacks)}: "
            "whoever reaches this port can use it",
            address=address,
        )
    return bool(lacks)
