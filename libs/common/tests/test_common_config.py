import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import Field, SecretStr, ValidationError
from sax_common.config import Config, DurationS, LogFlags, load, load_with_rest, parse_duration_s
from sax_common.config_text import config_text


class Demo(LogFlags):
    """A little of everything."""

    sax_cell: str = Field(default="/sax/test", description="The cell.")
    port: int = Field(default=10000, ge=0, le=65535, description="The port to listen on.")
    admin_port: int | None = None
    tags: list[str] = Field(default=[])
    sax_timeout: DurationS = 60.0
    deterministic_rng: bool = False
    token: SecretStr | None = None


class Strict(Config):
    """One setting that must be given."""

    fs_root: str = Field(description="Where state lives.")


def demo(*argv, **environ):
    """Load the demo configuration from flags and environment."""
    return load(Demo, argv, environ, program="demo", description="Shows.")


def refusal(capsys, config_class, *argv, **environ):
    """Say what a program prints when it ends with status 2."""
    with pytest.raises(SystemExit) as caught:
        load(config_class, argv, environ, program="demo")
    assert caught.value.code == 2
    out, err = capsys.readouterr()
    assert out == ""
    return err


@pytest.mark.parametrize(
    "argv", [["-port=5"], ["--port=5"], ["-port", "5"], ["--port", "5"], ["--port=4", "--port=5"]]
)
def test_one_or_two_dashes_equal_sign_or_space(argv):
    """Go's spellings are all the same; the last one wins."""
    assert demo(*argv).port == 5


@pytest.mark.parametrize(
    ("argv", "expected"),
    [
        (["-deterministic_rng"], True),
        (["--deterministic-rng"], True),
        (["--deterministic_rng=T"], True),
        (["--deterministic_rng", "--nodeterministic_rng"], False),
        (["-deterministic_rng=false"], False),
        (["-deterministic_rng=0"], False),
    ],
)
def test_switches(argv, expected):
    """A switch alone is true; a value needs the equal sign; absl's no-form works."""
    assert demo(*argv).deterministic_rng is expected


def test_a_value_may_look_like_a_flag():
    """As in Go, a flag that needs a value takes the next argument whatever it is."""
    assert demo("--sax_cell", "-x").sax_cell == "-x"


def test_scanning_stops_at_the_first_argument_that_is_no_flag():
    """Flags after a subcommand belong to the subcommand; a switch does not eat it."""
    config, rest = load_with_rest(Demo, ["-deterministic_rng", "ls", "-csv", "--port=1"], {}, program="demo")
    assert rest == ["ls", "-csv", "--port=1"]
    assert config.deterministic_rng
    assert load_with_rest(Demo, ["--", "-x"], {}, program="demo")[1] == ["-x"]
    assert load_with_rest(Demo, ["-", "x"], {}, program="demo")[1] == ["-", "x"]


def test_flags_beat_environment_beats_file(tmp_path):
    """Each source covers the weaker one, setting by setting."""
    path = tmp_path / "demo.toml"
    path.write_text('port = 1\nsax_cell = "/sax/file"\ntags = ["f"]\n')
    config = demo("--port=3", SAX_CONFIG_FILE=str(path), SAX_PORT="2", SAX_CELL="/sax/env")
    assert (config.port, config.sax_cell, config.tags) == (3, "/sax/env", ["f"])


def test_service_links_of_kubernetes_are_ignored():
    """A Service called "sax" must not set the port of every program beside it."""
    assert demo(SAX_PORT="tcp://10.0.0.1:80").port == 10000


def test_empty_variable_counts_as_none():
    """An empty environment variable does not cover anything."""
    assert demo(SAX_PORT="").port == 10000


def test_lists_are_csv():
    """Commas separate; quotes protect, as in absl."""
    assert demo('--tags=a,"b,c",d').tags == ["a", "b,c", "d"]
    assert demo("--tags=").tags == []


def test_glog_flags_are_accepted():
    """Command lines of the original's guides work."""
    config = demo("--alsologtostderr", "--v=3", "--stderrthreshold=ERROR", "--log_dir=/x", "--vmodule=a=1")
    assert (config.v, config.is_logging_to_stderr) == (3, True)
    assert not demo("--log_dir=/x").is_logging_to_stderr


def test_unknown_flag_names_the_near_one(capsys):
    """A typing error ends with status 2 and the flag that was probably meant."""
    assert "unknown flag --prot; did you mean port?" in refusal(capsys, Demo, "--prot=1")
    assert "unknown flag -zzzz\n" in refusal(capsys, Demo, "-zzzz")


