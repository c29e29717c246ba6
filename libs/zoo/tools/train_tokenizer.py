"""Trains the SentencePiece model that ships with the test classes: sax_zoo/data/sax_2k.model.

The text is this repository's own documents and sources (Apache-2.0, ours), so the model carries nobody
else's words. Ids follow T5 and the original's test model: 0 pad (also the start token), 1 end, 2 unknown;
bytes stand in for what the pieces cannot spell.

    python libs/zoo/tools/train_tokenizer.py .
"""

# ruff: noqa: INP001 -- A script, not a package.

import sys
from pathlib import Path

import sentencepiece
from sentencepiece import sentencepiece_model_pb2

PIECES = 2048
SUFFIXES = (".md", ".proto", ".py")


def main(root: Path, out: Path) -> None:
    """Train on every document and source below `root`."""
    lines: list[str] = []
    for path in sorted(root.rglob("*")):
        is_ours = path.suffix in SUFFIXES and not any(
            part.startswith(".") for part in path.relative_to(root).parts
        )
        if is_ours and path.is_file() and not path.name.endswith("_pb2.py"):
            lines += path.read_text("utf-8", errors="ignore").splitlines()
    sentencepiece.SentencePieceTrainer.train(
        sentence_iterator=iter(line for line in lines if line.strip()),
        model_prefix=str(out.with_suffix("")),
        vocab_size=PIECES,
        model_type="unigram",
        character_coverage=0.999,
        byte_fallback=True,
        pad_id=0,
        eos_id=1,
        unk_id=2,
        bos_id=-1,
        num_threads=1,
        minloglevel=1,
    )
    out.with_suffix(".vocab").unlink()
    # The trainer writes the output path into the model; whose machine it was is nobody's business.
    model = sentencepiece_model_pb2.ModelProto.FromString(out.read_bytes())
    model.trainer_spec.model_prefix = out.stem
    out.write_bytes(model.SerializeToString())


if __name__ == "__main__":
    main(Path(sys.argv[1]), Path(__file__).parent.parent / "sax_zoo" / "data" / "sax_2k.model")
