"""From what a caller said to how the engine shall decode: extra inputs and options, resolved.

For each question (how warm, how many, when to stop) the answer is the option if it is set, else the extra
input the client sent, else the class's default. The meanings are the original's (model_server.md 2.6, 5.2,
5.3):

    temperature                    0 is argmax                    per_example_max_decode_steps   min(value,
    MAX_DECODE_STEPS) per_example_top_k              min(value, TOP_K)              per_example_top_p
    nucleus at temperature 1; >= 1 keeps all eos_id                         a stop sequence, padded with
    zeros on the left; replaces the stop ids gumbel_prng_key                the noise's key; 15753 = not set
    num_per_token_logprobs         alternatives reported per token, at most 5

A value of None is "disabled". TOP_K 1 is argmax whatever else is said; TOP_K 0 is the whole vocabulary.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final

from sax_common.errors import InvalidArgument
from sax_engine.core.requests import SamplingParams

from sax_zoo.extra_inputs import Value
from sax_zoo.lm.calls import GenerateOptions

SAMPLES_MAX: Final = 8
STOP_STRINGS_MAX: Final = 16
STOP_BYTES_MAX: Final = 256
TOP_LOGPROBS_MAX: Final = 20
PER_TOKEN_LOGPROBS_MAX: Final = 5
NO_NOISE_KEY: Final = 15753


@dataclass(frozen=True, kw_only=True, slots=True)
class DecodingRules:
    """What a class says about decoding. `decode_steps_max` None: up to the context."""

    top_k: int
    temperature: float
    num_samples: int
    decode_steps_max: int | None
    stop_ids: frozenset[int]


@dataclass(frozen=True, kw_only=True, slots=True)
class Decoding:
    """How one request is decoded.

    `steps` is the wish (None: as many as fit). `steps_are_exact` says that the caller counted on it (an
    option), so too long a prompt is an error and not a shorter answer.
    """

    sampling: SamplingParams
    steps: int | None
    steps_are_exact: bool
    num_samples: int
    top_logprobs: int
    stop_ids: frozenset[int]
    stop_sequences: tuple[tuple[int, ...], ...]


def resolve(
    rules: DecodingRules, values: Mapping[str, Value], options: GenerateOptions, *, seed: int
) -> Decoding:
    """Decide how to decode. Raises InvalidArgument naming the extra input or option that is out of range.

    `values` are validated extra inputs with defaults filled in; `seed` is used when the caller brought none.
    """
    check_stop_strings(options.stop)
    sequence = _stop_sequence(values)
    return Decoding(
        sampling=_sampling(rules, values, options, seed),
        steps=_steps(rules, values, options),
        steps_are_exact=options.max_tokens is not None,
        num_samples=_within("options.num_samples", options.num_samples, 1, SAMPLES_MAX) or rules.num_samples,
        top_logprobs=_top_logprobs(values, options),
        stop_ids=frozenset() if sequence else rules.stop_ids,
        stop_sequences=(sequence,) if sequence else (),
    )


def check_stop_strings(stop: tuple[str, ...]) -> None:
    """Refuse too many, too long or empty stop strings."""
    if len(stop) > STOP_STRINGS_MAX:
        raise InvalidArgument(
            f"options.stop has {len(stop)} strings; at most {STOP_STRINGS_MAX} are accepted."
        )
    for text in stop:
        size = len(text.encode("utf-8", "replace"))
        if not 1 <= size <= STOP_BYTES_MAX:
            raise InvalidArgument(
                f"options.stop holds a string of {size} bytes; 1 to {STOP_BYTES_MAX} are accepted."
            )


def _sampling(
    rules: DecodingRules, values: Mapping[str, Value], options: GenerateOptions, seed: int
) -> SamplingParams:
    temperature = _at_least_zero("temperature", values, "temperature", options.temperature)
    top_p = _at_least_zero("per_example_top_p", values, "top_p", options.top_p)
    noise = _whole("gumbel_prng_key", values, least=0)
    if options.seed is not None:
        seed = options.seed & (2**64 - 1)
    elif noise is not None and noise != NO_NOISE_KEY:
        seed = noise
    warm = rules.temperature if temperature is None else temperature
    return SamplingParams(
        temperature=0.0 if rules.top_k == 1 else warm,
        top_k=_top_k(rules, values, options),
        top_p=1.0 if top_p is None else min(top_p, 1.0),
        seed=seed,
    )


def _top_k(rules: DecodingRules, values: Mapping[str, Value], options: GenerateOptions) -> int:
    """TOP_K is what the class's sampler looks at; a request can narrow it and never widen it."""
    sent = _whole("per_example_top_k", values, least=1)
    option = options.top_k
    if option is not None and option < 0:
        raise InvalidArgument(
            f"options.top_k is {option}; it must be at least 0 (0 or absent: as the model is configured)."
        )
    if rules.top_k == 0:
        return option or 0  # per_example_top_k is ignored here, as the original does.
    return min(option or sent or rules.top_k, rules.top_k)


