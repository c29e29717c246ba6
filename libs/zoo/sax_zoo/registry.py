"""The registry: which name a publisher may ask for, and which class that is.

A model path is a key of this table and never an import path (DESIGN D11): what a publisher sends can choose
between classes that the server's operator installed, and nothing else. The table is filled at process start
by `load_modules`: our own catalogue, the modules named by entry points of installed packages (group
`sax.servables`), and those of the server's `--servable_modules` flag.

Names under `saxml.server.` can be asked for without that prefix too, as in the original.
"""

import difflib
import importlib
import re
from collections.abc import Callable, Iterable
from importlib.metadata import entry_points
from typing import Final, TypeVar

from sax_common.errors import InvalidArgument
from sax_common.names import check_model_path, shown

from sax_zoo.platform import Platform
from sax_zoo.servable import ServableModel

ROOT: Final = "saxml.server."
ENTRY_POINT_GROUP: Final = "sax.servables"
CATALOGUE: Final = ("sax_zoo.models.hf", "sax_zoo.models.lm_cloud")

Servable = TypeVar("Servable", bound=type[ServableModel])

_classes: Final[dict[str, type[ServableModel]]] = {}


def register(name: str) -> Callable[[Servable], Servable]:
    """Make a class known as `name` (a decorator). Raises ValueError when the name means another already."""
    check_model_path(name)

    def add(cls: Servable) -> Servable:
        known = _classes.setdefault(name, cls)
        if known is not cls:
            raise ValueError(f"{name} is registered twice: {known.__module__} and {cls.__module__}")
        return cls

    return add


def load_modules(names: Iterable[str] = ()) -> None:
    """Import what registers classes: the catalogue, installed entry points, and the operator's own modules.

    Raises InvalidArgument naming the module that cannot be imported. Called once, before the server listens.
    """
    installed = [point.value for point in entry_points(group=ENTRY_POINT_GROUP)]
    for module in (*CATALOGUE, *installed, *names):
        try:
            importlib.import_module(module)
        except ImportError as error:
            raise InvalidArgument(f"Servable module {module} cannot be imported: {error}") from error


def lookup(model_path: str, model_filter: str | None = None) -> type[ServableModel]:
    """Find the class of a full name or an alias. Raises InvalidArgument with near matches.

    `model_filter` is `--model_filter_regex`: a full match on the path as given; what it leaves out is
    unknown.
    """
    check_model_path(model_path)
    cls = _classes.get(model_path) or _classes.get(ROOT + model_path)
    if cls is not None and _passes(model_path, model_filter):
        return cls
    known = {name for full in _classes for name in (full, alias(full)) if _passes(name, model_filter)}
    near = difflib.get_close_matches(model_path, sorted(known), n=3, cutoff=0.5)
    hint = f" Did you mean {' or '.join(near)}?" if near else ""
    raise InvalidArgument(f"Model path {shown(model_path)} is not registered on this server.{hint}")


def servable_paths(model_filter: str | None, platform: Platform) -> list[str]:
    """Names to advertise: every class that this platform can serve, full name and alias, sorted.

    The filter applies to full names, as in the original; an alias comes with its full name.
    """
    paths: set[str] = set()
    for name, cls in _classes.items():
        if _passes(name, model_filter) and cls.why_not(platform) is None:
            paths |= {name, alias(name)}
    return sorted(paths)


def registered() -> dict[str, type[ServableModel]]:
    """A copy of the table: full name -> class, sorted by name."""
    return dict(sorted(_classes.items()))


def alias(name: str) -> str:
    """The short form of a full name; the name itself when it has none."""
    return name.removeprefix(ROOT)


def _passes(name: str, model_filter: str | None) -> bool:
    return model_filter is None or re.fullmatch(model_filter, name) is not None
