"""Logits against `transformers`: committed values always, and live where torch is installed."""

import importlib.util
from pathlib import Path

import numpy as np
import pytest
from sax_engine.backends.naive import forward
from sax_zoo.checkpoints.assemble import from_source
from sax_zoo.checkpoints.locate import locate
from sax_zoo.checkpoints.opening import OpenCheckpoint, open_checkpoint
from sax_zoo.testing.tiny_checkpoints import VARIANTS, write_checkpoint

GOLDEN = Path(__file__).parent / "golden"
HAS_TORCH = all(importlib.util.find_spec(name) for name in ("torch", "transformers", "accelerate"))


def opened(path) -> tuple[OpenCheckpoint, dict]:
    """A checkpoint with all its weights in float32."""
    checkpoint = open_checkpoint(locate(str(path)))
    parameters = from_source(
        checkpoint.source,
        checkpoint.family,
        checkpoint.config,
        dtype="float32",
        report=lambda _: None,
        check_cancelled=lambda: None,
    )
    return checkpoint, dict(parameters)


def live_logits(path: Path, tokens, **options) -> np.ndarray:
    """What the installed transformers compute now."""
    import torch  # noqa: PLC0415 - Only where it is installed.
    from transformers import AutoModelForCausalLM  # noqa: PLC0415

    model = AutoModelForCausalLM.from_pretrained(
        path, dtype=torch.float32, attn_implementation="eager", **options
    )
    with torch.no_grad():
        return model.eval()(torch.tensor(np.array(tokens))[None]).logits[0].numpy()


@pytest.mark.parametrize("variant", VARIANTS)
def test_tiny_checkpoints_have_the_logits_of_transformers(tmp_path, variant, compared):
    """Each rule of the family (biases, rope, windows, head sizes, tying) gives logits within 1e-4."""
    golden = np.load(GOLDEN / "tiny.npz")
    checkpoint, parameters = opened(write_checkpoint(tmp_path, variant))
    logits = forward(checkpoint.config, parameters, golden["tokens"].tolist())
    np.testing.assert_allclose(logits, golden[f"{variant}.logits"], atol=1e-4)
    if HAS_TORCH:
        np.testing.assert_allclose(logits, live_logits(tmp_path, golden["tokens"]), atol=1e-4)
    compared.append(
        f"tiny {variant}: committed values"
        + (" and live transformers" if HAS_TORCH else "; torch is not installed")
    )


@pytest.mark.model
def test_smollm2_has_the_logits_of_transformers(smollm2, compared):
    """Over 64 positions in float32 no logit differs by more than 2e-3, and all best tokens agree."""
    golden = np.load(GOLDEN / "smollm2.npz")
    checkpoint, parameters = opened(smollm2)
    tokens = golden["tokens"].tolist()
    logits = forward(checkpoint.config, parameters, tokens)
    assert np.abs(logits[:, golden["columns"]] - golden["logits"]).max() <= 2e-3
    assert np.abs(logits.max(-1) - golden["highest"]).max() <= 2e-3
    assert np.abs(np.logaddexp.reduce(logits.astype(np.float64), -1) - golden["logsumexp"]).max() <= 2e-3
    assert logits.argmax(-1).tolist() == golden["best"].tolist()
    if HAS_TORCH:
        assert np.abs(logits - live_logits(smollm2.parent, tokens, gguf_file=smollm2.name)).max() <= 2e-3
    compared.append(
        "SmolLM2 logits: committed values"
        + (" and live transformers" if HAS_TORCH else "; torch is not installed")
    )


@pytest.mark.model
def test_smollm2_prompts_are_tokenised_as_its_own_tokenizer_does(smollm2):
    """Ids agree with transformers, digits come singly, nothing is put in front, all endings are known."""
    golden = np.load(GOLDEN / "smollm2.npz")
    tokenizer = open_checkpoint(locate(str(smollm2))).tokenizer
    assert tokenizer.encode_prompt(str(golden["prompt"]))[:64] == golden["tokens"].tolist()
    assert tokenizer.encode_prompt("The capital of France is") == [504, 3575, 282, 4649, 314]
    assert tokenizer.encode_prompt("2024") == [34, 32, 34, 36]
    assert tokenizer.encode_prompt("") == []
    assert tokenizer.eos_ids == {0, 2}
    text = "In 12 kg,\n\n\tnaïve 日本 😀 <|im_start|>"
    assert tokenizer.decode(tokenizer.encode_prompt(text)) == text.removesuffix("<|im_start|>")
