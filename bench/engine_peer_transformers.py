"""Hugging Face transformers as a contestant of `bench/engine.py`; needs torch, imports nothing of ours."""

import argparse
import json
import sys
import time

import torch
import transformers
from transformers import LlamaConfig, LlamaForCausalLM

SHAPES = {
    "smollm2": {
        "vocab_size": 49152, "hidden_size": 576, "intermediate_size": 1536, "num_hidden_layers": 30,
        "num_attention_heads": 9, "num_key_value_heads": 3, "max_position_embeddings": 2048,
        "tie_word_embeddings": True,
    },
    "llama-7b-shape": {
        "vocab_size": 32000, "hidden_size": 4096, "intermediate_size": 11008, "num_hidden_layers": 32,
        "num_attention_heads": 32, "num_key_value_heads": 32, "max_position_embeddings": 2048,
    },
    "llama3-8b-shape": {
        "vocab_size": 128256, "hidden_size": 4096, "intermediate_size": 14336, "num_hidden_layers": 32,
        "num_attention_heads": 32, "num_key_value_heads": 8, "max_position_embeddings": 2048,
    },
}  # fmt: skip


def prompts(streams: int, length: int, vocab_size: int) -> torch.Tensor:
    """The ids of `engine_contestant.prompt`."""
    rows = [
        [(7919 * (stream + 1) + 104729 * i) % (vocab_size - 10) + 5 for i in range(length)]
        for stream in range(streams)
    ]
    return torch.tensor(rows)


def generate(model: LlamaForCausalLM, ids: torch.Tensor, new: int) -> float:
    """Greedy generation of exactly `new` tokens; seconds."""
    began = time.perf_counter()
    out = model.generate(
        ids, attention_mask=torch.ones_like(ids), max_new_tokens=new, min_new_tokens=new, do_sample=False,
        pad_token_id=0,
    )  # fmt: skip
    out.cpu()
    return time.perf_counter() - began


def main() -> None:
    """Load, say so, then answer tasks until the input ends."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--model", choices=SHAPES, required=True)
    parser.add_argument("--device", required=True)
    parser.add_argument("--max-streams", type=int, required=True)
    options = parser.parse_args()
    device = "cuda" if options.device == "gpu" else "cpu"
    torch.set_default_dtype(torch.bfloat16)
    model = LlamaForCausalLM(LlamaConfig(**SHAPES[options.model], eos_token_id=None)).to(device).eval()
    about = {"torch": torch.__version__, "transformers": transformers.__version__}
    print(json.dumps({**about, "threads": torch.get_num_threads()}), flush=True)
    for line in sys.stdin:
        task = json.loads(line)
        ids = prompts(task["streams"], task["prompt"], model.config.vocab_size).to(device)
        with torch.inference_mode():
            first = generate(model, ids, 1)
            if task["new"] == 1:
                rate = ids.numel() / first
            else:
                rate = task["streams"] * (task["new"] - 1) / (generate(model, ids, task["new"]) - first)
        print(json.dumps({"tokens_per_s": rate}), flush=True)


if __name__ == "__main__":
    main()
