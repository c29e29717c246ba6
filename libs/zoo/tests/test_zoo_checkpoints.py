"""Checkpoint files: good ones are read exactly, bad ones get one clear error and nothing else happens."""

import json
import struct
from pathlib import Path

import ml_dtypes
import numpy as np
import pytest
from gguf import GGMLQuantizationType, GGUFWriter, quantize
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from safetensors.numpy import load_file, save_file
from sax_common.errors import InvalidArgument, NotFound, SaxError
from sax_zoo.checkpoints.assemble import from_source
from sax_zoo.checkpoints.gguf_source import GgufWeights
from sax_zoo.checkpoints.hf_directory import INDEX_NAME, HfWeights
from sax_zoo.checkpoints.locate import Format, locate
from sax_zoo.checkpoints.opening import open_checkpoint
from sax_zoo.checkpoints.safetensors_file import SafetensorsFile
from sax_zoo.checkpoints.source import nonfinite_count
from sax_zoo.testing.tiny_checkpoints import write_checkpoint


def quiet(*_):
    """Take a report and say nothing."""
    return


def parameters(directory, dtype="float32"):
    """Open a checkpoint and compare it with what its decoder needs."""
    opened = open_checkpoint(locate(str(directory)))
    return from_source(
        opened.source, opened.family, opened.config, dtype=dtype, report=quiet, check_cancelled=quiet
    )


def raw(path: Path, header: object, data: bytes = b"") -> Path:
    """Write a file with this header, honest or not."""
    text = header if isinstance(header, bytes) else json.dumps(header).encode()
    path.write_bytes(struct.pack("<Q", len(text)) + text + data)
    return path


def entry(dtype="F32", shape=(1,), span=(0, 4)) -> dict:
    """Describe one tensor as a header does."""
    return {"dtype": dtype, "shape": list(shape), "data_offsets": list(span)}


def test_values_are_those_that_the_library_wrote(tmp_path):
    """Every weight dtype comes back bit by bit, as a view of the file."""
    values = {
        "a": np.arange(6, dtype=np.float32).reshape(2, 3),
        "b": np.array([1.5], dtype=ml_dtypes.bfloat16),
        "c": np.zeros((0, 4), np.float16),
        "d": np.array(2.0),
    }
    save_file(values, tmp_path / "m.safetensors", metadata={"format": "pt"})
    file = SafetensorsFile(tmp_path / "m.safetensors")
    for name, value in values.items():
        np.testing.assert_array_equal(file.read(name), value)
        assert file.read(name).dtype == value.dtype


@pytest.mark.parametrize(
    ("header", "data", "words"),
    [
        (b"{" * 50, b"", "not the JSON"),
        (b"[" * 100_000, b"", "not the JSON"),
        ([1], b"", "not a JSON object"),
        (b'{"a": {}, "a": {}}', b"", "occurs twice"),
        ({"a": 1}, b"", "not an object"),
        ({"a": entry("F4")}, b"1234", "dtype 'F4'"),
        ({"a": entry(shape=[-1])}, b"1234", "shape"),
        ({"a": entry(shape=[True])}, b"1234", "shape"),
        ({"a": entry(shape=[2**62, 2**62])}, b"1234", "takes"),
        ({"a": entry(span=[4, 0])}, b"1234", "data_offsets"),
        ({"a": entry(), "b": entry()}, b"1234", "overlaps or has a gap"),
        ({"a": entry(span=[4, 8])}, b"12345678", "overlaps or has a gap"),
        ({"a": entry()}, b"123", "truncated"),
        ({"a": entry()}, b"12345", "follows the data"),
    ],
)
def test_a_header_that_lies_is_refused(tmp_path, header, data, words):
    """Each number is compared with the file before it is used, and the error names the file."""
    with pytest.raises(InvalidArgument, match=words) as error:
        SafetensorsFile(raw(tmp_path / "m.safetensors", header, data))
    assert "m.safetensors" in error.value.message


