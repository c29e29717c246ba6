"""The serving template of language models: the original's attributes with their defaults.

The table is model_server.md 3.2. A class of the zoo is a subclass that sets some of these numbers. A
publisher may override them. What an attribute means is said where it is used: prompts in `lm.model`,
decoding in `lm.decoding`, sizes in `lm.sizing`. Attributes whose feature this server does not have yet are
kept, because published configurations name them, and `check` refuses every value but the one that switches
the feature off: nothing is ignored in silence.
"""

import math
from collections.abc import Mapping
from typing import Any, Final

from sax_common.errors import InvalidArgument, Unimplemented

from sax_zoo.extra_inputs import Spec
from sax_zoo.servable import MethodSpec, ServableModel

Number = float | int | tuple[float, ...] | str | None

KNOWN_EXTRA_INPUTS: Final = frozenset(
    {
        "temperature",
        "per_example_max_decode_steps",
        "per_example_top_k",
        "per_example_top_p",
        "eos_id",
        "gumbel_prng_key",
        "num_per_token_logprobs",
    }
)
"""Keys that `lm.decoding` reads."""


class LanguageModelTemplate(ServableModel):
    """Attributes of a servable language model. Abstract: a family adds `load`."""

    # How many at once.
    BATCH_SIZE: int | tuple[int, ...] = 1
    MAX_LIVE_BATCHES: int = 4
    BATCH_WAIT_SECS: float | None = None
    NUM_CACHE_SLOTS: int = 0

    # Lengths, in tokens. The prompt's includes the start token.
    # INPUT_SEQ_LEN and MAX_DECODE_STEPS None: up to the model's context.
    INPUT_SEQ_LEN: int | None = 256
    SUFFIX_SEQ_LEN: int = 0
    MAX_DECODE_STEPS: int | tuple[int, ...] | None = 32
    MAX_SEQ_LEN: int | None = None

    # Choosing tokens.
    NUM_SAMPLES: int = 2
    TOP_K: int = 40
    TEMPERATURE: float = 0.0
    SORT_SAMPLES: bool = True
    STREAM_INTERVAL_STEPS: int = 1

    # Which methods.
    SCORE_ONLY: bool = False
    GENERATE_ONLY: bool = False
    ENABLE_GENERATE: bool = True
    ENABLE_GENERATE_STREAM: bool = False

    # Text.
    SPM_MODEL: str | None = None
    SOS_ID: int = 0
    EOS_ID: int = 1
    STOP_TOKEN_IDS: tuple[int, ...] | None = None
    PREPEND_SOS: bool = True
    VOCAB_SIZE: int = 32000

    # Extra inputs: declared keys with their defaults.
    EXTRA_INPUTS: Mapping[str, Number] = {"temperature": 0.1}
    EXTRA_INPUTS_DTYPES: Mapping[str, str] = {}
    SCORE_EXTRA_INPUTS: Mapping[str, Number] = {}

    # Scores.
    SCORING_INCLUDE_EOS_SCORE: bool = False
    SCORING_USE_GEOMEAN_PROB_SCORE: bool = False
    GENERATION_USE_GEOMEAN_PROB_SCORE: bool = False

    # Ours: how the engine computes and how much it may hold.
    FPROP_DTYPE: str = "bfloat16"
    """Weights and activations: bfloat16 or float32."""
    KV_CACHE_BYTES: int | None = None
    """Memory for keys and values;

    None: room for every row, at most 2 GiB, at least one full-length sequence.
    """

    # How the original computed the same thing. The engine batches, pads and shares prompts by itself, so no
    # value changes an answer.
    BUCKET_KEYS: tuple[int, ...] | None = None
    FPROP_FOR_PREFIX: bool = True
    SUPPORT_LAZY_PREFIX_BROADCAST: bool = True
    EMB_LOOKUP_STYLE: str = "index"
    DECODE_MESH_TRANSPOSE: Mapping[str, str] | None = None
    POLYMORPHIC_SEQ_LEN_EXCLUSION: tuple[int, ...] | None = None
    SLICE_LEFT: bool = True

    # Features that are not here yet: only these values are accepted.
    FAIL_ON_INPUT_TRUNCATION: bool = True
    TOP_K_RECALL_TARGET: float = 1.0
    FETCH_PREFIX_LENGTHS_FROM_INPUTS: bool = False
    USE_BEAM_SEARCH: bool = False
    INCLUDE_PREFIX_IN_RESULT: bool = False
    TOKENIZED_INPUT: bool = False
    TOKENIZED_OUTPUT: bool = False
    GLOBAL_NORMALIZE: bool = False
    USE_TOP_K_FOR_LOGPROBS: bool = False
    EOS_PADDING_AND_NO_SOS: bool = False
    NUM_EXTRA_IDS: int = 0
    PRECOMPUTE_KV_CACHE_PREFIX: str | None = None
    VOCABULARY_CLASS: str | None = None
    VOCABULARY_PATH: str | None = None
    TEXT_TO_EMBEDDING_MODEL_METHOD_NAME: str | None = None

    @classmethod
    def methods(cls) -> dict[str, MethodSpec]:
        """Methods of the class: name -> what it takes."""
        largest = max(as_tuple(cls.BATCH_SIZE))
        common: dict[str, Any] = {"batch_size": largest, "extra_inputs": spec(cls.EXTRA_INPUTS)}
        methods: dict[str, MethodSpec] = {}
        if not cls.GENERATE_ONLY:
            # The template passes no max_live_batches to score, which leaves the default (model_server.md
            # 2.4, Score 6).
            methods["lm.score"] = MethodSpec(batch_size=largest, extra_inputs=spec(cls.SCORE_EXTRA_INPUTS))
        if not cls.SCORE_ONLY and cls.ENABLE_GENERATE:
            methods["lm.generate"] = MethodSpec(max_live_batches=cls.MAX_LIVE_BATCHES, **common)
        if not cls.SCORE_ONLY and cls.ENABLE_GENERATE_STREAM:
            methods["lm.generate_stream"] = MethodSpec(
                max_live_batches=cls.MAX_LIVE_BATCHES,
                streamable=True,
                stream_interval=cls.STREAM_INTERVAL_STEPS,
                **common,
            )
        return methods

    @classmethod
    def check(cls) -> None:
        """Refuse attribute values that make no sense or need a feature that is not here.

        Raises, naming the attribute.
        """
        for name in _FEATURES:
            if getattr(cls, name) != getattr(LanguageModelTemplate, name):
                raise Unimplemented(
                    f"{cls.__name__}.{name} = {getattr(cls, name)!r}: this server does not have that feature."
                )
        if math.prod(cls.ICI_MESH_SHAPE) != 1:
            raise Unimplemented(
                f"{cls.__name__}.ICI_MESH_SHAPE is {list(cls.ICI_MESH_SHAPE)}: this server computes on "
                "one device."
            )
        for name, least in _AT_LEAST.items():
            value = getattr(cls, name)
            if value is not None and min(as_tuple(value), default=least - 1) < least:
                raise InvalidArgument(f"{cls.__name__}.{name} is {value}; it must be at least {least}.")
        if cls.FPROP_DTYPE not in {"bfloat16", "float32"}:
            raise InvalidArgument(
                f"{cls.__name__}.FPROP_DTYPE is {cls.FPROP_DTYPE!r}; it must be bfloat16 or float32."
            )
        for name in ("EXTRA_INPUTS", "SCORE_EXTRA_INPUTS"):
            unknown = sorted(set(getattr(cls, name)) - KNOWN_EXTRA_INPUTS)
            if unknown:
                raise InvalidArgument(
                    f"{cls.__name__}.{name} declares {', '.join(unknown)}, which nothing reads; "
                    f"known are {', '.join(sorted(KNOWN_EXTRA_INPUTS))}."
                )


