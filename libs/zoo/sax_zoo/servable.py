"""What every registered class is: something that knows where it can run and how to load itself.

    publish hf.CausalLM /models/smol ──► registry.lookup ──► overrides.apply (a subclass with new attributes)
        ──► cls.load(context) on a loader thread ──► LoadedModel, driven by the model server

Attributes in capitals are the class's template: numbers that a family file sets and a publisher may
override. A servable class has no instances; it is a bundle of numbers with a loader. To define one of your
own, subclass `lm.template.LanguageModelTemplate` (or a family's class), register it, and name its module in
an entry point or in `--servable_modules`.
"""

import math
from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Protocol

from sax_zoo.checkpoints.source import LoadProgress
from sax_zoo.extra_inputs import Spec
from sax_zoo.platform import Platform


@dataclass(frozen=True, kw_only=True, slots=True)
class MethodSpec:
    """One method of a loaded model, as the server's admission needs it.

    At most `batch_size * max_live_batches` calls are admitted at once. `stream_interval` is tokens per
    message of a stream.
    """

    extra_inputs: Spec = field(default_factory=dict)
    batch_size: int = 1
    max_live_batches: int = 4
    streamable: bool = False
    stream_interval: int = 1


class LoadedModel(Protocol):
    """A model that is ready.

    Which further methods it has depends on its kind (see `lm.model.LanguageModel`).
    """

    @property
    def methods(self) -> Mapping[str, MethodSpec]:
        """Method name (`lm.generate`) -> what it takes."""

    @property
    def memory_bytes(self) -> int:
        """Memory that the model holds: weights and caches."""

    def close(self) -> None:
        """Give all of it back."""


@dataclass(frozen=True, kw_only=True, slots=True)
class LoadContext:
    """What a loader is given.

    `checkpoint_path` is the publisher's words (`None` is a word); `seed` decides all randomness.
    `check_cancelled` raises Cancelled when the load is not wanted any more; loaders call it between tensors.
    """

    checkpoint_path: str
    seed: int
    report: Callable[[LoadProgress], None]
    check_cancelled: Callable[[], None]


class ServableModel(ABC):
    """Base of every registered class. Never instantiated."""

    ICI_MESH_SHAPE: tuple[int, ...] = (1, 1, 8)
    """Device mesh (replica, data_mdl2, mdl); the product is the number of devices."""
    test_mode: bool = False
    """Random weights when the checkpoint is the word None.

    Not a template attribute: a publisher cannot switch it on.
    """

    @classmethod
    def why_not(cls, platform: Platform) -> str | None:
        """Say why this platform cannot serve the class; None when it can."""
        needed = math.prod(cls.ICI_MESH_SHAPE)
        if needed != platform.devices:
            mesh = list(cls.ICI_MESH_SHAPE)
            return f"its mesh {mesh} needs {needed} devices and the server has {platform.devices}"
        return None

    @classmethod
    @abstractmethod
    def load(cls, context: LoadContext) -> LoadedModel:
        """Load the model. Runs on a loader thread; raises SaxError with file and tensor, or Cancelled."""
