from __future__ import annotations

import io
import json
import sys

import pytest
from sax_util.commands_lm import score_lines

MODEL = "/sax/test/m"


@pytest.fixture
def published(cell, saxutil):
    """A published model."""
    assert saxutil("publish", MODEL, "hf.CausalLM", "None", "1").status == 0
    return cell


def stdin(monkeypatch, data: bytes) -> None:
    """Give the program this standard input."""
    monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(data), encoding="utf-8"))


def test_publish_is_silent(cell, saxutil):
    """A publish prints nothing, and its overrides reach the admin unparsed."""
    ran = saxutil("publish", MODEL, "hf.CausalLM", "None", "1", "A=[1, 2]", "B=x=y")
    assert (ran.status, ran.out, ran.err) == (0, "", "")
    assert dict(cell.cell.admin.models[MODEL].model.overrides) == {"A": "[1, 2]", "B": "x=y"}


@pytest.mark.parametrize("last", [["one"], ["1", "novalue"]])
@pytest.mark.usefixtures("cell")
def test_publish_usage(saxutil, last):
    """A replica count that is no integer and an override without a value are usage errors."""
    assert saxutil("publish", MODEL, "hf.CausalLM", "None", *last).status == 2


@pytest.mark.usefixtures("cell")
def test_ls_cells(saxutil):
    """`ls /sax` lists the cells under the root."""
    assert saxutil("ls", "/sax").out.splitlines()[3] == "| 0 | test |"


@pytest.mark.usefixtures("published")
def test_ls_cell(saxutil):
    """`ls` of a cell lists short names; methods only when details are asked for by name."""
    assert saxutil("ls", "-csv", "/sax/test").out == "# #,Model ID\n0,m\n"
    assert (
        saxutil("ls", "-csv", "-details", "/sax/test").out
        == "# #,Model ID,Methods\n0,m,lm.generate, lm.score\n"
    )


def test_ls_model(published, saxutil):
    """`ls` of a model shows what it is, where it is loaded, and its ACLs."""
    lines = saxutil("ls", MODEL).out.splitlines()
    assert lines[1].split("|")[5].strip() == "(SELECTED) REPLICAADDRESS"
    assert lines[3].split("|")[5].strip() == published.server.address
    assert lines[6] == "| METHOD | ACL |"


@pytest.mark.usefixtures("published")
def test_ls_nothing(saxutil):
    """Asking for neither details nor ACLs is a failure."""
    assert saxutil("ls", "-details=false", "-acls=false", MODEL).status == 1


def test_ls_says_why_replicas_are_missing(published, saxutil):
    """Missing replicas are explained on standard error, in -status and in JSON."""
    model = published.cell.admin.models[MODEL]
    model.model.requested_num_replicas = 2
    model.replicas.add(address="h:1", status=3, failure_reason="no file a.safetensors", failed_loads=4)
    ran = saxutil("ls", "-status", MODEL)
    assert "1 of 2 replicas ready: 1 ready, 1 failed: no file a.safetensors" in ran.err
    assert "no file a.safetensors" in ran.out
    found = json.loads(saxutil("ls", "-output", "json", MODEL).out)
    assert (found["ready_replicas"], found["reason"]) == (1, "1 ready, 1 failed: no file a.safetensors")


def test_update_and_unpublish(published, saxutil):
    """Replicas and checkpoint can be changed; then the model goes away."""
    assert saxutil("update", "-replicas=0", MODEL).status == 0
    assert saxutil("update_checkpoint", MODEL, "/other").status == 0
    model = published.cell.admin.models[MODEL].model
    assert (model.requested_num_replicas, model.checkpoint_path) == (0, "/other")
    assert saxutil("update", MODEL).status == 1
    assert saxutil("unpublish", MODEL).status == 0
    ran = saxutil("ls", MODEL)
    assert (ran.status, "NOT_FOUND" in ran.err, "getacl" in ran.err) == (1, True, True)


@pytest.mark.usefixtures("published")
def test_generate_table(saxutil):
    """Generated texts are a table with their scores."""
    assert saxutil("lm.generate", MODEL, "b a").out.splitlines()[3:5] == [
        "| a b      |  -1.5 |",
        "| b a      |  -0.5 |",
    ]


@pytest.mark.usefixtures("published")
def test_generate_terse(saxutil):
    """-terse prints texts by descending score, -n so many of them."""
    assert saxutil("lm.generate", "-terse", MODEL, "b a").out == "b a\na b\n"
    assert saxutil("lm.generate", "-terse", "-n=1", MODEL, "b a").out == "b a\n"


