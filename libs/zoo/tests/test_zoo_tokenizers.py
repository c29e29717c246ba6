"""Tokenizers: ids as the checkpoint's own, decoding as the library's, odd ones refused."""

import json
from importlib import resources

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sax_common.errors import InvalidArgument
from sax_zoo.testing.tiny_checkpoints import write_tokenizer
from sax_zoo.text.directory import read_tokenizer
from sax_zoo.text.gguf_vocab import from_gguf
from sax_zoo.text.hf_json import from_json
from sax_zoo.text.spm import SpmSettings, from_spm
from sentencepiece import SentencePieceProcessor
from tokenizers import Tokenizer as JsonTokenizer
from tokenizers import decoders, models, normalizers, pre_tokenizers

MODEL = (resources.files("sax_zoo") / "data" / "sax_2k.model").read_bytes()
SPM = SentencePieceProcessor(model_proto=MODEL)
OURS = from_spm(MODEL, SpmSettings(start_id=0, eos_ids=frozenset({1})), "sax_2k.model")


@given(st.text(max_size=60))
def test_sentencepiece_ids_are_the_librarys(text):
    """A prompt is the start token and then what the library says."""
    assert OURS.encode_prompt(text) == [0, *SPM.encode(text)]


@given(st.text(st.characters(exclude_categories=["Cs", "Cc", "Cn", "Co"]), max_size=40))
def test_sentencepiece_text_decodes_as_the_library_decodes(text):
    """Our table gives the library's text for every text it can spell."""
    ids = SPM.encode(text)
    assert OURS.decode(ids) == SPM.decode(ids)


def test_ids_beyond_the_vocabulary_read_as_numbers():
    """A model with more ids than pieces shows `<id>`."""
    assert OURS.decode([31999, 0, 1]) == "<31999>"


def test_control_texts_become_ids_in_conversations_only():
    """`</s>` in a prompt is text, in a rendered conversation it is the token."""
    assert 1 not in OURS.encode_plain("a</s>b")
    assert 1 in OURS.encode_chat("a</s>b")


def sentencepiece_metadata() -> dict:
    """Our SentencePiece model as GGUF stores one."""
    pieces = range(SPM.get_piece_size())
    kinds = [
        3 if SPM.is_control(i) else 2 if SPM.is_unknown(i) else 6 if SPM.is_byte(i) else 1 for i in pieces
    ]
    return {
        "tokenizer.ggml.model": "llama",
        "tokenizer.ggml.tokens": [SPM.id_to_piece(i) for i in pieces],
        "tokenizer.ggml.scores": [SPM.get_score(i) for i in pieces],
        "tokenizer.ggml.token_type": kinds,
        "tokenizer.ggml.bos_token_id": 0,
        "tokenizer.ggml.eos_token_id": 1,
    }


def test_a_sentencepiece_vocabulary_in_gguf_is_rebuilt():
    """Tokens and scores of a GGUF file spell and read any text, with the start token in front."""
    tokenizer = from_gguf(sentencepiece_metadata(), "x.gguf")
    text = "A publisher asks; the server answers: 日本 😀"
    ids = tokenizer.encode_prompt(text)
    assert ids[0] == 0
    assert tokenizer.decode(ids) == text
    assert tokenizer.eos_ids == {1}


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"tokenizer.ggml.model": "bert"}, "bert"),
        ({"tokenizer.ggml.scores": [0.0]}, "scores"),
        ({"tokenizer.ggml.tokens": []}, "tokens is missing"),
        ({"tokenizer.ggml.token_type": [1]}, "token types"),
        (
            {"tokenizer.ggml.model": "gpt2", "tokenizer.ggml.merges": ["a b"], "tokenizer.ggml.pre": "?"},
            "fit together",
        ),
    ],
)
def test_a_gguf_vocabulary_that_cannot_be_right_is_refused(changes, words):
    """The error names the file and what is wrong."""
    with pytest.raises(InvalidArgument, match=words) as error:
        from_gguf(sentencepiece_metadata() | changes, "x.gguf")
    assert "x.gguf" in error.value.message


