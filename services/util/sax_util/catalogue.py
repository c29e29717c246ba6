"""All subcommands as data: names, arguments, flags, help. The code of each is imported when it runs.

So `saxutil help` and a wrong command line cost no import of gRPC, and the usage texts cannot drift from
what is parsed.
"""

from __future__ import annotations

from dataclasses import dataclass

from sax_util.goflags import Duration, Flag

_OUTPUT = Flag("output", "", 'form of the result: "json", or empty for a table')
_EXTRA = Flag("extra", "", "extra inputs: name:value,name:value; a quoted value is a string")
_PROXY = Flag("proxy", "", "address to call instead of looking the model up in its cell")

TOP_FLAGS = (
    Flag("sax_root", "", "root of all cells: a directory or gs://bucket/path; the default is $SAX_ROOT"),
    Flag("sax_timeout", Duration("60s"), "how long one command may take"),
    _OUTPUT,
    Flag(
        "alsologtostderr", default=False, help="accepted for scripts of the original; errors always go there"
    ),
    Flag("logtostderr", default=False, help="accepted for scripts of the original"),
    Flag("stderrthreshold", "", "accepted for scripts of the original"),
    Flag("log_dir", "", "accepted for scripts of the original; no log files are written"),
    Flag("log_backtrace_at", "", "accepted for scripts of the original"),
    Flag("vmodule", "", "accepted for scripts of the original"),
    Flag("v", 0, "1 or more: print tracebacks of unexpected errors"),
)


@dataclass(frozen=True, slots=True)
class Command:
    """One subcommand. `most` None means any number of arguments; `runner` is ``module:function``.

    A blocking one runs on the main thread with a `Client`, the others on an event loop with an `AsyncClient`.
    """

    name: str
    arguments: str
    synopsis: str
    least: int
    most: int | None
    runner: str
    flags: tuple[Flag, ...] = ()
    is_blocking: bool = False

    @property
    def usage(self) -> str:
        """The text that `help <name>` prints, flags included."""
        flags = " [flags]" if self.flags else ""
        arguments = f" {self.arguments}" if self.arguments else ""
        return f"{self.name}{flags}{arguments}:\n\t{self.synopsis}\n"


_ADMIN, _LM, _ACL, _CHAT = "commands_admin", "commands_lm", "commands_acl", "commands_chat"
_CELLS, _SERVERS, _DOCTOR = "commands_cells", "commands_servers", "commands_doctor"
_CSV = Flag("csv", default=False, help="print comma-separated values instead of tables")

