"""One decoder, described by data: the sizes and options of a model, and the names and shapes of its tensors.

A family (LLaMA, Gemma, GPT-J, ...) is a `DecoderConfig` plus a map from a checkpoint's names to ours. What
the options mean is computed, obviously and slowly, in `sax_engine.backends.naive`; every backend must
agree with it.

One layer, with x of width `model_dim`:

    sequential:  x = x + attn(norm_a(x));  x = x + ffn(norm_f(x))
    parallel:    x = x + attn(norm_a(x)) + ffn(norm_f(x))          shared_norm: norm_f is norm_a (GPT-J)

Names of tensors. Every matrix is stored output-major, [outputs, inputs], heads before head_dim:

    embed                            [vocab_size, model_dim]       also the output matrix when tied_embedding
    embed_positions                  [max_positions, model_dim]    position == LEARNED
    layers.<i>.attn_norm.scale       [model_dim]                   and .bias for LayerNorm
    layers.<i>.attn.q                [num_heads * head_dim, model_dim]
    layers.<i>.attn.k, attn.v        [num_kv_heads * head_dim, model_dim]
    layers.<i>.attn.{q,k,v}_bias     as their matrix's outputs     qkv_bias
    layers.<i>.attn.o                [model_dim, num_heads * head_dim]
    layers.<i>.attn.o_bias           [model_dim]                   attn_out_bias
    layers.<i>.attn.per_dim_scale    [head_dim]                    per_dim_scale
    layers.<i>.attn.{q,k}_norm       [head_dim]                    qk_norm
    layers.<i>.ffn_norm.scale        [model_dim]                   and .bias; absent with shared_norm
    layers.<i>.ffn.gate              [hidden_dim, model_dim]       gated: goes through the activation
    layers.<i>.ffn.up                [hidden_dim, model_dim]       not gated: goes through the activation
    layers.<i>.ffn.down              [model_dim, hidden_dim]
    layers.<i>.ffn.{gate,up}_bias    [hidden_dim]                  ffn_bias
    layers.<i>.ffn.down_bias         [model_dim]                   ffn_bias
    final_norm.scale                 [model_dim]                   and .bias for LayerNorm
    unembed                          [vocab_size, model_dim]       absent when tied_embedding
    unembed_bias                     [vocab_size]                  unembed_bias

Rows of q and k are in the order that `rotary` needs: HALF_SPLIT pairs dimension i with i + rotary_dim/2
(Hugging Face LLaMA, Gemma, NeoX, Qwen, Mistral), INTERLEAVED pairs 2i with 2i + 1 (Meta's and Pax's LLaMA,
GGUF's LLaMA, GPT-J). A loader that finds the other order changes `rotary`, not the rows.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from enum import Enum


class Norm(Enum):
    """RMS has a scale only; LAYER also subtracts the mean and has a bias. Statistics are float32."""

    RMS = "rms"
    LAYER = "layer"


class Position(Enum):
    """How a token knows where it is. SINUSOIDAL and LEARNED are added to the (scaled) embedding.

    SINUSOIDAL is Pax's: concat(sin, cos) of position / timescale, timescales geometric from 1 to 10 000 over
    model_dim / 2 entries with denominator model_dim / 2 - 1.
    """

    NONE = "none"
    ROTARY = "rotary"
    SINUSOIDAL = "sinusoidal"
    LEARNED = "learned"


class Rotary(Enum):
    """Which dimensions form a pair; see the module's docstring."""

    HALF_SPLIT = "half_split"
    INTERLEAVED = "interleaved"


class Activation(Enum):
    """Function between the two FFN products. GELU_TANH is the tanh approximation, GELU the error function."""

    SILU = "silu"
    GELU_TANH = "gelu_tanh"
    GELU = "gelu"
    RELU = "relu"


@dataclass(frozen=True, kw_only=True, slots=True)
class RopeScaling:
    """LLaMA 3.1's rule for long contexts (reference: Meta's llama-models, `apply_scaling`).

    Wavelengths under original_max_len / high_freq_factor stay, those over original_max_len / low_freq_factor
    are divided by `factor`, between them the two are blended linearly. `low_freq_factor == high_freq_factor`
    is refused; for plain linear interpolation set `linear`, which divides every frequency.
    """

    factor: float
    low_freq_factor: float = 1.0
    high_freq_factor: float = 4.0
    original_max_len: int = 8192
    linear: bool = False