@settings(max_examples=40)
@given(st.text(max_size=40))
def test_byte_level_text_decodes_as_the_library_decodes(tmp_path_factory, text):
    """Our table and the tokenizers library give the same text back."""
    folder = tmp_path_factory.mktemp("bytes")
    write_tokenizer(folder)
    tokenizer = read_tokenizer(folder, {})
    library = JsonTokenizer.from_file(str(folder / "tokenizer.json"))
    ids = tokenizer.encode_prompt(text)
    assert tokenizer.decode(ids) == library.decode(ids, skip_special_tokens=True)


def metaspace_tokenizer(path, *, start: bool) -> None:
    """Write a tokenizer.json in LLaMA's style."""
    pieces = ["<unk>", "<s>", "</s>", *(f"<0x{byte:02X}>" for byte in range(256)), "▁", "a", "b", "▁a"]
    core = JsonTokenizer(
        models.BPE(
            {piece: i for i, piece in enumerate(pieces)},
            [("▁", "a")],
            byte_fallback=True,
            unk_token="<unk>",  # noqa: S106 - A token, no password.
        )
    )
    core.normalizer = normalizers.Sequence([normalizers.Prepend("▁"), normalizers.Replace(" ", "▁")])
    core.decoder = decoders.Sequence(
        [decoders.Replace("▁", " "), decoders.ByteFallback(), decoders.Fuse(), decoders.Strip(" ", 1, 0)]
    )
    core.add_special_tokens(["<unk>", "<s>", "</s>"])
    core.save(str(path / "tokenizer.json"))
    config = {
        "tokenizer_class": "LlamaTokenizer",
        "add_bos_token": start,
        "bos_token": "<s>",
        "eos_token": {"content": "</s>"},
    }
    (path / "tokenizer_config.json").write_text(json.dumps(config))


@pytest.mark.parametrize("start", [True, False])
def test_llama_style_files_decode_spaces_and_bytes(tmp_path, start):
    """`▁` is a space, byte pieces are bytes, the first space goes, the configuration decides about <s>."""
    metaspace_tokenizer(tmp_path, start=start)
    tokenizer = read_tokenizer(tmp_path, {"eos_token_id": [2, 7]})
    ids = tokenizer.encode_prompt("ab a é")
    assert (ids[0] == 1) is start
    assert tokenizer.decode(ids) == "ab a é"
    assert tokenizer.eos_ids == {2, 7}


def test_all_endings_of_a_checkpoint_count(tmp_path):
    """EOS ids of generation_config.json, config.json and the tokenizer are joined."""
    write_tokenizer(tmp_path)
    (tmp_path / "generation_config.json").write_text('{"eos_token_id": [5, 6]}')
    assert read_tokenizer(tmp_path, {"eos_token_id": 9}).eos_ids == {2, 5, 6, 9}


def test_a_decoder_that_needs_the_whole_text_is_refused(tmp_path):
    """WordPiece joins words by look-ahead; the error names it."""
    core = JsonTokenizer(models.WordPiece({"a": 0}, unk_token="a"))  # noqa: S106 - A token, no password.
    core.decoder = decoders.WordPiece()
    core.pre_tokenizer = pre_tokenizers.Whitespace()
    core.save(str(tmp_path / "tokenizer.json"))
    with pytest.raises(InvalidArgument, match="WordPiece"):
        from_json(tmp_path / "tokenizer.json", {})


@pytest.mark.parametrize("text", ["{", "[]", "[" * 100_000, '{"model": {"type": "?"}}'])
def test_a_broken_tokenizer_file_is_named(tmp_path, text):
    """Whatever is wrong with tokenizer.json, the answer is one error with its path."""
    (tmp_path / "tokenizer.json").write_text(text)
    with pytest.raises(InvalidArgument, match=r"tokenizer\.json"):
        read_tokenizer(tmp_path, {})


def test_a_sentencepiece_directory_without_json_works(tmp_path):
    """tokenizer.model is used when there is no tokenizer.json; added control tokens have no text."""
    (tmp_path / "tokenizer.model").write_bytes(MODEL)
    added = {"5000": {"content": "<turn>"}, "1": {"content": "</s>"}}
    config = {"eos_token": "</s>", "added_tokens_decoder": added}
    (tmp_path / "tokenizer_config.json").write_text(json.dumps(config))
    tokenizer = read_tokenizer(tmp_path, {})
    assert tokenizer.encode_chat("<turn>a")[0] == 5000
    assert tokenizer.decode([5000, *tokenizer.encode_plain("a")]) == "a"
    assert tokenizer.eos_ids == {1}