COMMANDS = (
    Command("help", "[subcommand]", "describe subcommands and their syntax", 0, 1, "commands_help:show_help"),
    Command(
        "flags",
        "[subcommand]",
        "describe the top-level flags or those of a subcommand",
        0,
        1,
        "commands_help:show_flags",
    ),
    Command("commands", "", "list all subcommand names", 0, 0, "commands_help:show_commands"),
    Command(
        "ls",
        "<path>",
        "list cells (/sax), the models of a cell (/sax/<cell>) or one model",
        1,
        1,
        f"{_ADMIN}:ls",
        (
            _CSV,
            Flag("details", default=True, help="what a model is and where it is served"),
            Flag("acls", default=True, help="who may call the methods of a model"),
            Flag("status", default=False, help="the state of each replica of a model"),
            _OUTPUT,
        ),
    ),
    Command(
        "publish",
        "<model ID> <model path> <checkpoint path> <number of replicas> [<key>=<value> ...]",
        "publish a model",
        4,
        None,
        f"{_ADMIN}:publish",
    ),
    Command("unpublish", "<model ID>", "take a model away", 1, 1, f"{_ADMIN}:unpublish"),
    Command(
        "update",
        "<model ID>",
        "change the number of replicas of a model",
        1,
        1,
        f"{_ADMIN}:update",
        (Flag("replicas", -1, "new number of replicas"),),
    ),
    Command(
        "update_checkpoint",
        "<model ID> <checkpoint path>",
        "load another checkpoint into a model",
        2,
        2,
        f"{_ADMIN}:update_checkpoint",
        (Flag("allow_downtime", default=False, help="even if nobody serves the model while it loads"),),
    ),
    Command(
        "watch",
        "<model ID>",
        "print where a model is served, now and at every change",
        1,
        1,
        f"{_ADMIN}:watch",
    ),
    Command(
        "stats",
        "<cell or model ID>",
        "count model servers by kind and by what they can serve",
        1,
        1,
        f"{_SERVERS}:stats",
        (_CSV, _OUTPUT),
    ),
    Command(
        "servers",
        "<cell>",
        "list the model servers of a cell: kind, status, models, queue, memory",
        1,
        1,
        f"{_SERVERS}:servers",
        (_CSV, _OUTPUT),
    ),
    Command(
        "drain",
        "[<cell>] <server address>",
        "move all models of a model server elsewhere and give it none until undrain",
        1,
        2,
        f"{_SERVERS}:drain",
        (Flag("wait", default=False, help="return only when the server is empty"),),
    ),
    Command(
        "undrain",
        "[<cell>] <server address>",
        "give a drained model server models again",
        1,
        2,
        f"{_SERVERS}:undrain",
    ),
    Command(
        "create",
        "<cell> <directory or gs://bucket/path of its state> <admin ACL>",
        "make a cell; the ACL acl/all lets everybody publish",
        3,
        3,
        f"{_CELLS}:create",
    ),
    Command(
        "delete",
        "<cell>",
        "remove a cell and its state for good, after asking",
        1,
        1,
        f"{_CELLS}:delete",
        (Flag("force", default=False, help="even if models are published or its admin server runs"),),
    ),
    Command(
        "state",
        "verify | history | restore | export <cell> [<record>]",
        "check the state records of a cell, tell its history, go back to a record, export for originals",
        2,
        4,
        "commands_state:state",
        (_CSV, Flag("original", default=False, help="export as an original admin's state.proto"), _OUTPUT),
    ),
    Command(
        "doctor",
        "[<cell>]",
        "check root, cells, admin servers, model servers and models, and say what to do",
        0,
        1,
        f"{_DOCTOR}:doctor",
        (_OUTPUT,),
    ),
    Command("getacl", "<cell> | <model ID> [all | <method>]", "print an ACL", 1, 2, f"{_ACL}:getacl"),
    Command(
        "setacl",
        "<cell> <ACL> | <model ID> [<method>] <ACL>",
        "set an ACL; an empty one removes it",
        2,
        3,
        f"{_ACL}:setacl",
    ),
    Command(
        "lm.generate",
        "<model ID> <query, or - for standard input>",
        "let a language model continue a text",
        2,
        2,
        f"{_LM}:generate",
        (
            _EXTRA,
            _PROXY,
            Flag("stream", default=False, help="print the text while it is made"),
            Flag("terse", default=False, help="print texts only, best first"),
            Flag("n", 0, "print at most so many samples; 0 prints all"),
            _OUTPUT,
        ),
    ),
    Command(
        "lm.score",
        "<model ID> <prefix> <suffix>...",
        "let a language model score suffixes of a text",
        3,
        None,
        f"{_LM}:score",
        (_EXTRA, _PROXY, _OUTPUT),
    ),
    Command(
        "lm.embed",
        "<model ID> <text>",
        "let a language model embed a text",
        2,
        2,
        f"{_LM}:embed",
        (_EXTRA, _PROXY, _OUTPUT),
    ),
    Command(
        "chat",
        "<model ID>",
        "talk with a model through its chat template",
        1,
        1,
        f"{_CHAT}:chat",
        (
            _PROXY,
            Flag("system", "", "what the model is told before the conversation"),
            Flag("max_tokens", 0, "longest answer in tokens; 0 leaves it to the model"),
            Flag("temperature", "", "randomness of the answers; 0 is none, empty leaves it to the model"),
            Flag("seed", -1, "same seed, same answers; -1 leaves it open"),
        ),
        is_blocking=True,
    ),
)

BY_NAME = {command.name: command for command in COMMANDS}
