"""Chat templates: a conversation to the text that the model was taught on.

A template is a program from whoever published the checkpoint, so it runs in jinja2's immutable sandbox with
a budget: every turn of a loop and every call of a macro takes one step, the clock is looked at as well, and
what the template adds beyond the messages is bounded (reliability 5.3.6: 100 ms and 64 KiB). A template over
its budget fails that request, never the server.

The variables are those that `transformers` gives: messages, add_generation_prompt, bos_token, eos_token, ...
"""

import json
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

import jinja2
from jinja2 import nodes
from jinja2.exceptions import SecurityError
from jinja2.sandbox import ImmutableSandboxedEnvironment
from sax_common.errors import InvalidArgument

ADDED_CHARS_MAX: Final = 64 * 1024
RENDER_MS_MAX: Final = 100.0
STEPS_MAX: Final = 100_000
SOURCE_CHARS_MAX: Final = 256 * 1024
REPEAT_MAX: Final = 64 * 1024
_TICK: Final = "__tick__"


@dataclass(frozen=True, slots=True)
class ChatMessage:
    """One turn of a conversation."""

    role: str
    content: str


class _Environment(ImmutableSandboxedEnvironment):
    """The sandbox, with `*` and `**` bounded: 'x' * 10**9 would be one step and a gigabyte."""

    intercepted_binops = frozenset({"*", "**"})

    def call_binop(self, context: Any, operator: str, left: Any, right: Any) -> Any:
        del context
        if operator == "*" and all(isinstance(value, int | float) for value in (left, right)):
            return left * right
        if (
            operator == "*"
            and isinstance(right, int)
            and hasattr(left, "__len__")
            and len(left) * right <= REPEAT_MAX
        ):
            return left * right
        raise SecurityError(f"this use of {operator} is not allowed in a chat template")


class ChatTemplate:
    """A compiled template. Immutable after construction; may be rendered by several threads at once."""

    def __init__(self, source: str, special_texts: Mapping[str, str]) -> None:
        if len(source) > SOURCE_CHARS_MAX:
            raise InvalidArgument(
                f"The chat template has {len(source)} characters; at most {SOURCE_CHARS_MAX} are accepted."
            )
        environment = _Environment(
            trim_blocks=True, lstrip_blocks=True, extensions=["jinja2.ext.loopcontrols"]
        )
        environment.globals["raise_exception"] = _refuse
        # jinja2's own escapes for HTML, which is not what a model was taught.
        environment.filters["tojson"] = _json
        self._special_texts = dict(special_texts)
        try:
            tree = _with_ticks(environment.parse(source))
            self._template = environment.from_string(tree)
        except (jinja2.TemplateError, RecursionError) as error:
            raise InvalidArgument(f"The checkpoint's chat template does not compile: {error}") from error

    def render(self, messages: Sequence[ChatMessage]) -> str:
        """Render a conversation, ready for the assistant's answer.

        Raises InvalidArgument with the template's own complaint.
        """
        budget = _Budget()
        chars_max = ADDED_CHARS_MAX + 2 * sum(len(message.content) for message in messages)
        variables = {
            **self._special_texts,
            "messages": [{"role": message.role, "content": message.content} for message in messages],
            "add_generation_prompt": True,
            "tools": None,
            "documents": None,
            _TICK: budget.tick,
        }
        parts: list[str] = []
        length = 0
        try:
            for part in self._template.generate(variables):
                length += len(part)
                if length > chars_max:
                    raise InvalidArgument(f"The chat template wrote more than {chars_max} characters.")
                parts.append(part)
        except (
            jinja2.TemplateError,
            ArithmeticError,
            AttributeError,
            LookupError,
            TypeError,
            ValueError,
            RecursionError,
        ) as error:
            raise InvalidArgument(
                f"The checkpoint's chat template refused this conversation: {error}"
            ) from error
        return "".join(parts)


class _Budget:
    """Steps and time of one rendering."""

    def __init__(self) -> None:
        self._steps = 0
        self._end = time.thread_time() + RENDER_MS_MAX / 1000

    def tick(self) -> str:
        self._steps += 1
        if self._steps > STEPS_MAX or time.thread_time() > self._end:
            raise SecurityError(f"it took more than {STEPS_MAX} steps or {RENDER_MS_MAX:g} ms")
        return ""


def _with_ticks(tree: nodes.Template) -> nodes.Template:
    """Put one step of the budget at the head of every loop and macro body: nothing else can run for long."""
    kinds = (nodes.For, nodes.Macro, nodes.CallBlock)
    for part in tree.find_all(kinds):
        call = nodes.Call(nodes.Name(_TICK, "load"), [], [], None, None)
        if isinstance(part, kinds):  # Always so; it tells the type checker.
            part.body.insert(0, nodes.Output([call]))
    tree.set_lineno(1)
    tree.set_environment(tree.environment)  # type: ignore[arg-type]  # Set by parse(); the stub allows None.
    return tree


def _json(value: object, indent: int | None = None) -> str:
    return json.dumps(value, ensure_ascii=False, indent=indent)


def _refuse(message: str) -> str:
    raise jinja2.TemplateError(message)
