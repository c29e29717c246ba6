"""What this server needs of a loaded language model; `sax_zoo.lm.model.LanguageModel` is one.

Everything here is called off the device thread. Only `engine` is handed over to it, once, when the lane is
added; from then on nobody else may touch it.
"""

from collections.abc import Mapping, Sequence
from typing import Protocol

from sax_engine.core.engine import Engine
from sax_engine.core.requests import Emission, Request
from sax_zoo.extra_inputs import ExtraInputs
from sax_zoo.lm.calls import GenerateCall
from sax_zoo.servable import MethodSpec


class TextDecoder(Protocol):
    """Turns the tokens of one sample into text as they come."""

    @property
    def stopped(self) -> bool:
        """Whether a stop string was met; the rest of the sample is cut."""

    def push(self, tokens: Sequence[int]) -> str:
        """Return the text that is complete now, always valid UTF-8."""

    def finish(self) -> str:
        """Return what was held back."""


class HostedModel(Protocol):
    """A model that is ready to serve."""

    @property
    def engine(self) -> Engine:
        """The engine, not yet stepped."""

    @property
    def memory_bytes(self) -> int:
        """Device memory held: weights and caches."""

    @property
    def sorts_samples(self) -> bool:
        """Whether samples of a whole answer come best first; those of a stream keep their order."""

    @property
    def methods(self) -> Mapping[str, MethodSpec]:
        """What it can do, by method name such as `lm.generate`."""

    def generate_request(self, request_id: str, call: GenerateCall, *, deadline_ms: int | None) -> Request:
        """Tokenise; raises InvalidArgument. May take long for a long prompt."""

    def score_requests(
        self,
        request_id: str,
        prefix: str,
        suffixes: Sequence[str],
        extra_inputs: ExtraInputs,
        *,
        deadline_ms: int | None,
    ) -> Sequence[Request]:
        """Return one request per suffix."""

    def score_of(self, emissions: Sequence[Emission]) -> float:
        """Return the score of one suffix."""

    def answer_score(self, logprob_sum: float, tokens: int) -> float:
        """Return the score of one generated sample."""

    def stream_decoder(self, stop: Sequence[str] = ()) -> TextDecoder:
        """Return a decoder for one sample, which cuts at the first of the `stop` strings."""

    def decode(self, tokens: Sequence[int]) -> str:
        """Return the text of some tokens."""

    def token_bytes(self, token: int) -> bytes:
        """Return the bytes of one token."""

    def close(self) -> None:
        """Give everything back; called on the device thread once the lane is gone."""