@pytest.mark.parametrize(
    ("content", "words"),
    [
        (b"", "too few"),
        (b"PK\x03\x04" + b"0" * 100, "pickle"),
        (b"\x80\x02" + b"0" * 100, "pickle"),
        (b"\xff" * 8 + b"0" * 100, "at most"),
        (struct.pack("<Q", 20 * 2**20) + b"0" * 100, "at most"),
    ],
)
def test_what_is_not_safetensors_is_refused(tmp_path, content, words):
    """A pickle is called a pickle; a huge header length is never believed."""
    (tmp_path / "m.safetensors").write_bytes(content)
    with pytest.raises(InvalidArgument, match=words):
        SafetensorsFile(tmp_path / "m.safetensors")


@settings(max_examples=150, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.integers(0, 400), st.integers(0, 255))
def test_no_changed_byte_gets_out_as_another_exception(tmp_path, place, value):
    """Whatever one byte of a file becomes, opening it succeeds or raises InvalidArgument."""
    save_file({"a": np.ones((3, 5), np.float32), "b": np.ones(7, np.float16)}, tmp_path / "m.safetensors")
    data = bytearray((tmp_path / "m.safetensors").read_bytes())
    data[place % len(data)] = value
    (tmp_path / "m.safetensors").write_bytes(data)
    try:
        file = SafetensorsFile(tmp_path / "m.safetensors")
    except InvalidArgument:
        return
    for name, info in file.tensors.items():
        if info.is_weight:
            file.read(name)


def sharded(directory: Path) -> dict[str, str]:
    """Split a tiny checkpoint into two files with an index; return its weight map."""
    write_checkpoint(directory, "llama")
    values = load_file(directory / "model.safetensors")
    (directory / "model.safetensors").unlink()
    where = {}
    for place, name in enumerate(sorted(values)):
        where[name] = f"model-{place % 2}.safetensors"
    for file in sorted(set(where.values())):
        save_file({name: values[name] for name in where if where[name] == file}, directory / file)
    (directory / INDEX_NAME).write_text(json.dumps({"weight_map": where}))
    return where


def test_shards_are_one_checkpoint(tmp_path):
    """An index with two files reads as the single file does."""
    sharded(tmp_path / "two")
    write_checkpoint(tmp_path / "one", "llama")
    one, two = parameters(tmp_path / "one"), parameters(tmp_path / "two")
    assert all(np.array_equal(one[name], two[name]) for name in one)


@pytest.mark.parametrize(
    "target", ["../secret.safetensors", "/etc/x.safetensors", "a/b.safetensors", "x.bin", "a\\b.safetensors"]
)
def test_an_index_may_not_point_elsewhere(tmp_path, target):
    """Only plain names of .safetensors files beside the index are followed."""
    where = sharded(tmp_path)
    where["lm_head.weight"] = target
    (tmp_path / INDEX_NAME).write_text(json.dumps({"weight_map": where}))
    with pytest.raises(InvalidArgument, match="may not point elsewhere"):
        HfWeights(tmp_path)


def test_a_shard_that_is_missing_is_named(tmp_path):
    """The error says which file the index wanted."""
    sharded(tmp_path)
    (tmp_path / "model-1.safetensors").unlink()
    with pytest.raises(InvalidArgument, match=r"model-1\.safetensors: missing"):
        HfWeights(tmp_path)


def test_a_tensor_that_is_not_where_the_index_says_is_named(tmp_path):
    """An index is compared with the files."""
    where = sharded(tmp_path)
    where["lm_head.weight"], where["nowhere"] = "model-1.safetensors", "model-0.safetensors"
    (tmp_path / INDEX_NAME).write_text(json.dumps({"weight_map": where}))
    with pytest.raises(InvalidArgument, match="nowhere"):
        HfWeights(tmp_path)


def test_all_mismatches_come_at_once(tmp_path):
    """Missing, unexpected, misshapen and integer tensors are listed together, with file and tensor."""
    write_checkpoint(tmp_path, "llama")
    values = dict(load_file(tmp_path / "model.safetensors"))
    del values["model.norm.weight"]
    values["model.extra.weight"] = np.zeros(3, np.float32)
    values["lm_head.weight"] = values["lm_head.weight"][:, :-1].copy()
    values["model.layers.0.mlp.up_proj.weight"] = np.zeros((80, 48), np.int32)
    save_file(values, tmp_path / "model.safetensors")
    with pytest.raises(InvalidArgument) as error:
        parameters(tmp_path)
    message = error.value.message
    assert "4 mismatches" in message
    assert "missing: model.norm.weight [48]" in message
    assert "unexpected: model.safetensors: model.extra.weight [3]" in message
    assert "wrong shape: model.safetensors: lm_head.weight is [256, 47], expected [256, 48]" in message
    assert "wrong dtype: model.safetensors: model.layers.0.mlp.up_proj.weight is I32" in message


