"""`chat`: a conversation with a model through its own chat template.

Every turn sends the whole conversation as messages; the answer is printed as it is made. Ctrl-C during an
answer stops it (what was said so far stays in the conversation); at the prompt Ctrl-C, Ctrl-D and ``/quit``
end the program, ``/new`` starts over. It runs on the main thread, because that is where `input` edits lines
and hears Ctrl-C.
"""

from __future__ import annotations

import contextlib
import importlib
import sys
from typing import TYPE_CHECKING

from sax_client import ChatMessage, GenerateOptions
from sax_common.errors import SaxError

from sax_util.context import CommandFailed, say, write

if TYPE_CHECKING:
    from sax_client.sync import SyncModelClient

    from sax_util.context import BlockingCall

PROMPT = "> "


def chat(call: BlockingCall) -> int:
    """Talk until Ctrl-D or /quit; a failed answer ends it unless a person is there to try again."""
    model = call.client.model(call.args[0], call.options)
    options, system = _options(call), call.text_flag("system")
    start = [ChatMessage("system", system)] if system else []
    turns = list(start)
    is_terminal = sys.stdin.isatty()
    if is_terminal:
        with contextlib.suppress(ImportError):
            importlib.import_module("readline")  # Line editing and history, where Python has them.
        say(f"Talking with {model.model_id}. /new starts over, /quit or Ctrl-D ends.")
    while (line := _read_line(is_terminal=is_terminal)) not in {None, "/quit"}:
        if line == "/new":
            turns = list(start)
        elif line:
            turns.append(ChatMessage("user", line))
            try:
                turns.append(ChatMessage("assistant", _answer(model, turns, options)))
            except SaxError as error:
                if not is_terminal:
                    raise
                turns.pop()
                say(f"\n{error.message}")
    return 0


def _read_line(*, is_terminal: bool) -> str | None:
    """One line without blanks at its ends; None at the end of input."""
    try:
        return input(PROMPT if is_terminal else "").strip()
    except EOFError:
        if is_terminal:
            say("")
        return None
    except UnicodeDecodeError as error:
        raise CommandFailed(f"Standard input is not UTF-8: {error.reason}.") from None


def _answer(model: SyncModelClient, turns: list[ChatMessage], options: GenerateOptions) -> str:
    text = ""
    try:
        for chunk in model.generate_stream("", messages=turns, options=options):
            text = chunk.samples[0].text  # Before it is shown: Ctrl-C may come as soon as it is.
            write(chunk.samples[0].delta)
    except KeyboardInterrupt:
        text = text or "..."  # A turn may not be empty; the chat template would run two questions together.
    write("\n")
    return text


def _options(call: BlockingCall) -> GenerateOptions:
    temperature = call.text_flag("temperature")
    try:
        wanted = float(temperature) if temperature else None
    except ValueError:
        raise CommandFailed(f"-temperature must be a number, not {temperature!r}.") from None
    max_tokens, seed = int(call.flags["max_tokens"]), int(call.flags["seed"])
    return GenerateOptions(
        max_tokens=max_tokens if max_tokens > 0 else None,
        temperature=wanted,
        seed=seed if seed >= 0 else None,
        num_samples=1,
    )
