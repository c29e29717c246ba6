"""Rotary frequencies as checkpoints describe them.

Hugging Face writes `rope_theta` and `rope_scaling` at the top of config.json, since transformers 5 inside
`rope_parameters`. GGUF writes keys for linear scaling, and for LLaMA 3.1's rule a tensor `rope_freqs.weight`
with one divisor per frequency, from which the rule is recovered. A rule that the engine does not have is
refused: served without it a model would be subtly wrong on long texts.
"""

import math
from collections.abc import Sequence
from typing import Final

from sax_engine.decoder import RopeScaling

from sax_zoo.families.family import Fields

FACTORS_KEY: Final = "rope_freqs.weight"
"""Key under which the GGUF loader puts the values of that tensor, a list of numbers."""
_KNOWN: Final = "default, linear, llama3"


def hf_rope_theta(fields: Fields) -> float:
    """The base of the frequencies."""
    return _parameters(fields).number("rope_theta", fields.number("rope_theta", 10_000.0))


def hf_rope_scaling(fields: Fields) -> RopeScaling | None:
    """The rule for long contexts; None for the plain rotary."""
    rope = _parameters(fields)
    kind = rope.values.get("rope_type", rope.values.get("type", "default"))
    if kind in {"default", None}:
        return None
    if kind == "linear":
        return RopeScaling(factor=rope.number("factor"), linear=True)
    if kind == "llama3":
        return RopeScaling(
            factor=rope.number("factor"),
            low_freq_factor=rope.number("low_freq_factor"),
            high_freq_factor=rope.number("high_freq_factor"),
            original_max_len=rope.integer("original_max_position_embeddings"),
        )
    raise rope.refuse("rope_type", kind, _KNOWN)


def gguf_rope_scaling(fields: Fields, arch: str) -> RopeScaling | None:
    """The rule of a GGUF file: linear by its keys, LLaMA 3.1's by its table of divisors."""
    kind = fields.values.get(f"{arch}.rope.scaling.type", "none")
    factors = fields.values.get(FACTORS_KEY)
    if kind == "linear":
        return RopeScaling(factor=fields.number(f"{arch}.rope.scaling.factor"), linear=True)
    if kind != "none":
        raise fields.refuse(f"{arch}.rope.scaling.type", kind, "none, linear")
    if not factors:
        return None
    scaling = RopeScaling(factor=max(factors))
    expected = llama3_divisors(
        scaling, theta=fields.number(f"{arch}.rope.freq_base", 10_000.0), count=len(factors)
    )
    if any(
        not math.isclose(given, rule, rel_tol=1e-3) for given, rule in zip(factors, expected, strict=True)
    ):
        raise fields.refuse(
            FACTORS_KEY, "another rule than LLaMA 3.1's", "LLaMA 3.1's (low 1, high 4, original context 8192)"
        )
    return scaling


def llama3_divisors(scaling: RopeScaling, *, theta: float, count: int) -> Sequence[float]:
    """What each of `count` frequencies is divided by under LLaMA 3.1's rule (model_server.md 4.1)."""
    divisors = []
    for place in range(count):
        turns = scaling.original_max_len * theta ** (-place / count) / (2 * math.pi)
        blend = (turns - scaling.low_freq_factor) / (scaling.high_freq_factor - scaling.low_freq_factor)
        share = min(max(blend, 0.0), 1.0)
        divisors.append(1 / ((1 - share) / scaling.factor + share))
    return divisors


def _parameters(fields: Fields) -> Fields:
    return fields.section("rope_parameters" if fields.values.get("rope_parameters") else "rope_scaling")
