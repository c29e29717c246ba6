"""The load function of a real server: registry, overrides, checkpoint, all through `sax_zoo`.

Runs on a loader thread. Whatever is wrong with a publish comes out here as a SaxError that names it: the
model path with its near matches, the override key, the checkpoint file, the tensor.
"""

import uuid
from collections.abc import Callable

from sax_common.errors import InvalidArgument
from sax_zoo import loading, overrides, registry
from sax_zoo.checkpoints.source import LoadProgress
from sax_zoo.lm.model import LanguageModel

from sax_model.hosted_model import HostedModel
from sax_model.loader import LoadSpec

DETERMINISTIC_SEED = 1234  # As the original's --deterministic_rng.


class ZooLoader:
    """Loads servables of the registry. Stateless; used by one loader thread at a time."""

    def __init__(self, *, model_filter: str | None, is_deterministic: bool) -> None:
        self._model_filter = model_filter
        self._is_deterministic = is_deterministic

    def __call__(
        self, spec: LoadSpec, *, report: Callable[[LoadProgress], None], is_cancelled: Callable[[], bool]
    ) -> HostedModel:
        """Return the model, ready to serve."""
        cls = overrides.apply(registry.lookup(spec.model_path, self._model_filter), spec.overrides)
        # 63 random bits, as the original; not a secret.
        seed = DETERMINISTIC_SEED if self._is_deterministic else uuid.uuid4().int >> 65
        model = loading.load(cls, spec.checkpoint_path, seed=seed, report=report, is_cancelled=is_cancelled)
        if not isinstance(model, LanguageModel):
            model.close()
            raise InvalidArgument(
                f"{spec.model_path} is not a language model; this server serves no others yet."
            )
        return model
