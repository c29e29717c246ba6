"""Subcommands that call a language model: lm.generate, lm.score, lm.embed."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING

from sax_util.context import CommandFailed, number, write
from sax_util.extra import BadExtraError, parse_extra

if TYPE_CHECKING:
    from sax_client import ExtraInputs, GenerateResult, ModelClient, StreamChunk

    from sax_util.context import Call

CLEAR = "\x1b[H\x1b[2J\x1b[3J"
"""What the program `clear` writes to an ANSI terminal."""


def model_of(call: Call) -> ModelClient:
    """The model that the first argument names, or the `-proxy` target under that name."""
    return call.client.model(call.args[0], call.options)


async def generate(call: Call) -> int:
    """Continue a text; a table, texts only, or a stream."""
    is_stream, is_terse, most = bool(call.flags["stream"]), bool(call.flags["terse"]), int(call.flags["n"])
    if is_stream and (is_terse or most > 0):
        raise CommandFailed("-stream cannot be used together with -terse or -n.")
    query, extra = _text(call.args[1]), _extra(call)
    if is_stream:
        await _stream(call, query, extra)
        return 0
    result = await model_of(call).generate(query, extra=extra, timeout_s=call.timeout_s)
    texts = list(result.texts)
    if is_terse:
        texts.sort(key=lambda text: -text.score)
    texts = texts[:most] if most > 0 else texts
    if call.is_json:
        _show_json(call, result)
    elif is_terse:
        write("".join(f"{text.text}\n" for text in texts))
    else:
        call.show(["Generate", "Score"], [[text.text, number(text.score)] for text in texts])
    return 0


def _show_json(call: Call, result: GenerateResult) -> None:
    usage = result.usage
    call.show_json(
        {
            "texts": [
                {"text": text.text, "score": text.score, "finish_reason": text.finish_reason}
                for text in result.texts
            ],
            "usage": usage
            and {"prompt_tokens": usage.prompt_tokens, "completion_tokens": usage.completion_tokens},
        }
    )


async def _stream(call: Call, query: str, extra: ExtraInputs | None) -> None:
    """Show the texts as they grow: redrawn on a terminal, as they come into a file or pipe."""
    totals: list[list[float]] = []
    last: StreamChunk | None = None
    async for chunk in model_of(call).generate_stream(query, extra=extra, timeout_s=call.timeout_s):
        last = chunk
        for index, sample in enumerate(chunk.samples):
            if index == len(totals):
                totals.append([0.0] * len(sample.scores))
            totals[index] = [total + new for total, new in zip(totals[index], sample.scores, strict=False)]
        if call.is_json:
            call.show_json({"deltas": [sample.delta for sample in chunk.samples]})
        elif sys.stdout.isatty():
            write(CLEAR + "".join(f"{sample.text}\n\n" for sample in chunk.samples))
        elif len(chunk.samples) == 1:
            write(chunk.samples[0].delta)
    if last is None or call.is_json:
        return
    if not sys.stdout.isatty():
        several = len(last.samples) > 1
        write("".join(f"{sample.text}\n\n" for sample in last.samples) if several else "\n\n")
    write(score_lines(totals, [list(sample.scores) for sample in last.samples]))


def score_lines(totals: list[list[float]], last: list[list[float]]) -> str:
    """The lines after a stream; both arguments are [sample][kind of score]."""
    if all(len(scores) == 1 for scores in totals):
        return f"Scores: {', '.join(number(scores[0]) for scores in totals)}\n"
    kinds = range(min(map(len, totals)))
    lines = [
        f"Total Scores[{kind}]: {', '.join(number(scores[kind]) for scores in totals)}" for kind in kinds
    ]
    lines += [
        "",
        *(f"Last Score[{kind}]: {', '.join(number(scores[kind]) for scores in last)}" for kind in kinds),
    ]
    return "".join(f"{line}\n" for line in lines)


async def score(call: Call) -> int:
    """Score suffixes; the results are shared out evenly over the rows."""
    _, prefix, *suffixes = call.args
    scores = await model_of(call).score(prefix, suffixes, extra=_extra(call), timeout_s=call.timeout_s)
    each = len(scores) // len(suffixes)
    shares = [scores[index * each : (index + 1) * each] for index in range(len(suffixes))]
    if call.is_json:
        rows = [{"suffix": suffix, "scores": share} for suffix, share in zip(suffixes, shares, strict=True)]
        call.show_json({"results": rows})
        return 0
    # As wide as all results together, as the original draws it: N suffixes give N - 1 empty columns.
    blanks = [""] * (len(scores) - each)
    call.show(
        ["Suffix", "Score"],
        [[suffix, *map(number, share), *blanks] for suffix, share in zip(suffixes, shares, strict=True)],
    )
    return 0


async def embed(call: Call) -> int:
    """Embed a text."""
    values = await model_of(call).embed(_text(call.args[1]), extra=_extra(call), timeout_s=call.timeout_s)
    if call.is_json:
        call.show_json({"embedding": values})
    else:
        call.show(["Text", "Embedding"], [[call.args[1], ", ".join(map(number, values))]])
    return 0


def _text(argument: str) -> str:
    """The query: the argument itself, or all of standard input for ``-``."""
    if argument != "-":
        return argument
    data = sys.stdin.buffer.read()
    try:
        return data.decode()
    except UnicodeDecodeError as error:
        raise CommandFailed(f"Standard input is not UTF-8: {error.reason} at byte {error.start}.") from None


def _extra(call: Call) -> ExtraInputs | None:
    try:
        return parse_extra(call.text_flag("extra"))
    except BadExtraError as error:
        raise CommandFailed(f"{error}.") from None
