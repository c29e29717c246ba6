"""LLaMA and the decoders that differ from it in a few numbers: Mistral, SmolLM, Qwen 2 and Qwen 3.

Hugging Face stores q and k for half-split rotary; GGUF stores them interleaved for its "llama" architecture
(which includes Mistral and SmolLM) and half-split for "qwen2"/"qwen3".
"""

from collections.abc import Mapping
from typing import Final

from sax_engine.decoder import Activation, DecoderConfig, RopeScaling, Rotary

from sax_zoo.families.family import Family, Fields
from sax_zoo.families.rope import gguf_rope_scaling, hf_rope_scaling, hf_rope_theta

Shapes = Mapping[str, tuple[int, ...]]

_ACTIVATIONS: Final = {
    "silu": Activation.SILU,
    "swish": Activation.SILU,
    "gelu": Activation.GELU,
    "gelu_pytorch_tanh": Activation.GELU_TANH,
    "gelu_new": Activation.GELU_TANH,
    "relu": Activation.RELU,
}

HF_NAMES: Final = {
    "embed": "model.embed_tokens.weight",
    "layers.{i}.attn_norm.scale": "model.layers.{i}.input_layernorm.weight",
    "layers.{i}.attn.q": "model.layers.{i}.self_attn.q_proj.weight",
    "layers.{i}.attn.k": "model.layers.{i}.self_attn.k_proj.weight",
    "layers.{i}.attn.v": "model.layers.{i}.self_attn.v_proj.weight",
    "layers.{i}.attn.o": "model.layers.{i}.self_attn.o_proj.weight",
    "layers.{i}.attn.q_bias": "model.layers.{i}.self_attn.q_proj.bias",
    "layers.{i}.attn.k_bias": "model.layers.{i}.self_attn.k_proj.bias",
    "layers.{i}.attn.v_bias": "model.layers.{i}.self_attn.v_proj.bias",
    "layers.{i}.attn.o_bias": "model.layers.{i}.self_attn.o_proj.bias",
    "layers.{i}.attn.q_norm": "model.layers.{i}.self_attn.q_norm.weight",
    "layers.{i}.attn.k_norm": "model.layers.{i}.self_attn.k_norm.weight",
    "layers.{i}.ffn_norm.scale": "model.layers.{i}.post_attention_layernorm.weight",
    "layers.{i}.ffn.gate": "model.layers.{i}.mlp.gate_proj.weight",
    "layers.{i}.ffn.up": "model.layers.{i}.mlp.up_proj.weight",
    "layers.{i}.ffn.down": "model.layers.{i}.mlp.down_proj.weight",
    "layers.{i}.ffn.gate_bias": "model.layers.{i}.mlp.gate_proj.bias",
    "layers.{i}.ffn.up_bias": "model.layers.{i}.mlp.up_proj.bias",
    "layers.{i}.ffn.down_bias": "model.layers.{i}.mlp.down_proj.bias",
    "final_norm.scale": "model.norm.weight",
    "unembed": "lm_head.weight",
}

GGUF_NAMES: Final = {
    "embed": "token_embd.weight",
    "layers.{i}.attn_norm.scale": "blk.{i}.attn_norm.weight",
    "layers.{i}.attn.q": "blk.{i}.attn_q.weight",
    "layers.{i}.attn.k": "blk.{i}.attn_k.weight",
    "layers.{i}.attn.v": "blk.{i}.attn_v.weight",
    "layers.{i}.attn.o": "blk.{i}.attn_output.weight",
    "layers.{i}.attn.q_bias": "blk.{i}.attn_q.bias",
    "layers.{i}.attn.k_bias": "blk.{i}.attn_k.bias",
    "layers.{i}.attn.v_bias": "blk.{i}.attn_v.bias",
    "layers.{i}.attn.o_bias": "blk.{i}.attn_output.bias",
    "layers.{i}.attn.q_norm": "blk.{i}.attn_q_norm.weight",
    "layers.{i}.attn.k_norm": "blk.{i}.attn_k_norm.weight",
    "layers.{i}.ffn_norm.scale": "blk.{i}.ffn_norm.weight",
    "layers.{i}.ffn.gate": "blk.{i}.ffn_gate.weight",
    "layers.{i}.ffn.up": "blk.{i}.ffn_up.weight",
    "layers.{i}.ffn.down": "blk.{i}.ffn_down.weight",
    "layers.{i}.ffn.gate_bias": "blk.{i}.ffn_gate.bias",
    "layers.{i}.ffn.up_bias": "blk.{i}.ffn_up.bias",
    "layers.{i}.ffn.down_bias": "blk.{i}.ffn_down.bias",
    "final_norm.scale": "output_norm.weight",
    "unembed": "output.weight",
}


