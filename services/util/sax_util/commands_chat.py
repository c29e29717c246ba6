"""`chat`: a conversation with a model through its own chat template.

Every turn sends the whole conversation as messages; the answer is printed as it is made. Ctrl-C stops an
answer (what was said so far stays in the conversation), a second Ctrl-C, Ctrl-D or ``/quit`` ends the
program, ``/new`` starts over.
"""

from __future__ import annotations

import asyncio
import sys
from typing import TYPE_CHECKING

from sax_client import ChatMessage, GenerateOptions
from sax_common.errors import SaxError

from sax_util.commands_lm import model_of
from sax_util.context import CommandFailed, say, write

if TYPE_CHECKING:
    from sax_client import ModelClient

    from sax_util.context import Call

PROMPT = "> "


async def chat(call: Call) -> int:
    """Talk until Ctrl-D or /quit; status 1 when the last answer failed and nobody can see it."""
    model, options = model_of(call), _options(call)
    system = call.text_flag("system")
    start = [ChatMessage("system", system)] if system else []
    turns = list(start)
    is_terminal = sys.stdin.isatty()
    if is_terminal:
        say(f"Talking with {model.model_id}. /new starts over, /quit or Ctrl-D ends.")
    while True:
        line = await _read_line(is_terminal=is_terminal)
        if line is None or line == "/quit":
            return 0
        if line == "/new":
            turns = list(start)
        elif line:
            turns.append(ChatMessage("user", line))
            try:
                answer = await _answer(model, turns, options, call.timeout_s)
            except SaxError as error:
                if not is_terminal:
                    raise
                turns.pop()
                say(f"\n{error.message}")
            else:
                turns.append(ChatMessage("assistant", answer))


async def _read_line(*, is_terminal: bool) -> str | None:
    """One line from standard input without its end; None at the end of input."""
    if is_terminal:
        write(PROMPT)
    # A daemon thread would outlive Ctrl-C; the loop's executor is waited for only until the line ends.
    line = await asyncio.to_thread(sys.stdin.readline)
    return line.strip() if line else None


async def _answer(
    model: ModelClient, turns: list[ChatMessage], options: GenerateOptions, timeout_s: float
) -> str:
    text = ""
    async for chunk in model.generate_stream("", messages=turns, options=options, timeout_s=timeout_s):
        write(chunk.samples[0].delta)
        text = chunk.samples[0].text
    write("\n")
    return text


def _options(call: Call) -> GenerateOptions:
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
