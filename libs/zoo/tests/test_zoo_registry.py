"""Registry, overrides and extra inputs: what is sent is taken exactly, or refused by name."""

import math
import sys

import pytest
from sax_common.errors import Cancelled, DataLoss, InvalidArgument, SaxError, Unimplemented
from sax_zoo import loading, overrides, registry
from sax_zoo.extra_inputs import ExtraInputs, validate
from sax_zoo.lm.template import LanguageModelTemplate
from sax_zoo.platform import Platform, parse_platform

FULL = "saxml.server.pax.lm.params.lm_cloud.LmCloudSpmd2BTest"


@pytest.fixture(autouse=True)
def catalogue():
    """Fill the registry, as a server does at its start."""
    registry.load_modules()


def test_an_alias_is_the_same_class():
    """A name under saxml.server. can be asked for without it."""
    assert registry.lookup(FULL) is registry.lookup(FULL.removeprefix("saxml.server."))


def test_an_unknown_path_names_near_ones():
    """A typo gets the names that were probably meant."""
    with pytest.raises(InvalidArgument, match=r"hf\.CausalML.*Did you mean hf\.CausalLM"):
        registry.lookup("hf.CausalML")


@pytest.mark.parametrize("path", ["os.system", "sax_zoo.models.hf", "../hf.CausalLM", ""])
def test_a_path_is_never_imported(path):
    """A model path is a key and nothing else."""
    with pytest.raises(InvalidArgument):
        registry.lookup(path)


def test_the_filter_hides_classes():
    """--model_filter_regex is a full match: what it leaves out is not advertised and not found."""
    assert registry.servable_paths(r"hf\..*", Platform()) == ["hf.CausalLM"]
    with pytest.raises(InvalidArgument):
        registry.lookup(FULL, r"hf\..*")


def test_a_platform_serves_what_fits_its_devices():
    """One device lists full names and aliases of one-device classes; four devices list none of them."""
    paths = registry.servable_paths(None, parse_platform("cpu", "1"))
    assert FULL in paths
    assert registry.alias(FULL) in paths
    assert registry.servable_paths(None, parse_platform("h100", "2x2_twisted")) == []


@pytest.mark.parametrize("topology", ["", "0", "2x", "axb", "?x?"])
def test_a_topology_must_be_a_product(topology):
    """Anything that is not sizes joined by x is refused."""
    with pytest.raises(InvalidArgument, match="Topology"):
        parse_platform("cpu", topology)


def test_an_operators_module_registers_its_own_classes(tmp_path, monkeypatch):
    """A module named by --servable_modules adds classes; one that cannot be imported is named."""
    text = "from sax_zoo import registry\nfrom sax_zoo.models.hf import CausalLM\n"
    text += "@registry.register('mine.Model')\nclass Mine(CausalLM):\n    TOP_K = 7\n"
    (tmp_path / "my_servables.py").write_text(text)
    monkeypatch.syspath_prepend(tmp_path)
    registry.load_modules(["my_servables"])
    assert registry.lookup("mine.Model") is sys.modules["my_servables"].Mine
    with pytest.raises(InvalidArgument, match="no_such_module"):
        registry.load_modules(["no_such_module"])


def test_a_name_means_one_class():
    """Registering another class under a taken name fails at start, not at publish."""
    with pytest.raises(ValueError, match="twice"):
        registry.register("hf.CausalLM")(LanguageModelTemplate)


def test_every_registered_class_is_a_sound_template():
    """Every class passes its own check and offers at least one method."""
    for cls in registry.registered().values():
        cls.check()
        assert cls.methods()


def test_overrides_make_a_new_class():
    """The registered class stays as it is; the subclass has the typed values, lists as tuples."""
    base = registry.lookup("hf.CausalLM")
    changed = overrides.apply(
        base, {"TOP_K": "7", "STOP_TOKEN_IDS": "[1, 2]", "FPROP_DTYPE": '"float32"', "MAX_SEQ_LEN": "64"}
    )
    assert (changed.TOP_K, changed.STOP_TOKEN_IDS, changed.FPROP_DTYPE, changed.MAX_SEQ_LEN) == (
        7,
        (1, 2),
        "float32",
        64,
    )
    assert (base.TOP_K, base.MAX_SEQ_LEN) == (40, None)
    assert overrides.apply(base, {}) is base


def test_the_admins_keys_are_not_ours():
    """ram, ram<N> and constraints tell the admin where to place a model and change nothing here."""
    base = registry.lookup("hf.CausalLM")
    assert overrides.apply(base, {"ram": "1", "ram16": "x", "constraints": "a"}) is base


