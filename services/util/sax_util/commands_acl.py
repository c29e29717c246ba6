"""`getacl` and `setacl`: who may change a cell or a model, and who may call its methods."""

from __future__ import annotations

from typing import TYPE_CHECKING

from sax_client import acls
from sax_common import names

from sax_util.commands_admin import CELL_PARTS, admin_of
from sax_util.context import write
from sax_util.goflags import UsageError

if TYPE_CHECKING:
    from sax_util.context import Call

METHOD_ARGS = 3


async def getacl(call: Call) -> int:
    """Print one ACL, or the sentence that says there is none."""
    name = call.args[0]
    if name.count("/") == CELL_PARTS:
        if len(call.args) > 1:
            raise UsageError("a cell has one ACL: getacl <cell>")
        acl = await acls.cell_acl(call.client, name)
        write(f"{acl or 'No admin ACLs set for cell.'}\n")
        return 0
    model = await admin_of(call, name).list(name, timeout_s=call.timeout_s)
    if len(call.args) == 1:
        write(f"{model.admin_acl or 'No admin ACLs set for model.'}\n")
    elif call.args[1] == "all":
        lines = [f"{method}: {acl}" for method, acl in sorted(model.acls.items())]
        write("".join(f"{line}\n" for line in lines or ["No ACLs set for model."]))
    else:
        method = names.check_data_method(call.args[1])
        write(f"{model.acls.get(method) or 'No ACLs set for method.'}\n")
    return 0


async def setacl(call: Call) -> int:
    """Set one ACL; silent."""
    name, acl = call.args[0], call.args[-1]
    if name.count("/") == CELL_PARTS:
        if len(call.args) == METHOD_ARGS:
            raise UsageError("a cell has one ACL: setacl <cell> <ACL>")
        await acls.set_cell_acl(call.client, name, acl)
    elif len(call.args) == METHOD_ARGS:
        await acls.set_method_acl(admin_of(call, name), name, call.args[1], acl, timeout_s=call.timeout_s)
    else:
        names.check_acl_name(acl)
        await admin_of(call, name).update(name, admin_acl=acl, timeout_s=call.timeout_s)
    return 0