@pytest.mark.usefixtures("published")
def test_generate_from_standard_input(saxutil, monkeypatch):
    """A dash reads the query from standard input."""
    stdin(monkeypatch, "é b".encode())
    assert saxutil("lm.generate", "-terse", "-n", "1", MODEL, "-").out == "é b\n"


@pytest.mark.usefixtures("published")
def test_standard_input_that_is_no_text(saxutil, monkeypatch):
    """Bytes that are not UTF-8 are refused with their place."""
    stdin(monkeypatch, b"ab\xff")
    ran = saxutil("lm.generate", MODEL, "-")
    assert (ran.status, "at byte 2" in ran.err) == (1, True)


@pytest.mark.usefixtures("published")
def test_generate_stream(saxutil):
    """A stream that is not watched on a terminal prints its text once, and the summed scores."""
    assert saxutil("lm.generate", "-stream", MODEL, "c b a").out == "a b c\n\nScores: -3\n"
    assert saxutil("lm.generate", "-stream", "-terse", MODEL, "x").status == 1


def test_several_scores_per_sample():
    """A server with several scores per sample gets total and last lines."""
    assert score_lines([[1.0, 2.0]], [[0.5, 0.25]]) == (
        "Total Scores[0]: 1\nTotal Scores[1]: 2\n\nLast Score[0]: 0.5\nLast Score[1]: 0.25\n"
    )


@pytest.mark.usefixtures("published")
def test_generate_json(saxutil):
    """-output json gives texts and usage."""
    found = json.loads(saxutil("-output=json", "lm.generate", MODEL, "b a").out)
    assert (found["texts"][0]["text"], found["usage"]["prompt_tokens"]) == ("a b", 2)


def test_generate_with_extra_inputs_through_a_proxy(published, saxutil):
    """-extra reaches the server, -proxy goes there directly."""
    address = published.server.address
    assert (
        saxutil("lm.generate", "-extra=temperature:0.5,mode:'fast'", f"-proxy={address}", "m", "a").status
        == 0
    )
    extra = published.server.requests[-1].extra_inputs
    assert (extra.items["temperature"], extra.strings["mode"]) == (0.5, "fast")


@pytest.mark.usefixtures("published")
def test_score(saxutil):
    """One suffix gives a plain table."""
    assert saxutil("lm.score", MODEL, "p", "a b").out.splitlines()[1:4:2] == [
        "| SUFFIX | SCORE |",
        "| a b    |    -2 |",
    ]


@pytest.mark.usefixtures("published")
def test_embed(saxutil):
    """An embedding is one row."""
    assert "| 1, 2      |" in saxutil("lm.embed", MODEL, "a bb").out


@pytest.mark.usefixtures("published")
def test_stats(saxutil):
    """Servers are counted by kind and by model path."""
    assert saxutil("stats", "-output=json", "/sax/test").out.startswith(
        '{"server_types": [{"chip_type": "CHIP_TYPE_CPU"'
    )
    assert "hf.CausalLM" in saxutil("stats", MODEL).out


def test_watch_ends_when_the_model_is_unpublished(published, saxutil):
    """A watch prints the full set and ends with status 1 when the model goes away."""
    admin = published.cell.admin

    def later() -> None:
        del admin.models[MODEL], admin._logs[MODEL]
        admin._notify()

    published._loop.call_soon_threadsafe(published._loop.call_later, 0.3, later)
    ran = saxutil("watch", MODEL)
    assert (ran.status, ran.out) == (1, f"Reset\n+ {published.server.address}\nReset\n")


def test_chat(published, saxutil, monkeypatch):
    """A conversation sends all turns so far and ends at the end of input."""
    stdin(monkeypatch, b"b a\nd c\n")
    assert saxutil("chat", MODEL).out == "a b\nc d b a a b\n"
    sent = published.server.requests[-1]
    assert [message.role for message in sent.messages] == ["user", "assistant", "user"]


@pytest.mark.usefixtures("published")
def test_acls(saxutil):
    """ACLs of cell, model and method are read and set."""
    assert saxutil("getacl", "/sax/test").out == "No admin ACLs set for cell.\n"
    assert saxutil("setacl", "/sax/test", "acl/all").status == 0
    assert saxutil("getacl", "/sax/test").out == "acl/all\n"
    assert saxutil("getacl", MODEL, "lm.score").out == "No ACLs set for method.\n"
    assert saxutil("setacl", MODEL, "lm.score", "acl/a").status == 0
    assert saxutil("getacl", MODEL, "all").out == "lm.score: acl/a\n"
    assert saxutil("setacl", MODEL, "lm.score", "").status == 0
    assert saxutil("getacl", MODEL, "all").out == "No ACLs set for model.\n"
