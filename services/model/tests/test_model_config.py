import pytest
from sax_common.config import load
from sax_model.config import ModelServerConfig, jax_environment


def parse(*argv, **environ):
    """Read flags as the program does."""
    return load(ModelServerConfig, list(argv), environ, program="sax-model-server")


def refused(capsys, *argv):
    """Return what a person reads when these flags are refused."""
    with pytest.raises(SystemExit) as caught:
        parse(*argv)
    assert caught.value.code == 2
    return capsys.readouterr().err


def test_the_flags_of_the_guides_are_understood():
    """The command lines that users copy from the original's guides work as they stand."""
    config = parse(
        "--sax_cell=/sax/test",
        "--port=10001",
        "--platform_chip=v100",
        "--platform_topology=4",
        "--jax_platforms=cuda",
        "--alsologtostderr",
        "--v=3",
    )
    assert (config.sax_cell, config.port, config.platform_chip, config.v) == ("/sax/test", 10001, "v100", 3)
    assert jax_environment(config) == {"JAX_PLATFORMS": "cuda"}


def test_the_port_is_required(capsys):
    """A server without a port is a mistake, not a default."""
    assert "port" in refused(capsys)


@pytest.mark.parametrize("flag", ["--admin_port=1", "--early_reject_on_dormant", "--host_ordinal=1"])
def test_flags_that_do_nothing_yet_are_refused(capsys, flag):
    """What cannot be honoured is said, not ignored."""
    assert "not offered" in refused(capsys, "--port=1", flag)


def test_static_models_need_equally_many_keys_and_checkpoints(capsys):
    """Three lists describe one thing, so they are equally long."""
    error = refused(capsys, "--port=1", "--models=a.B,c.D", "--model_keys=/sax/t/m", "--checkpoints=None")
    assert "2, 1 and 1" in error


def test_overrides_are_one_json_object_per_model():
    """The list is split like a CSV line, so an object with commas is quoted; values stay JSON text."""
    config = parse(
        "--port=1",
        "--models=a.B",
        "--model_keys=/sax/t/m",
        "--checkpoints=None",
        '--model_config_overrides="{""BATCH_SIZE"": 4, ""NAME"": ""x""}"',
    )
    assert config.static_overrides() == [{"BATCH_SIZE": "4", "NAME": '"x"'}]


def test_overrides_that_are_no_object_are_refused(capsys):
    """The text itself is shown, with an example of what is meant."""
    error = refused(
        capsys,
        "--port=1",
        "--models=a",
        "--model_keys=/sax/t/m",
        "--checkpoints=None",
        "--model_config_overrides=7",
    )
    assert "'7' is not a JSON object" in error


def test_a_cell_must_be_a_full_name(capsys):
    """`test` is not a cell name; the legal form is shown."""
    assert "/sax/<cell>" in refused(capsys, "--port=1", "--sax_cell=test")


def test_the_status_port_follows_the_grpc_port():
    """Two servers on one machine get two status ports without being told."""
    assert parse("--port=10001").status_port_for(10001) == 20001
    assert parse("--port=60000").status_port_for(60000) == 0
    assert parse("--port=1", "--status_port=-1").status_port_for(1) == -1


def test_the_compilation_cache_is_for_this_user_only(tmp_path):
    """The cache folder holds programs that are run, so nobody else may write there."""
    folder = tmp_path / "xla"
    environment = jax_environment(parse("--port=1", f"--jax_cache_dir={folder}"))
    assert environment["JAX_COMPILATION_CACHE_DIR"] == str(folder)
    assert folder.stat().st_mode & 0o777 == 0o700
