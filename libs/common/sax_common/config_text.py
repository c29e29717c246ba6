"""What a configuration looks like to a person: the --help page, the TOML text, and the kind of each setting.

Used by `config` only. Everything here is a function of pydantic's field descriptions; nothing is parsed or
checked.
"""

import difflib
import json
import types
from collections.abc import Iterable, Mapping
from typing import Any, Union, get_args, get_origin

from pydantic import BaseModel, SecretBytes, SecretStr
from pydantic.fields import FieldInfo

RESERVED = {
    "config_file": "Read settings from this TOML file (setting = value).",
    "print_config": "Print the settings that would be used as TOML and end.",
    "help": "Print this and end.",
}
"""Flags that every program has."""


def help_text(
    config_class: type[BaseModel], *, program: str, description: str, usage: str = "[flags]"
) -> str:
    """Write the page of --help: every flag with type, default, environment variable and meaning."""
    lines = [f"usage: {program} {usage}", "", *([description, ""] if description else [])]
    lines += ["Flags (-x=v, --x=v or --x v; bool: --x, --x=false), over environment, over --config_file:", ""]
    for name, field in config_class.model_fields.items():
        default = "required" if field.is_required() else f"default {_shown_default(field)}"
        lines.append(f"  --{name}  {_type_name(field)}, {default}, {variable(name)}")
        lines.append(f"        {field.description or 'No description.'}")
    for name, meaning in RESERVED.items():
        lines += [f"  --{name}", f"        {meaning}"]
    return "\n".join(lines) + "\n"


def config_text(config: BaseModel, sources: Mapping[str, str]) -> str:
    """Write a configuration as TOML that `--config_file` reads back; secrets are left out."""
    lines = []
    for name, field in type(config).model_fields.items():
        value = getattr(config, name)
        if isinstance(value, SecretStr | SecretBytes) or is_secret(field):
            lines.append(f"# {name} is a secret ({sources.get(name, 'default')})")
        elif value is None:
            lines.append(f"# {name} is not set")
        else:
            lines.append(f"{name} = {_toml(value)}  # {sources.get(name, 'default')}")
    return "\n".join(lines) + "\n"


def variable(name: str) -> str:
    """Name the environment variable of a setting: port -> SAX_PORT, sax_root -> SAX_ROOT."""
    return name.upper() if name.startswith("sax_") else f"SAX_{name.upper()}"


def near(name: str, known: Iterable[str]) -> str:
    """Say what a misspelt setting may have meant; empty when nothing is near."""
    matches = difflib.get_close_matches(name, [*known, *RESERVED], 1)
    return f"; did you mean {matches[0]}?" if matches else ""


def is_bool(field: FieldInfo) -> bool:
    """Say whether a setting is a switch."""
    return _bare(field) is bool


def is_list(field: FieldInfo) -> bool:
    """Say whether a setting holds several values."""
    return (get_origin(_bare(field)) or _bare(field)) in (list, tuple, frozenset, set)


def is_secret(field: FieldInfo) -> bool:
    """Say whether a setting must never be printed."""
    return _bare(field) in (SecretStr, SecretBytes)


def _bare(field: FieldInfo) -> Any:
    """The type without `| None`."""
    annotation = field.annotation
    if get_origin(annotation) in (Union, types.UnionType):
        options = [option for option in get_args(annotation) if option is not type(None)]
        return options[0] if len(options) == 1 else annotation
    return annotation


def _type_name(field: FieldInfo) -> str:
    bare = _bare(field)
    names = {str: "text", int: "integer", float: "number", bool: "true or false", SecretStr: "secret text"}
    return "comma-separated list" if is_list(field) else names.get(bare, str(getattr(bare, "__name__", bare)))


def _shown_default(field: FieldInfo) -> str:
    default = field.get_default(call_default_factory=True, validated_data={})
    return "none" if default is None or is_secret(field) else _toml(default)


def _toml(value: object) -> str:
    """Write one value in TOML, whose text, integers, floats and booleans are nearly those of JSON."""
    if isinstance(value, list | tuple | set | frozenset):
        items = sorted(value) if isinstance(value, set | frozenset) else value
        return f"[{', '.join(_toml(item) for item in items)}]"
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, int | float):
        return repr(value)
    return json.dumps(str(value), ensure_ascii=False).replace("\x7f", "\\u007f")
