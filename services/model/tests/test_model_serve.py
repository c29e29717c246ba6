import json
from pathlib import Path

import pytest
from sax_model import serve
from sax_model.local_cell import CellPlan, ChildDied, LocalCell
from sax_model.serve_child import Child, child_environ, readable


def test_the_model_may_stand_before_or_after_the_flags():
    """People type the path where they think of it."""
    for argv in (
        ["m.gguf", "--http_port=1"],
        ["--http_port=1", "m.gguf"],
        ["--http_port", "1", "m.gguf", "--v=1"],
    ):
        config, path = serve.parse(argv)
        assert (path, config.http_port) == ("m.gguf", 1)


@pytest.mark.parametrize("argv", [[], ["a.gguf", "b.gguf"], ["a.gguf", "--nonsense=1"]])
def test_wrong_usage_ends_with_two(argv, capsys):
    """No model, two models and an unknown flag are told in one line."""
    with pytest.raises(SystemExit) as caught:
        serve.parse(argv)
    assert caught.value.code == 2
    assert "sax serve" in capsys.readouterr().err


def test_a_path_that_does_not_exist_is_said(capsys):
    """Before anything is started."""
    assert serve.main(["/no/such/model.gguf"]) == 2
    assert "/no/such/model.gguf does not exist" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("name", "expected"),
    [("SmolLM2-135M.Q4_1.gguf", "smollm2-135m-q4_1"), ("7B model", "b-model"), ("123.gguf", "model")],
)
def test_a_name_is_made_from_the_file(name, expected):
    """What the file is called becomes a legal model name."""
    assert serve.model_name(Path("/x") / name) == expected


def test_log_lines_of_children_are_made_readable():
    """Our JSON becomes a sentence with its facts; a traceback of something else stays as it is."""
    line = json.dumps({"event": "Joined 1:2", "level": "info", "timestamp": "t", "cell": "/sax/t"})
    assert readable(line) == "info Joined 1:2 cell=/sax/t"
    assert readable("Traceback (most recent call last):") == "Traceback (most recent call last):"
    assert readable("[1]") == "[1]"


def test_children_get_this_root_and_no_other_setting(monkeypatch):
    """A SAX_PORT of the caller's shell must not reach three servers."""
    monkeypatch.setenv("SAX_PORT", "1")
    environ = child_environ("/r")
    assert environ["SAX_ROOT"] == "/r"
    assert environ["SAX_DEBUG_IPADDR"] == "1"
    assert "SAX_PORT" not in environ


@pytest.mark.processes
async def test_a_child_that_dies_is_reported_in_its_own_words(tmp_path):
    """The exit code and the last log lines are in the error."""
    plan = CellPlan(model="/sax/t/m", model_path="x.Y", checkpoint="None", root=str(tmp_path))
    cell = LocalCell(plan, tell=lambda _: None)
    flags = ["--sax_cell=/sax/t", "--port=0", f"--sax_root={tmp_path}"]
    cell._children.append(
        await Child.start("admin server", "sax_admin.main", flags, child_environ(str(tmp_path)))
    )
    with pytest.raises(ChildDied, match="admin server ended with code 1") as caught:
        await cell.child_death()
    assert "/sax/t" in caught.value.message
