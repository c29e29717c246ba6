"""Tiny random checkpoints in Hugging Face's layout, one per feature of the LLaMA family.

Weights come from a seed, so a test and the golden-value tool make the same files on different machines and
nothing large is committed. The configurations are chosen so that every rule that could be forgotten changes
the logits: grouped heads, biases, rope scaling within the tested length, windows shorter than it, head
widths that are not model_dim / heads.
"""

import json
import zlib
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final

import numpy as np
from safetensors.numpy import save_file
from sax_engine.decoder import param_shapes
from tokenizers import Tokenizer, decoders, models, pre_tokenizers

from sax_zoo.families.family import Fields, find_family
from sax_zoo.families.llama import HF_FAMILIES
from sax_zoo.text.bytelevel import BYTE_OF

_BASE: Final[Mapping[str, Any]] = {
    "vocab_size": 256,
    "hidden_size": 48,
    "intermediate_size": 80,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "max_position_embeddings": 128,
    "rms_norm_eps": 1e-5,
    "rope_theta": 10000.0,
    "hidden_act": "silu",
    "tie_word_embeddings": False,
    "bos_token_id": 1,
    "eos_token_id": 2,
}
_LLAMA3_ROPE: Final = {
    "rope_type": "llama3",
    "factor": 4.0,
    "low_freq_factor": 1.0,
    "high_freq_factor": 4.0,
    "original_max_position_embeddings": 32,
}
VARIANTS: Final[Mapping[str, Mapping[str, Any]]] = {
    "llama": {"architectures": ["LlamaForCausalLM"], "model_type": "llama"},
    "llama3_rope": {
        "architectures": ["LlamaForCausalLM"],
        "model_type": "llama",
        "rope_scaling": _LLAMA3_ROPE,
    },
    "linear_rope": {
        "architectures": ["LlamaForCausalLM"],
        "model_type": "llama",
        "rope_scaling": {"rope_type": "linear", "factor": 2.0},
    },
    "llama_biases": {
        "architectures": ["LlamaForCausalLM"],
        "model_type": "llama",
        "attention_bias": True,
        "mlp_bias": True,
        "head_dim": 16,
        "tie_word_embeddings": True,
    },
    "mistral": {"architectures": ["MistralForCausalLM"], "model_type": "mistral", "sliding_window": 7},
    "qwen2": {"architectures": ["Qwen2ForCausalLM"], "model_type": "qwen2", "tie_word_embeddings": True},
    "qwen3": {"architectures": ["Qwen3ForCausalLM"], "model_type": "qwen3", "head_dim": 16},
}


def write_checkpoint(directory: Path, variant: str, *, seed: int = 0) -> Path:
    """Write config.json, model.safetensors and tokenizer.json of a variant; return the directory."""
    config = {**_BASE, **VARIANTS[variant]}
    directory.mkdir(parents=True, exist_ok=True)
    (directory / "config.json").write_text(json.dumps(config, indent=1), "utf-8")
    save_file(tensors(variant, seed=seed), directory / "model.safetensors", metadata={"format": "pt"})
    write_tokenizer(directory)
    return directory


def tensors(variant: str, *, seed: int = 0) -> dict[str, np.ndarray[Any, np.dtype[np.float32]]]:
    """Stored name -> float32 values. Scales are near 1, biases and matrices wide enough to matter."""
    config = {**_BASE, **VARIANTS[variant]}
    family = find_family(HF_FAMILIES, config["architectures"][0], variant)
    decoder = family.config(Fields(config, variant), {})
    shapes, values = param_shapes(decoder), {}
    for name, stored in family.stored_names(decoder).items():
        random = np.random.default_rng([seed, zlib.crc32(stored.encode())])
        drawn = random.standard_normal(shapes[name], dtype=np.float32)
        is_scale = name.endswith(("scale", "q_norm", "k_norm"))
        values[stored] = 1 + 0.2 * drawn if is_scale else drawn * np.float32(0.3)
    return values


def write_tokenizer(directory: Path) -> None:
    """Write a byte tokenizer of 256 ids: three control tokens, then the bytes that UTF-8 uses."""
    letters = sorted(BYTE_OF, key=lambda char: (BYTE_OF[char] >= 0xFD, BYTE_OF[char]))[:253]  # noqa: PLR2004 - 0xFD..0xFF never occur in UTF-8.
    vocabulary = {"<pad>": 0, "<s>": 1, "</s>": 2} | {char: place + 3 for place, char in enumerate(letters)}
    core = Tokenizer(models.BPE(vocabulary, []))
    core.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    core.decoder = decoders.ByteLevel()
    core.add_special_tokens(["<pad>", "<s>", "</s>"])
    core.save(str(directory / "tokenizer.json"))
    settings = {"tokenizer_class": "PreTrainedTokenizerFast", "bos_token": "<s>", "eos_token": "</s>"}
    (directory / "tokenizer_config.json").write_text(json.dumps(settings), "utf-8")