_FEATURES: Final = (
    "FAIL_ON_INPUT_TRUNCATION",
    "TOP_K_RECALL_TARGET",
    "FETCH_PREFIX_LENGTHS_FROM_INPUTS",
    "USE_BEAM_SEARCH",
    "INCLUDE_PREFIX_IN_RESULT",
    "TOKENIZED_INPUT",
    "TOKENIZED_OUTPUT",
    "GLOBAL_NORMALIZE",
    "USE_TOP_K_FOR_LOGPROBS",
    "EOS_PADDING_AND_NO_SOS",
    "NUM_EXTRA_IDS",
    "PRECOMPUTE_KV_CACHE_PREFIX",
    "VOCABULARY_CLASS",
    "VOCABULARY_PATH",
    "TEXT_TO_EMBEDDING_MODEL_METHOD_NAME",
)
_AT_LEAST: Final = {
    "BATCH_SIZE": 1,
    "MAX_LIVE_BATCHES": 1,
    "NUM_CACHE_SLOTS": 0,
    "INPUT_SEQ_LEN": 1,
    "SUFFIX_SEQ_LEN": 0,
    "MAX_DECODE_STEPS": 1,
    "MAX_SEQ_LEN": 2,
    "NUM_SAMPLES": 1,
    "TOP_K": 0,
    "TEMPERATURE": 0,
    "STREAM_INTERVAL_STEPS": 1,
    "KV_CACHE_BYTES": 1,
}


def as_tuple(value: float | tuple[Any, ...]) -> tuple[Any, ...]:
    """One number as a list of one: several attributes accept either."""
    return value if isinstance(value, tuple) else (value,)


def spec(declared: Mapping[str, Number]) -> Spec:
    """Declared extra inputs as the validator wants them."""
    return dict(declared)