@pytest.mark.parametrize(
    ("argv", "environ", "parts"),
    [
        (["--port=x"], {}, ["--port", "'x'", "flag", "integer"]),
        (["--port=70000"], {}, ["--port", "70000", "65535"]),
        ([], {"SAX_PORT": "x"}, ["environment SAX_PORT"]),
        (["--port"], {}, ["needs a value"]),
        (["extra"], {}, ["unexpected argument 'extra'"]),
        (['--tags="a'], {}, ["comma-separated"]),
        (["--sax_timeout=1x"], {}, ["60s"]),
        (["--config_file=/no/such/file"], {}, ["/no/such/file", "cannot be read"]),
    ],
)
def test_wrong_values_are_named(capsys, argv, environ, parts):
    """The message names the setting, what was given, where, and what is legal."""
    message = refusal(capsys, Demo, *argv, **environ)
    assert all(part in message for part in parts), message


def test_required_setting_says_all_ways_to_give_it(capsys):
    """A missing setting names flag, variable and file."""
    assert "--fs_root is required (or SAX_FS_ROOT," in refusal(capsys, Strict)


def test_unknown_setting_in_a_file_is_refused(capsys, tmp_path):
    """A typing error in the file is not ignored."""
    path = tmp_path / "demo.toml"
    path.write_text("prot = 1\n")
    assert "did you mean port?" in refusal(capsys, Demo, f"--config_file={path}")


def test_help_teaches(capsys):
    """--help shows every flag with type, default, variable and meaning, and ends with 0."""
    for spelling in ("--help", "-h", "--helpfull"):
        with pytest.raises(SystemExit) as caught:
            demo(spelling)
        assert caught.value.code == 0
    text = capsys.readouterr().out
    assert "--port  integer, default 10000, SAX_PORT\n        The port to listen on." in text
    assert "--sax_cell  text" in text
    assert "SAX_CELL\n" in text
    assert all(f"--{name}" in text for name in Demo.model_fields)


def test_secrets_are_never_printed(capsys):
    """Neither the configuration, nor help, nor an error shows a secret."""
    with pytest.raises(SystemExit):
        demo("--print_config", SAX_TOKEN="hunter2")  # noqa: S106 -- Not a real one.
    assert "hunter2" not in capsys.readouterr().out
    assert "hunter2" not in repr(demo("--token=hunter2"))

    class Short(Config):
        token: SecretStr = Field(max_length=3)

    assert "hunter2" not in refusal(capsys, Short, "--token=hunter2")


def test_configuration_never_changes():
    """Nobody can change a setting after loading."""
    with pytest.raises(ValidationError):
        demo().port = 1


TEXT = st.text(st.characters(codec="utf-8"), max_size=20)


@given(
    st.builds(
        Demo,
        v=st.integers(-(2**31), 2**31),
        sax_cell=TEXT,
        port=st.integers(0, 65535),
        admin_port=st.none() | st.integers(0, 9),
        tags=st.lists(TEXT, max_size=3),
        sax_timeout=st.floats(0, 1e6),
        deterministic_rng=st.booleans(),
    )
)
def test_printed_configuration_is_read_back(tmp_path_factory, config):
    """What --print_config writes, --config_file reads: the same configuration."""
    path = tmp_path_factory.mktemp("config") / "demo.toml"
    path.write_text(config_text(config, {}), encoding="utf-8", newline="")
    assert load(Demo, [f"--config_file={path}"], {}, program="demo") == config


def test_print_config_says_where_each_value_comes_from(capsys):
    """The printed configuration names the source of each value."""
    with pytest.raises(SystemExit) as caught:
        demo("--port=5", "--print_config", SAX_CELL="/sax/env")
    assert caught.value.code == 0
    text = capsys.readouterr().out
    assert "port = 5  # flag\n" in text
    assert 'sax_cell = "/sax/env"  # environment SAX_CELL\n' in text
    assert "# admin_port is not set\n" in text


@pytest.mark.parametrize(
    ("text", "seconds"), [("60s", 60), ("1m30s", 90), ("500ms", 0.5), ("1h", 3600), ("1.5s", 1.5), ("7", "7")]
)
def test_durations(text, seconds):
    """Go durations are seconds; plain numbers are left to pydantic."""
    assert parse_duration_s(text) == seconds


@pytest.mark.parametrize("text", ["", "s", "-1", "-1s", "1s ", "1 s", "1d", "1s2"])
def test_bad_durations(text, capsys):
    """Anything else is refused, also a negative time."""
    assert "--sax_timeout" in refusal(capsys, Demo, f"--sax_timeout={text}")