@pytest.mark.parametrize("dtype", [np.float32, np.float16, ml_dtypes.bfloat16, np.float64])
@pytest.mark.parametrize("bad", [np.nan, np.inf])
def test_weights_that_are_no_numbers_are_refused(tmp_path, dtype, bad):
    """NaN and infinity in any dtype stop the load at the tensor that holds them."""
    write_checkpoint(tmp_path, "llama")
    values = {name: value.astype(dtype) for name, value in load_file(tmp_path / "model.safetensors").items()}
    values["model.layers.1.mlp.down_proj.weight"][3, 4] = bad
    save_file(values, tmp_path / "model.safetensors")
    with pytest.raises(InvalidArgument, match=r"model\.layers\.1\.mlp\.down_proj\.weight holds 1 values"):
        dict(parameters(tmp_path))


@given(st.lists(st.floats(width=16), max_size=20))
def test_nonfinite_values_are_counted_as_numpy_does(numbers):
    """The look at the bits agrees with isfinite, in every dtype."""
    for dtype in (np.float32, np.float16, np.float64):
        values = np.array(numbers, dtype=dtype)
        assert nonfinite_count(values) == np.count_nonzero(~np.isfinite(values))


def test_stored_bits_survive(tmp_path):
    """A bfloat16 checkpoint served in bfloat16 is the same bits; norms are float32."""
    write_checkpoint(tmp_path, "llama")
    values = {
        name: value.astype(ml_dtypes.bfloat16)
        for name, value in load_file(tmp_path / "model.safetensors").items()
    }
    save_file(values, tmp_path / "model.safetensors")
    ours = parameters(tmp_path, "bfloat16")
    np.testing.assert_array_equal(ours["embed"], values["model.embed_tokens.weight"])
    assert ours["final_norm.scale"].dtype == np.float32


def write_gguf(path: Path, *, extra: bool = False) -> Path:
    """Write a small LLaMA in GGUF with a quantised embedding and a byte vocabulary."""
    writer = GGUFWriter(path, "llama")
    writer.add_block_count(1)
    writer.add_context_length(64)
    writer.add_embedding_length(32)
    writer.add_feed_forward_length(64)
    writer.add_head_count(2)
    writer.add_head_count_kv(1)
    writer.add_layer_norm_rms_eps(1e-5)
    writer.add_tokenizer_model("gpt2")
    writer.add_tokenizer_pre("smollm")
    letters = ["<e>", *map(chr, range(0x21, 0x7F)), "he"]
    writer.add_token_list(letters)
    writer.add_token_types([3] + [1] * (len(letters) - 1))
    writer.add_token_merges(["h e"])
    random = np.random.default_rng(0)
    shapes = {
        "token_embd": (96, 32),
        "blk.0.attn_q": (32, 32),
        "blk.0.attn_k": (16, 32),
        "blk.0.attn_v": (16, 32),
    }
    shapes |= {
        "blk.0.attn_output": (32, 32),
        "blk.0.ffn_gate": (64, 32),
        "blk.0.ffn_up": (64, 32),
        "blk.0.ffn_down": (32, 64),
    }
    shapes |= {"blk.0.attn_norm": (32,), "blk.0.ffn_norm": (32,), "output_norm": (32,)}
    for name, shape in shapes.items():
        writer.add_tensor(f"{name}.weight", random.standard_normal(shape, dtype=np.float32))
    if extra:
        writer.add_tensor("surprise", np.zeros(2, np.float32))
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    return path


def test_gguf_tensors_are_what_was_written(tmp_path):
    """Shapes are outermost first and float32 values exact."""
    source = GgufWeights(write_gguf(tmp_path / "m.gguf"))
    random = np.random.default_rng(0)
    np.testing.assert_array_equal(
        source.read("token_embd.weight"), random.standard_normal((96, 32), dtype=np.float32)
    )
    assert source.metadata["llama.attention.head_count"] == 2