@dataclass(frozen=True, kw_only=True, slots=True)
class DecoderConfig:
    """Sizes and options of one decoder. Defaults are LLaMA's; a family file states every difference.

    norm_plus_one: multiply by (1 + scale) instead of scale.   rotary_dim: leading dims of a head that turn
    (None: all). max_positions: positions beyond the last entry of a rotary or learned table are clamped to
    it (None: max_len). query_scale: None is head_dim ** -0.5; ignored with per_dim_scale, which multiplies
    queries by
    1.442695041 / sqrt(head_dim) * softplus(s).   Caps c give c * tanh(x / c); None is no cap.
    sliding_window: a token sees itself and the window - 1 tokens before it.
    """

    vocab_size: int
    num_layers: int
    model_dim: int
    hidden_dim: int
    num_heads: int
    num_kv_heads: int
    head_dim: int
    max_len: int
    norm: Norm = Norm.RMS
    norm_eps: float = 1e-5
    norm_plus_one: bool = False
    position: Position = Position.ROTARY
    rotary: Rotary = Rotary.HALF_SPLIT
    rotary_dim: int | None = None
    rope_theta: float = 10_000.0
    rope_scaling: RopeScaling | None = None
    max_positions: int | None = None
    activation: Activation = Activation.SILU
    gated: bool = True
    parallel_residual: bool = False
    shared_norm: bool = False
    qkv_bias: bool = False
    attn_out_bias: bool = False
    ffn_bias: bool = False
    unembed_bias: bool = False
    qk_norm: bool = False
    per_dim_scale: bool = False
    query_scale: float | None = None
    attention_cap: float | None = None
    logits_cap: float | None = None
    sliding_window: int | None = None
    tied_embedding: bool = False
    embedding_scale: float = 1.0

    def __post_init__(self) -> None:
        """Refuse combinations that mean nothing."""
        if self.num_heads % self.num_kv_heads:
            raise ValueError(
                f"{self.num_heads} heads cannot share {self.num_kv_heads} key/value heads evenly"
            )
        if self.shared_norm and not self.parallel_residual:
            raise ValueError("shared_norm needs parallel_residual")
        turned = self.rotary_dim if self.rotary_dim is not None else self.head_dim
        if self.position is Position.ROTARY and (turned % 2 or not 0 < turned <= self.head_dim):
            raise ValueError(f"rotary_dim is {turned}; it must be even and at most head_dim {self.head_dim}")
        scaling = self.rope_scaling
        if scaling and not scaling.linear and scaling.low_freq_factor >= scaling.high_freq_factor:
            raise ValueError("rope_scaling needs low_freq_factor < high_freq_factor")

    @property
    def positions_table_len(self) -> int:
        """Entries of the position table; later positions are clamped to the last."""
        return self.max_positions if self.max_positions is not None else self.max_len


def param_shapes(config: DecoderConfig) -> dict[str, tuple[int, ...]]:
    """Say every tensor the decoder needs, by canonical name, in the order in which a backend reads them."""
    shapes: dict[str, tuple[int, ...]] = {"embed": (config.vocab_size, config.model_dim)}
    if config.position is Position.LEARNED:
        shapes["embed_positions"] = (config.positions_table_len, config.model_dim)
    for index in range(config.num_layers):
        shapes |= {f"layers.{index}.{name}": shape for name, shape in _layer_shapes(config)}
    shapes |= dict(_norm_shapes(config, "final_norm"))
    if not config.tied_embedding:
        shapes["unembed"] = (config.vocab_size, config.model_dim)
    if config.unembed_bias:
        shapes["unembed_bias"] = (config.vocab_size,)
    return shapes


def _layer_shapes(config: DecoderConfig) -> Iterator[tuple[str, tuple[int, ...]]]:
    """Shapes of one layer, names without the `layers.<i>.` prefix."""
    width, hidden = config.model_dim, config.hidden_dim
    queries, keys = config.num_heads * config.head_dim, config.num_kv_heads * config.head_dim
    yield from _norm_shapes(config, "attn_norm")
    for name, outputs in (("q", queries), ("k", keys), ("v", keys)):
        yield f"attn.{name}", (outputs, width)
        if config.qkv_bias:
            yield f"attn.{name}_bias", (outputs,)
    if config.per_dim_scale:
        yield "attn.per_dim_scale", (config.head_dim,)
    if config.qk_norm:
        yield "attn.q_norm", (config.head_dim,)
        yield "attn.k_norm", (config.head_dim,)
    yield "attn.o", (width, queries)
    if config.attn_out_bias:
        yield "attn.o_bias", (width,)
    if not config.shared_norm:
        yield from _norm_shapes(config, "ffn_norm")
    for name in ("gate", "up") if config.gated else ("up",):
        yield f"ffn.{name}", (hidden, width)
        if config.ffn_bias:
            yield f"ffn.{name}_bias", (hidden,)
    yield "ffn.down", (width, hidden)
    if config.ffn_bias:
        yield "ffn.down_bias", (width,)


def _norm_shapes(config: DecoderConfig, name: str) -> Iterator[tuple[str, tuple[int, ...]]]:
    yield f"{name}.scale", (config.model_dim,)
    if config.norm is Norm.LAYER:
        yield f"{name}.bias", (config.model_dim,)
