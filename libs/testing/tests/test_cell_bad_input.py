"""Bad input to a real cell gets a clear answer: what was asked, what was found, what to do."""

import os
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest
from sax_testing.processes import BIN, ProcessCell, smollm2_path, until

pytestmark = [pytest.mark.processes, pytest.mark.model, pytest.mark.timeout(300)]
MODEL = "/sax/test/smollm2"


@pytest.fixture(scope="module")
def cell(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ProcessCell]:
    """A whole cell that serves SmolLM2, shared by all tests of this file."""
    with ProcessCell(tmp_path_factory.mktemp("cell")) as made:
        made.start_admin()
        made.start_model()
        made.start_http()
        made.saxutil("publish", MODEL, "hf.CausalLM", str(smollm2_path()), "1")
        made.wait_ready("smollm2")
        yield made


def run(cell: ProcessCell, *arguments: str) -> tuple[int, str]:
    """Run saxutil; exit code and all it said."""
    done = cell.saxutil(*arguments, check=False)
    assert "Traceback" not in done.stderr
    return done.returncode, done.stdout + done.stderr


@pytest.mark.parametrize("program", ["saxutil", "sax-admin-server", "sax-http-server"])
def test_a_missing_sax_root_is_one_sentence_and_exit_code_1(program: str) -> None:
    """Without SAX_ROOT each program ends with exit code 1 and says how to set it, without a traceback."""
    arguments = {
        "saxutil": ["ls", "/sax"],
        "sax-admin-server": ["--sax_cell=/sax/test"],
        "sax-http-server": [],
    }
    environ = {key: value for key, value in os.environ.items() if key != "SAX_ROOT"}
    done = subprocess.run(
        [BIN / program, *arguments[program]], env=environ, capture_output=True, text=True, check=False
    )
    assert done.returncode == 1
    assert "SAX_ROOT" in done.stderr
    assert "Traceback" not in done.stderr


def test_a_cell_that_does_not_exist_is_named(cell: ProcessCell) -> None:
    """Listing an unknown cell says which cell was not found."""
    code, said = run(cell, "ls", "/sax/nowhere")
    assert code == 1
    assert "/sax/nowhere" in said


@pytest.mark.parametrize(
    "name", ["smollm2", "/sax/test/Upper", "/sax/test/", "/sax/test/a/b", "/other/test/m"]
)
def test_a_malformed_model_name_is_refused_with_the_legal_form(cell: ProcessCell, name: str) -> None:
    """A malformed name is refused and the legal form is shown."""
    code, said = run(cell, "publish", name, "hf.CausalLM", "None", "1")
    assert code == 1
    assert "/sax/<cell>/<model>" in said


def test_a_port_in_use_is_one_sentence(cell: ProcessCell) -> None:
    """A second server on the same port ends with exit code 1 and names the port."""
    done = cell.program(
        "sax-admin-server", "--sax_cell=/sax/test", f"--port={cell.ports['admin']}", check=False
    )
    assert done.returncode == 1
    assert str(cell.ports["admin"]) in done.stderr
    assert "Traceback" not in done.stderr


def test_an_unknown_model_path_is_accepted_and_ls_says_why_nothing_loads(cell: ProcessCell) -> None:
    """Publishing an unknown registry path succeeds as in the original; ls explains the missing replica."""
    code, _ = run(cell, "publish", "/sax/test/unknown", "no.such.Model", "None", "1")
    assert code == 0
    until("the reason", lambda: "no.such.Model" in cell.saxutil("ls", "/sax/test/unknown").stderr)
    run(cell, "unpublish", "/sax/test/unknown")


@pytest.mark.parametrize(
    ("checkpoint", "overrides", "said"),
    [
        ("/does/not/exist.gguf", [], "/does/not/exist.gguf"),
        ("broken", [], "broken.gguf"),
        ("good", ["MAX_DECODE_STEP=4"], "MAX_DECODE_STEPS"),
        ("good", ['MAX_DECODE_STEPS="many"'], "MAX_DECODE_STEPS"),
    ],
    ids=["missing checkpoint", "broken checkpoint", "unknown override", "wrong type"],
)
def test_a_load_that_cannot_work_fails_with_its_reason(
    cell: ProcessCell, tmp_path: Path, checkpoint: str, overrides: list[str], said: str
) -> None:
    """A checkpoint or override that cannot be used makes the replica FAILED, and ls says the reason."""
    if "spare" not in cell.running:
        cell.start_model("spare")
    broken = tmp_path / "broken.gguf"
    broken.write_bytes(b"GGUF but not really" * 10)
    path = {"broken": str(broken), "good": str(smollm2_path())}.get(checkpoint, checkpoint)
    run(cell, "publish", "/sax/test/bad", "hf.CausalLM", path, "1", *overrides)
    until("the reason", lambda: said in cell.saxutil("ls", "/sax/test/bad").stderr)
    run(cell, "unpublish", "/sax/test/bad")


def test_a_prompt_longer_than_the_model_is_refused_with_both_counts(cell: ProcessCell) -> None:
    """A prompt that does not fit is INVALID_ARGUMENT and names its length and the limit."""
    status, answer = cell.http("POST", "/generate", {"model": MODEL, "query": "word " * 9000})
    assert status == 400
    assert "9001" in str(answer) or "9000" in str(answer)


@pytest.mark.parametrize(
    ("body", "status", "said"),
    [
        (b"[1, 2]", 400, "object"),
        (b"{", 400, "JSON"),
        (b'{"model": "/sax/test/smollm2", "query": "\xff\xfe"}', 400, "UTF-8"),
        (b'{"model": "/sax/test/smollm2"}', 400, "query"),
        (b'{"model": "/sax/test/nobody", "query": "x"}', 404, "nobody"),
        (b'{"model": "/sax/test/smollm2", "query": "x", "extra_inputs": {"wormth": 1}}', 400, "wormth"),
        (b'{"model": "/sax/test/smollm2", "query": ""}', 400, "query"),
        (b'{"query": "' + b"x" * 5_000_000 + b'"}', 413, "4194304"),
    ],
    ids=[
        "not an object",
        "not JSON",
        "not UTF-8",
        "missing",
        "unknown model",
        "unknown extra",
        "empty",
        "5 MB",
    ],
)
def test_a_bad_body_is_a_4xx_that_names_the_trouble(
    cell: ProcessCell, body: bytes, status: int, said: str
) -> None:
    """A bad request over HTTP is answered with the right 4xx and words about what is wrong."""
    found, answer = cell.http("POST", "/generate", raw=body)
    assert (found, said in str(answer)) == (status, True), answer


@pytest.mark.parametrize("option", ["-extra=wormth:1", "-extra=temperature:nan", "-extra=temperature:-1"])
def test_a_bad_extra_input_is_refused_by_name(cell: ProcessCell, option: str) -> None:
    """An unknown or impossible extra input fails the call and is named."""
    code, said = run(cell, "lm.generate", option, MODEL, "Hello")
    assert code == 1
    assert option.removeprefix("-extra=").split(":")[0] in said