def _steps(rules: DecodingRules, values: Mapping[str, Value], options: GenerateOptions) -> int | None:
    sent = _whole("per_example_max_decode_steps", values, least=1)
    if options.max_tokens is not None:
        if options.max_tokens < 1:
            raise InvalidArgument(f"options.max_tokens is {options.max_tokens}; it must be at least 1.")
        sent = options.max_tokens
    limits = [limit for limit in (sent, rules.decode_steps_max) if limit is not None]
    return min(limits, default=None)


def _top_logprobs(values: Mapping[str, Value], options: GenerateOptions) -> int:
    if options.top_logprobs is not None:
        return _within("options.top_logprobs", options.top_logprobs, 0, TOP_LOGPROBS_MAX) or 0
    sent = _whole("num_per_token_logprobs", values, least=0) or 0
    if sent > PER_TOKEN_LOGPROBS_MAX:
        raise InvalidArgument(
            f"Extra input num_per_token_logprobs is {sent}; at most {PER_TOKEN_LOGPROBS_MAX} are given."
        )
    return sent


def _stop_sequence(values: Mapping[str, Value]) -> tuple[int, ...]:
    """Tokens of `eos_id` without the zeros that pad it on the left; () when there is none."""
    sent = values.get("eos_id")
    if sent is None:
        return ()
    numbers = (sent,) if isinstance(sent, int | float) else tuple(sent)
    tokens = [
        int(number)
        for number in numbers
        if isinstance(number, int | float) and number >= 0 and number == int(number)
    ]
    if len(tokens) != len(numbers):
        raise InvalidArgument(f"Extra input eos_id is {list(numbers)}; it must be a list of token ids.")
    while tokens and tokens[0] == 0:
        tokens.pop(0)
    return tuple(tokens)


def _at_least_zero(
    key: str, values: Mapping[str, Value], option_name: str, option: float | None
) -> float | None:
    name, value = f"Extra input {key}", values.get(key)
    if option is not None:
        name, value = f"options.{option_name}", option
    if value is None:
        return None
    if not isinstance(value, int | float) or not 0 <= value < float("inf"):
        raise InvalidArgument(f"{name} is {value}; it must be a number of at least 0.")
    return float(value)


def _whole(key: str, values: Mapping[str, Value], *, least: int) -> int | None:
    value = values.get(key)
    if value is None:
        return None
    if not isinstance(value, int | float) or value != int(value) or value < least:
        raise InvalidArgument(f"Extra input {key} is {value}; it must be a whole number of at least {least}.")
    return int(value)


def _within(name: str, value: int | None, least: int, most: int) -> int | None:
    if value is not None and not least <= value <= most:
        raise InvalidArgument(f"{name} is {value}; it must be between {least} and {most}.")
    return value