def test_gguf_quantised_tensors_are_dequantised(tmp_path):
    """Q8_0 comes back as float32 within its step."""
    values = np.random.default_rng(1).standard_normal((4, 64), dtype=np.float32)
    writer = GGUFWriter(tmp_path / "q.gguf", "llama")
    writer.add_tensor("a", quantize(values, GGMLQuantizationType.Q8_0), raw_dtype=GGMLQuantizationType.Q8_0)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    read = GgufWeights(tmp_path / "q.gguf").read("a")
    assert read.shape == (4, 64)
    assert np.abs(read - values).max() < np.abs(values).max() / 127


@settings(max_examples=150, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.integers(0, 3000), st.integers(0, 255), st.booleans())
def test_a_damaged_gguf_raises_one_kind_of_error(tmp_path, place, value, cut):
    """Whatever byte is changed or cut off, opening the checkpoint works or raises a SaxError."""
    data = bytearray(write_gguf(tmp_path / "m.gguf").read_bytes())
    data = data[:place] if cut else data
    if not cut:
        data[place % len(data)] = value
    (tmp_path / "m.gguf").write_bytes(data)
    try:
        opened = open_checkpoint(locate(str(tmp_path / "m.gguf")))
    except SaxError:
        return
    opened.source.close()


def test_an_unexpected_gguf_tensor_is_listed(tmp_path):
    """A tensor that nothing asks for is a mismatch, as in every format."""
    with pytest.raises(InvalidArgument, match=r"unexpected: m\.gguf: surprise"):
        parameters(write_gguf(tmp_path / "m.gguf", extra=True))


def test_a_checkpoint_is_found_where_the_publisher_said(tmp_path):
    """GGUF files, folders with one, Hugging Face folders and single checkpoint_<digits> are found."""
    write_checkpoint(tmp_path / "hf" / "checkpoint_00000007", "llama")
    (tmp_path / "g").mkdir()
    gguf = write_gguf(tmp_path / "g" / "m.gguf")
    assert locate(str(tmp_path / "hf")).path == tmp_path / "hf" / "checkpoint_00000007"
    assert locate(str(gguf)) == locate(str(gguf.parent))
    assert locate(str(gguf)).format is Format.GGUF


def test_what_is_no_checkpoint_is_named(tmp_path):
    """Missing paths, remote ones, pickles, empty folders and ambiguous ones each say what was found."""
    (tmp_path / "m.bin").write_bytes(b"")
    (tmp_path / "two").mkdir()
    for name in ("a.gguf", "b.gguf"):
        (tmp_path / "two" / name).write_bytes(b"")
    with pytest.raises(NotFound, match="/nowhere/at/all does not exist"):
        locate("/nowhere/at/all")
    for path, words in (
        ("gs://b/x", "local"),
        (tmp_path / "m.bin", "pickle"),
        (tmp_path, r"holds: m\.bin, two"),
        (tmp_path / "two", "2 .gguf"),
    ):
        with pytest.raises(SaxError, match=words):
            locate(str(path))


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        (
            {"architectures": ["BloomForCausalLM"]},
            "BloomForCausalLM.*known are LlamaForCausalLM, MistralForCausalLM",
        ),
        ({"architectures": None}, "not known"),
        ({"hidden_size": "48"}, r"config\.json: hidden_size"),
        ({"num_hidden_layers": None}, "num_hidden_layers is missing"),
        ({"num_key_value_heads": 3}, "heads"),
        ({"rope_scaling": {"rope_type": "yarn", "factor": 2.0}}, "yarn"),
        ({"hidden_act": "xielu"}, "xielu"),
        ({"quantization_config": {"quant_method": "awq"}}, "quantization_config"),
        ({"tie_word_embeddings": "no"}, "tie_word_embeddings"),
        ({"rms_norm_eps": float("nan")}, "rms_norm_eps"),
        ({"vocab_size": 100}, "vocabulary of 100"),
    ],
)
def test_a_configuration_that_cannot_be_served_says_why(tmp_path, changes, words):
    """The error names config.json and the key, and for an architecture lists the known ones."""
    write_checkpoint(tmp_path, "llama")
    config = json.loads((tmp_path / "config.json").read_text()) | changes
    (tmp_path / "config.json").write_text(json.dumps(config))
    with pytest.raises(InvalidArgument, match=words):
        open_checkpoint(locate(str(tmp_path)))
