"""Makes tests/golden/*.npz with `transformers`: logits and greedy tokens that our decoder must reproduce.

Run it in an environment of its own that has torch and transformers beside this package's sources (they are
never installed where we serve):

    python libs/zoo/tools/make_golden.py --gguf .../SmolLM2-135M-Instruct.Q4_1.gguf --out
    libs/zoo/tests/golden

Everything is float32. For SmolLM2 both sides start from the same dequantised weights. A vocabulary of 49152
x 64 positions is 12 MB, so of the logits only every 193rd column is kept, beside the maximum, the argmax and
the log-sum-exp of each full row.
"""

# ruff: noqa: INP001 -- A script, not a package.

import argparse
import tempfile
from pathlib import Path

import numpy as np
import torch
import transformers
from sax_zoo.testing.tiny_checkpoints import VARIANTS, write_checkpoint

POSITIONS = 64
GREEDY = 32
STRIDE = 193
PROMPT = (
    "The capital of France is Paris. It lies on the river Seine, in the north of the country, and "
    "about two million people live "
    "there. Visitors come for the museums, the food and the light in the evening. The first town was "
    "built on an island in the river, where two roads met, and grew on both banks from there"
)
QUESTION = "The capital of France is"


def main() -> None:
    """Make all golden files."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--gguf", type=Path, required=True, help="SmolLM2-135M-Instruct as GGUF")
    parser.add_argument("--out", type=Path, required=True, help="folder of the golden files")
    arguments = parser.parse_args()
    torch.manual_seed(0)
    arguments.out.mkdir(parents=True, exist_ok=True)
    write_tiny(arguments.out)
    write_smollm2(arguments.gguf, arguments.out)


def write_tiny(out: Path) -> None:
    """Golden values of every tiny variant: 24 positions, 16 greedy tokens."""
    values = {}
    tokens = np.random.default_rng(1).integers(3, 256, 24)
    for variant in VARIANTS:
        with tempfile.TemporaryDirectory() as folder:
            path = write_checkpoint(Path(folder), variant)
            model = transformers.AutoModelForCausalLM.from_pretrained(
                path, dtype=torch.float32, attn_implementation="eager"
            ).eval()
            values[f"{variant}.logits"] = logits_of(model, tokens)
            values[f"{variant}.greedy"] = greedy(model, tokens[:8], 16)
    np.savez_compressed(out / "tiny.npz", tokens=tokens.astype(np.int32), **values)


def write_smollm2(gguf: Path, out: Path) -> None:
    """Golden values of SmolLM2 and its tokenizer."""
    tokenizer = transformers.AutoTokenizer.from_pretrained(gguf.parent, gguf_file=gguf.name)
    model = transformers.AutoModelForCausalLM.from_pretrained(
        gguf.parent, gguf_file=gguf.name, dtype=torch.float32, attn_implementation="eager"
    ).eval()
    tokens = np.array(tokenizer(PROMPT, add_special_tokens=False)["input_ids"])[:POSITIONS]
    if len(tokens) != POSITIONS:
        raise SystemExit(f"the prompt has only {len(tokens)} tokens")
    question = np.array(tokenizer(QUESTION, add_special_tokens=False)["input_ids"])
    logits = logits_of(model, tokens)
    np.savez_compressed(
        out / "smollm2.npz",
        tokens=tokens.astype(np.int32),
        columns=np.arange(0, logits.shape[1], STRIDE, dtype=np.int32),
        logits=logits[:, ::STRIDE],
        best=logits.argmax(-1).astype(np.int32),
        highest=logits.max(-1),
        logsumexp=torch.logsumexp(torch.from_numpy(logits), -1).numpy(),
        question=question.astype(np.int32),
        greedy=greedy(model, question, GREEDY),
        prompt=np.array(PROMPT),
        question_text=np.array(QUESTION),
        versions=np.array(f"torch {torch.__version__}, transformers {transformers.__version__}"),
    )


def logits_of(model: torch.nn.Module, tokens: np.ndarray) -> np.ndarray:
    """Float32 logits of every position."""
    with torch.no_grad():
        return model(torch.tensor(tokens)[None]).logits[0].float().numpy()


def greedy(model: torch.nn.Module, tokens: np.ndarray, count: int) -> np.ndarray:
    """The most likely continuation, token by token, without a cache and without stopping."""
    row = list(map(int, tokens))
    for _ in range(count):
        row.append(int(logits_of(model, np.array(row))[-1].argmax()))
    return np.array(row[len(tokens) :], dtype=np.int32)


if __name__ == "__main__":
    main()
