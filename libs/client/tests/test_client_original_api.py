from __future__ import annotations

import asyncio
import copy

import pytest
from sax_client import AsyncClient
from sax_client import client as client_module
from sax_testing.fake_cell import FakeCell
from saxml.client.python import sax
from saxml.protobuf import common_pb2, lm_pb2_grpc

MODEL = "/sax/test/m"


@pytest.fixture
async def cell(tmp_path, monkeypatch):
    """A cell that SAX_ROOT points at, with one model server."""
    monkeypatch.setenv("SAX_CACHE_DIR", str(tmp_path / "cache"))
    monkeypatch.setenv("SAX_ROOT", str(tmp_path / "root"))
    async with FakeCell(tmp_path / "root") as cell:
        await cell.start_server()
        yield cell


@pytest.fixture
async def lm(cell):  # noqa: ARG001 - it must be there
    """The language methods of a published model."""
    await asyncio.to_thread(sax.Publish, MODEL, "hf.CausalLM", "None", 1)
    return sax.Model(MODEL).LM()


async def test_admin_functions(cell):
    """A model is published, listed, updated and unpublished with the original's calls."""

    def use() -> None:
        sax.Publish(
            id=MODEL, model_path="hf.CausalLM", checkpoint_path="/c", num_replicas=1, overrides={"A": "1"}
        )
        assert sax.List(MODEL) == ("hf.CausalLM", "/c", 1)
        sax.Update(MODEL, "hf.CausalLM", "/d", 0, sax.AdminOptions())
        assert sax.ListDetail(MODEL) == sax.ModelDetail("hf.CausalLM", "/d", 0, 0, {"A": "1"})
        assert sax.ListAll("/sax/test") == [MODEL]
        assert sax.Stats("/sax/test") == [sax.ModelServerTypeStat("CHIP_TYPE_CPU", "CHIP_TOPOLOGY_1", 1)]
        sax.WaitForReady(MODEL, 0)
        sax.Unpublish(MODEL)
        assert sax.ListAll("/sax/test") == []

    await asyncio.to_thread(use)
    assert cell.admin.calls["Publish"] == 1


async def test_acls(cell):
    """ACLs of a cell, a model and its methods are set and read."""
    cell.admin.publish(MODEL, [])

    def use() -> None:
        sax.SetACL("/sax/test", "acl/all")
        sax.SetACL(MODEL, "acl/a")
        sax.SetACL(MODEL, "acl/b", method_id="lm.score")
        assert (sax.GetACL("/sax/test"), sax.GetACL(MODEL)) == ("acl/all", "acl/a")
        assert (sax.GetACL(MODEL, "lm.score"), sax.GetACL(MODEL, "all")) == ("acl/b", {"lm.score": "acl/b"})

    await asyncio.to_thread(use)


async def test_language_model(lm):
    """Generate, Score and Embed give plain lists and tuples."""
    assert await asyncio.to_thread(lm.Generate, "a b") == [("b a", -1.5), ("a b", -0.5)]
    assert await asyncio.to_thread(lm.Score, "p", ["x y"]) == [-2.0]
    assert await asyncio.to_thread(lm.Embed, "a bb") == [1.0, 2.0]


async def test_stream_callback(lm):
    """The callback gets what was sent, the scores, and at the end an empty list with last=True."""
    seen, text = [], ""
    await asyncio.to_thread(lm.GenerateStream, "b ç a", lambda last, items: seen.append((last, items)))
    for _, items in seen[:-1]:
        [(sent, prefix_len, scores)] = items
        text = text[:prefix_len] + sent
    assert (text, scores, seen[-1]) == ("a ç b", [-1.0], (True, []))


async def test_options_reach_the_server(cell, lm):
    """Extra inputs set on the options are sent with the request."""
    options = sax.ModelOptions()
    options.SetExtraInput("temperature", 0.5)
    options.SetExtraInputTensor("t", [1, 2])
    options.SetExtraInputString("s", "x")
    options.SetTimeout(30)
    await asyncio.to_thread(lm.Generate, "a", options)
    tensor = common_pb2.Tensor(values=[1, 2])
    expected = common_pb2.ExtraInputs(items={"temperature": 0.5}, tensors={"t": tensor}, strings={"s": "x"})
    assert cell.admin.servers[0].requests[-1].extra_inputs == expected == options.ToProto()


def test_options_are_copied_by_value():
    """A copy of the options does not change with the original; a missing input is an IndexError."""
    options = sax.ModelOptions()
    other = copy.copy(options)
    options.SetExtraInput("a", 1)
    assert (options.GetExtraInput("a"), other.GetTimeout()) == (1.0, -1.0)
    with pytest.raises(IndexError):
        other.GetExtraInput("a")


async def test_errors(cell):
    """Errors carry a status; a bad name is reported by the first call."""
    with pytest.raises(sax.StatusNotOk, match=r"^NOT_FOUND: ") as caught:
        await asyncio.to_thread(sax.List, MODEL)
    assert caught.value.status.code() == sax.StatusCode.NOT_FOUND
    lm = sax.Model("bad name").LM()
    with pytest.raises(sax.StatusNotOk, match=r"^INVALID_ARGUMENT: "):
        await asyncio.to_thread(lm.Generate, "a")
    assert not cell.admin.calls["WatchLoc"]


async def test_methods_that_a_server_does_not_have(cell):
    """Vision, audio, custom and multimodal calls reach the server, which says that it has no such service."""
    cell.admin.publish(MODEL, cell.admin.servers)
    model = sax.Model(MODEL)
    calls = [
        (model.VM().Classify, b"x"),
        (model.AM().Recognize, b"x"),
        (model.VM().Detect, b"x", ["cat"], [(0.1, 0.2, 0.3, 0.4)]),
    ]
    for function, *args in calls:
        with pytest.raises(sax.StatusNotOk, match=r"^UNIMPLEMENTED"):
            await asyncio.to_thread(function, *args)
    status = await asyncio.to_thread(model.CM().CustomNoException, b"x", "m")
    assert status.code() == sax.StatusCode.UNIMPLEMENTED


async def test_hundred_threads(lm):
    """Many threads may call one object at once."""
    answers = await asyncio.gather(*(asyncio.to_thread(lm.Generate, f"{i}") for i in range(100)))
    assert [answer[0][0] for answer in answers] == [str(i) for i in range(100)]


async def test_models_nobody_publishes_are_forgotten(cell, monkeypatch):
    """A client that is asked for any number of unknown names keeps a bounded number of models."""
    monkeypatch.setattr(client_module, "MODELS_KEPT", 3)
    async with AsyncClient(str(cell.root)) as client:
        for number in range(9):
            with pytest.raises(Exception, match="not published"):
                await client.model(f"/sax/test/m{number}").call(lm_pb2_grpc.LMServiceStub, "Generate", None)
        assert len(client._models) == 3