def _from_hf(
    fields: Fields, *, qkv_bias: bool, out_bias: bool, qk_norm: bool, window: int | None
) -> DecoderConfig:
    heads = fields.integer("num_attention_heads")
    width = fields.integer("hidden_size")
    head_dim = fields.integer("head_dim", width // heads)
    activation = fields.values.get("hidden_act", "silu")
    if activation not in _ACTIVATIONS:
        raise fields.refuse("hidden_act", activation, ", ".join(_ACTIVATIONS))
    rotary_share = fields.number("partial_rotary_factor", 1.0)
    max_len = fields.integer("max_position_embeddings")
    return DecoderConfig(
        vocab_size=fields.integer("vocab_size"),
        num_layers=fields.integer("num_hidden_layers"),
        model_dim=width,
        hidden_dim=fields.integer("intermediate_size"),
        num_heads=heads,
        num_kv_heads=fields.integer("num_key_value_heads", heads),
        head_dim=head_dim,
        max_len=max_len,
        norm_eps=fields.number("rms_norm_eps", 1e-6),
        rotary=Rotary.HALF_SPLIT,
        rotary_dim=int(head_dim * rotary_share),
        rope_theta=hf_rope_theta(fields),
        rope_scaling=hf_rope_scaling(fields),
        activation=_ACTIVATIONS[activation],
        qkv_bias=qkv_bias,
        attn_out_bias=out_bias,
        ffn_bias=fields.flag("mlp_bias"),
        qk_norm=qk_norm,
        sliding_window=window if window is not None and window < max_len else None,
        tied_embedding=fields.flag("tie_word_embeddings"),
    )


def _hf_llama(fields: Fields, shapes: Shapes) -> DecoderConfig:
    del shapes
    bias = fields.flag("attention_bias")
    return _from_hf(fields, qkv_bias=bias, out_bias=bias, qk_norm=False, window=None)


def _hf_mistral(fields: Fields, shapes: Shapes) -> DecoderConfig:
    del shapes
    window = fields.integer("sliding_window") if fields.values.get("sliding_window") is not None else None
    return _from_hf(fields, qkv_bias=False, out_bias=False, qk_norm=False, window=window)


def _hf_qwen2(fields: Fields, shapes: Shapes) -> DecoderConfig:
    del shapes
    return _from_hf(fields, qkv_bias=True, out_bias=False, qk_norm=False, window=_qwen_window(fields))


def _hf_qwen3(fields: Fields, shapes: Shapes) -> DecoderConfig:
    del shapes
    bias = fields.flag("attention_bias")
    return _from_hf(fields, qkv_bias=bias, out_bias=bias, qk_norm=True, window=_qwen_window(fields))


def _qwen_window(fields: Fields) -> int | None:
    """Say Qwen's window. Layers that differ are more than one decoder configuration can say."""
    if not fields.flag("use_sliding_window"):
        return None
    layers = fields.integer("num_hidden_layers")
    full = fields.values.get("max_window_layers", layers)
    if full >= layers:
        return None
    if full > 0:
        raise fields.refuse("max_window_layers", full, f"0 or {layers} (all layers alike)")
    return fields.integer("sliding_window")


def _from_gguf(fields: Fields, shapes: Shapes, *, rotary: Rotary) -> DecoderConfig:
    arch = str(fields.values["general.architecture"])
    if fields.values.get(f"{arch}.expert_count"):
        raise fields.refuse(
            f"{arch}.expert_count", fields.values[f"{arch}.expert_count"], "decoders without experts"
        )
    heads = fields.integer(f"{arch}.attention.head_count")
    width = fields.integer(f"{arch}.embedding_length")
    head_dim = fields.integer(f"{arch}.attention.key_length", width // heads)
    scaling: RopeScaling | None = gguf_rope_scaling(fields, arch)
    max_len = fields.integer(f"{arch}.context_length")
    window = fields.integer(f"{arch}.attention.sliding_window", max_len)
    return DecoderConfig(
        vocab_size=shapes.get("token_embd.weight", (0,))[0] or fields.integer(f"{arch}.vocab_size"),
        num_layers=fields.integer(f"{arch}.block_count"),
        model_dim=width,
        hidden_dim=fields.integer(f"{arch}.feed_forward_length"),
        num_heads=heads,
        num_kv_heads=fields.integer(f"{arch}.attention.head_count_kv", heads),
        head_dim=head_dim,
        max_len=max_len,
        norm_eps=fields.number(f"{arch}.attention.layer_norm_rms_epsilon"),
        rotary=rotary,
        rotary_dim=fields.integer(f"{arch}.rope.dimension_count", head_dim),
        rope_theta=fields.number(f"{arch}.rope.freq_base", 10_000.0),
        rope_scaling=scaling,
        qkv_bias="blk.0.attn_q.bias" in shapes,
        attn_out_bias="blk.0.attn_output.bias" in shapes,
        ffn_bias="blk.0.ffn_up.bias" in shapes,
        qk_norm="blk.0.attn_q_norm.weight" in shapes,
        sliding_window=window if window < max_len else None,
        tied_embedding="output.weight" not in shapes,
    )


def _gguf_llama(fields: Fields, shapes: Shapes) -> DecoderConfig:
    return _from_gguf(fields, shapes, rotary=Rotary.INTERLEAVED)


def _gguf_qwen(fields: Fields, shapes: Shapes) -> DecoderConfig:
    return _from_gguf(fields, shapes, rotary=Rotary.HALF_SPLIT)


_FREQUENCIES: Final = (r"(model\.)?(layers\.[0-9]+\.self_attn\.)?rotary_emb\.inv_freq",)

HF_FAMILIES: Final = (
    Family(architectures=("LlamaForCausalLM",), config=_hf_llama, names=HF_NAMES, ignored=_FREQUENCIES),
    Family(architectures=("MistralForCausalLM",), config=_hf_mistral, names=HF_NAMES, ignored=_FREQUENCIES),
    Family(architectures=("Qwen2ForCausalLM",), config=_hf_qwen2, names=HF_NAMES, ignored=_FREQUENCIES),
    Family(architectures=("Qwen3ForCausalLM",), config=_hf_qwen3, names=HF_NAMES, ignored=_FREQUENCIES),
)
GGUF_FAMILIES: Final = (
    Family(architectures=("llama",), config=_gguf_llama, names=GGUF_NAMES, ignored=(r"rope_freqs\.weight",)),
    Family(
        architectures=("qwen2", "qwen3"),
        config=_gguf_qwen,
        names=GGUF_NAMES,
        ignored=(r"rope_freqs\.weight",),
    ),
)