@pytest.mark.parametrize(
    ("key", "value", "words"),
    [
        ("BATCHSIZE", "1", "BATCHSIZE.*Did you mean BATCH_SIZE"),
        ("batch_size", "1", "Did you mean BATCH_SIZE"),
        ("test_mode", "true", "test_mode"),
        ("load", "1", "load"),
        ("BATCH_SIZE", "one", "BATCH_SIZE: 'one' is not JSON"),
        ("BATCH_SIZE", "NaN", "not JSON"),
        ("BATCH_SIZE", "1.0", "Mismatched type of override BATCH_SIZE: original: int; override: float"),
        ("BATCH_SIZE", "true", "original: int; override: bool"),
        ("BATCH_SIZE", "[1]", "original: int; override: list"),
        ("TEMPERATURE", "1", "original: float; override: int"),
        ("SORT_SAMPLES", "1", "original: bool; override: int"),
        ("MAX_SEQ_LEN", '"64"', "original: int or null; override: str"),
        ("STOP_TOKEN_IDS", '["a"]', "STOP_TOKEN_IDS"),
        ("EXTRA_INPUTS", "[]", "original: object; override: list"),
        ("TOP_K", "1" * 5000, "longer than"),
        ("SPM_MODEL", "[" * 2000, "not JSON"),
    ],
)
def test_an_override_that_does_not_fit_is_named(key, value, words):
    """Unknown keys and wrong types fail the load; the key is named, and what was probably meant."""
    with pytest.raises(InvalidArgument, match=words):
        overrides.apply(registry.lookup("hf.CausalLM"), {key: value})


@pytest.mark.parametrize(
    ("changes", "error"),
    [
        ({"USE_BEAM_SEARCH": "true"}, Unimplemented),
        ({"FAIL_ON_INPUT_TRUNCATION": "false"}, Unimplemented),
        ({"ICI_MESH_SHAPE": "[1, 1, 4]"}, Unimplemented),
        ({"BATCH_SIZE": "0"}, InvalidArgument),
        ({"FPROP_DTYPE": '"int8"'}, InvalidArgument),
        ({"EXTRA_INPUTS": '{"cf_guidance_scale": 1}'}, InvalidArgument),
        ({"MAX_SEQ_LEN": "1"}, InvalidArgument),
    ],
)
def test_a_value_that_cannot_be_honoured_fails_the_load(changes, error):
    """Nothing that a publisher sets is ignored: a feature that is not here is refused by name."""
    cls = overrides.apply(registry.lookup("hf.CausalLM"), changes)
    with pytest.raises(error, match=next(iter(changes))):
        loading.load(cls, "/models/x", seed=0, report=lambda _: None, is_cancelled=lambda: False)


@pytest.mark.parametrize("path", ["None", "/does/not/exist", "", "a b"])
def test_a_load_without_a_checkpoint_names_the_path(path):
    """hf.CausalLM refuses None and paths that are not there."""
    with pytest.raises(SaxError) as error:
        loading.load(
            registry.lookup("hf.CausalLM"), path, seed=0, report=lambda _: None, is_cancelled=lambda: False
        )
    assert path in error.value.message


def test_a_disk_that_fails_is_data_loss():
    """An operating system error during a load says which file it was about."""

    class Broken(LanguageModelTemplate):
        @classmethod
        def load(cls, context):
            context.check_cancelled()
            raise OSError(5, "Input/output error", "model.safetensors")

    with pytest.raises(DataLoss, match=r"Input/output error \(model\.safetensors\)"):
        loading.load(Broken, "/x", seed=0, report=lambda _: None, is_cancelled=lambda: False)
    with pytest.raises(Cancelled):
        loading.load(Broken, "/x", seed=0, report=lambda _: None, is_cancelled=lambda: True)


SPEC = {"temperature": 0.5, "eos_id": (0.0, 0.0), "name": "x", "off": None}


def test_extra_inputs_that_are_not_sent_take_their_defaults():
    """Every declared key has a value; None stays None."""
    assert validate(ExtraInputs(), SPEC) == SPEC
    sent = ExtraInputs({"temperature": 1.0, "off": 2.0}, {"eos_id": [0.0, 3.0]}, {"name": "y"})
    assert validate(sent, SPEC) == {"temperature": 1.0, "eos_id": (0.0, 3.0), "name": "y", "off": 2.0}


@pytest.mark.parametrize(
    ("sent", "words"),
    [
        (ExtraInputs({"temprature": 1.0}), "temprature.*declared are: eos_id, name, off, temperature"),
        (ExtraInputs({"temperature": 1.0}, {"temperature": [1.0]}), "more than one"),
        (ExtraInputs({"eos_id": 1.0}), "a list of 2 numbers"),
        (ExtraInputs({}, {"temperature": [1.0]}), "one number"),
        (ExtraInputs({}, {"eos_id": [1.0]}), "not a list of 1"),
        (ExtraInputs({}, {}, {"temperature": "hot"}), "not a string"),
        (ExtraInputs({"name": 1.0}), "a string"),
        (ExtraInputs({"temperature": math.nan}), "temperature is nan"),
        (ExtraInputs({}, {"eos_id": [1.0, math.inf]}), "eos_id is inf"),
    ],
)
def test_an_extra_input_that_does_not_fit_is_named(sent, words):
    """Unknown, doubled, misshapen and non-finite values are refused with the key."""
    with pytest.raises(InvalidArgument, match=words):
        validate(sent, SPEC)
