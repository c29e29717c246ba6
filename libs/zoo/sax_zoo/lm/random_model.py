"""Classes whose sizes are written down, as Pax's are: attributes in, decoder out.

A family subclasses `RandomDecoder`, says how its numbers make a `DecoderConfig`, and its members are a few
lines each. With the word None as checkpoint a `test_mode` class is loaded with random weights; checkpoints
of these classes (Pax's format) are not read yet and are refused.
"""

from abc import abstractmethod
from importlib import resources
from pathlib import Path

from sax_common.errors import InvalidArgument, NotFound, Unimplemented
from sax_engine.decoder import DecoderConfig

from sax_zoo.checkpoints.locate import NO_CHECKPOINT
from sax_zoo.lm.building import build
from sax_zoo.lm.model import LanguageModel
from sax_zoo.lm.template import LanguageModelTemplate
from sax_zoo.random_weights import random_parameters
from sax_zoo.servable import LoadContext
from sax_zoo.text.spm import MODEL_BYTES_MAX, SpmSettings, from_spm
from sax_zoo.text.tokenizer import Tokenizer


class RandomDecoder(LanguageModelTemplate):
    """A decoder of declared sizes. Names are those of the original's experiment classes."""

    NUM_LAYERS: int = 1
    MODEL_DIMS: int = 1
    HIDDEN_DIMS: int = 1
    NUM_HEADS: int = 1
    DIMS_PER_HEAD: int = 1

    @classmethod
    @abstractmethod
    def decoder(cls) -> DecoderConfig:
        """The decoder of the class's numbers."""

    @classmethod
    def load(cls, context: LoadContext) -> LanguageModel:
        """Make random weights layer by layer.

        Raises InvalidArgument for a checkpoint argument that does not fit the class.
        """
        cls.check()
        cls._check_checkpoint(context.checkpoint_path)
        config = cls._checked_decoder()
        tokenizer = open_spm(cls)
        parameters = random_parameters(
            config,
            seed=context.seed,
            dtype=cls.FPROP_DTYPE,
            report=context.report,
            check_cancelled=context.check_cancelled,
        )
        stop_ids = frozenset(cls.STOP_TOKEN_IDS if cls.STOP_TOKEN_IDS is not None else (cls.EOS_ID,))
        return build(cls, config, parameters, tokenizer, context, stop_ids=stop_ids)

    @classmethod
    def _check_checkpoint(cls, path: str) -> None:
        if path != NO_CHECKPOINT:
            raise Unimplemented(
                f"Checkpoint {path}: {cls.__name__} reads Pax checkpoints, which this server cannot "
                f"yet. {cls._hint()}"
            )
        if not cls.test_mode:
            raise InvalidArgument(f"{cls.__name__} needs a checkpoint; None is only for test classes.")

    @classmethod
    def _hint(cls) -> str:
        return "Publish it with None for random weights." if cls.test_mode else ""

    @classmethod
    def _checked_decoder(cls) -> DecoderConfig:
        try:
            return cls.decoder()
        except (ValueError, ZeroDivisionError) as error:
            raise InvalidArgument(f"{cls.__name__}: {error}.") from error


def open_spm(cls: type[LanguageModelTemplate]) -> Tokenizer:
    """The class's SentencePiece model: a path, or the bare name of one that ships with this package."""
    name = cls.SPM_MODEL
    if name is None:
        raise InvalidArgument(f"{cls.__name__} has no SPM_MODEL.")
    shipped = resources.files("sax_zoo") / "data" / name
    if "/" not in name and shipped.is_file():
        data = shipped.read_bytes()
    else:
        path = Path(name)
        if not path.is_file():
            raise NotFound(f"{cls.__name__}.SPM_MODEL {name} does not exist on this model server.")
        data = path.read_bytes() if path.stat().st_size <= MODEL_BYTES_MAX else b""
    start = cls.SOS_ID if cls.PREPEND_SOS else None
    return from_spm(data, SpmSettings(start_id=start, eos_ids=frozenset({cls.EOS_ID})), name)
