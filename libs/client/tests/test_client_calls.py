from __future__ import annotations

import asyncio

import pytest
from sax_client import AsyncClient, ChatMessage, Client, ClientOptions
from sax_common import errors
from sax_testing.fake_cell import FakeAdmin, FakeCell

MODEL = "/sax/test/m"


@pytest.fixture(autouse=True)
def _own_cache(tmp_path, monkeypatch):
    """Every test has a cache folder of its own."""
    monkeypatch.setenv("SAX_CACHE_DIR", str(tmp_path / "cache"))


@pytest.fixture
async def cell(tmp_path):
    """A cell with one model server and no model."""
    async with FakeCell(tmp_path / "root") as cell:
        await cell.start_server()
        yield cell


@pytest.fixture
async def client(cell):
    """A client of that cell."""
    async with AsyncClient(str(cell.root)) as client:
        yield client


async def test_publish_list_unpublish(client):
    """A published model is listed with what was published, until it is unpublished."""
    admin = client.admin("/sax/test")
    await admin.publish(MODEL, "hf.CausalLM", "/models/m", 1, {"BATCH_SIZE": "4"})
    model = await admin.list(MODEL)
    assert (model.model_path, model.checkpoint, model.overrides) == (
        "hf.CausalLM",
        "/models/m",
        {"BATCH_SIZE": "4"},
    )
    assert (model.ready_replicas, [m.model_id for m in await admin.list_all()]) == (1, [MODEL])
    await admin.unpublish(MODEL)
    with pytest.raises(errors.NotFound):
        await admin.list(MODEL)


async def test_publish_twice(client):
    """Publishing a taken name is an error."""
    admin = client.admin("/sax/test")
    await admin.publish(MODEL, "hf.CausalLM", "None", 1)
    with pytest.raises(errors.AlreadyExists):
        await admin.publish(MODEL, "hf.CausalLM", "None", 1)


async def test_lost_answer_is_asked_again_with_the_same_operation(cell, client):
    """A publish whose first answer was UNAVAILABLE is repeated with the same operation id."""
    cell.admin.failures["Publish"].append((14, "try again"))
    await client.admin("/sax/test").publish(MODEL, "hf.CausalLM", "None", 1)
    first, second = (r for r in cell.admin.requests if hasattr(r, "operation_id"))
    assert first.operation_id == second.operation_id != ""


async def test_update_keeps_what_is_not_given(cell, client):
    """An update changes the replica count and keeps ACLs; it names the generation that it read."""
    cell.admin.publish(MODEL, [])
    cell.admin.models[MODEL].model.acls.items["lm.score"] = "acl/x"
    await client.admin("/sax/test").update(MODEL, replicas=1)
    model = await client.admin("/sax/test").list(MODEL)
    assert (model.requested_replicas, model.acls, model.generation) == (1, {"lm.score": "acl/x"}, 2)


async def test_update_reads_again_when_it_lost_a_race(cell, client):
    """An ABORTED update is read and tried again."""
    cell.admin.publish(MODEL, [])
    cell.admin.failures["Update"].append((10, "changed"))
    await client.admin("/sax/test").update(MODEL, replicas=1)
    assert cell.admin.calls["List"] == 2


async def test_generate(cell, client):
    """A generated answer holds texts, scores and usage."""
    cell.admin.publish(MODEL, cell.admin.servers)
    result = await client.model(MODEL).generate("to be or")
    assert [(text.text, text.score) for text in result.texts] == [("or be to", -1.5), ("to be or", -0.5)]
    assert result.usage.prompt_tokens == 3


async def test_generate_from_messages(cell, client):
    """A conversation is sent as messages."""
    cell.admin.publish(MODEL, cell.admin.servers)
    result = await client.model(MODEL).generate("", messages=[ChatMessage("user", "hi there")])
    assert result.texts[0].text == "there hi"


async def test_score(cell, client):
    """There is one score per suffix."""
    cell.admin.publish(MODEL, cell.admin.servers)
    assert await client.model(MODEL).score("p", ["a b", "c"]) == [-2.0, -1.0]


async def test_stream_with_text_beyond_ascii(cell, client):
    """Deltas of a stream join to the whole text although the server repeats what is not ASCII."""
    cell.admin.publish(MODEL, cell.admin.servers)
    chunks = [chunk async for chunk in client.model(MODEL).generate_stream("d ça b a")]
    assert "".join(chunk.samples[0].delta for chunk in chunks) == "a b ça d"
    assert chunks[-1].samples[0].text == "a b ça d"
    assert (chunks[-1].samples[0].finish_reason, chunks[-1].usage.completion_tokens) == ("stop", 4)


async def test_stream_is_repeated_only_before_its_first_message(cell, client):
    """A stream that fails before its first message is repeated; one that fails later ends with the error."""
    cell.admin.publish(MODEL, cell.admin.servers)
    server = cell.admin.servers[0]
    server.failures["GenerateStream"].append((14, "draining"))
    server.words_before_death = 2
    stream = client.model(MODEL).generate_stream("a b c")
    assert [(await anext(stream)).samples[0].delta for _ in range(2)] == ["c", " b"]
    with pytest.raises(errors.Unavailable, match="going down"):
        await anext(stream)
    assert server.calls["GenerateStream"] == 2


async def test_leaving_a_stream_cancels_it(cell, client):
    """A caller that goes away ends the stream on the server."""
    cell.admin.publish(MODEL, cell.admin.servers)
    cell.admin.servers[0].pause_s = 30
    stream = client.model(MODEL).generate_stream("a b c")
    assert (await anext(stream)).samples[0].delta == "c"
    async with asyncio.timeout(5):
        await stream.aclose()


async def test_another_replica_is_tried(cell, client):
    """When one replica has lost the model and another is dead, the third answers."""
    servers = [cell.admin.servers[0], await cell.start_server(), await cell.start_server()]
    cell.admin.publish(MODEL, servers)
    servers[0].failures["Generate"].append((5, "unloaded"))
    await cell.kill(servers[1])
    for _ in range(4):
        assert (await client.model(MODEL).generate("a")).texts[0].text == "a"


async def test_waits_for_a_replica(cell, client):
    """A call made before any replica is ready waits and then succeeds."""
    cell.admin.publish(MODEL, [], replicas=1)
    call = asyncio.create_task(client.model(MODEL).generate("a b"))
    await asyncio.sleep(0.2)
    cell.admin.move(MODEL, cell.admin.servers)
    assert (await call).texts[0].text == "b a"


async def test_says_why_no_replica_is_ready(cell, client):
    """A call that waited in vain says what the replicas are doing."""
    cell.admin.publish(MODEL, [], replicas=3)
    cell.admin.models[MODEL].replicas.add(address="x", status=1)
    cell.admin.models[MODEL].replicas.add(address="y", status=3, failure_reason="no file a.safetensors")
    with pytest.raises(errors.Unavailable, match=r"1 loading, 1 failed: no file a\.safetensors, 1 without"):
        await client.model(MODEL).generate("a", timeout_s=0.3)


async def test_tells_what_it_waits_for(cell):
    """A person who waits for a replica is told why after a second."""
    cell.admin.publish(MODEL, [], replicas=1)
    told = []
    async with AsyncClient(str(cell.root), notice=told.append) as client:
        with pytest.raises(errors.Unavailable):
            await client.model(MODEL).generate("a", timeout_s=1.5)
    assert told == [
        "waiting: /sax/test/m has no ready replica: 1 without a model server that can serve hf.CausalLM"
    ]


async def test_unpublished_model(cell, client):
    """A model that is not published is NOT_FOUND at once, and is found as soon as it is published."""
    with pytest.raises(errors.NotFound, match="/sax/test/m is not published"):
        await client.model(MODEL).generate("a")
    cell.admin.publish(MODEL, cell.admin.servers)
    assert (await client.model(MODEL).generate("a")).texts


async def test_follows_a_move(cell, client):
    """When a model moves, calls follow without an error."""
    cell.admin.publish(MODEL, cell.admin.servers)
    await client.model(MODEL).generate("a")
    other = await cell.start_server()
    cell.admin.move(MODEL, [other])
    await asyncio.sleep(0.1)
    await client.model(MODEL).generate("a")
    assert other.calls["Generate"] == 1


async def test_data_calls_outlive_the_admin(cell, client):
    """With the admin gone a running client goes on, and a new client starts from the cache."""
    cell.admin.publish(MODEL, cell.admin.servers)
    await client.model(MODEL).generate("a")
    await cell.kill(cell.admin)
    assert (await client.model(MODEL).generate("a")).texts
    async with AsyncClient(str(cell.root)) as newcomer:
        assert (await newcomer.model(MODEL).generate("a")).texts


async def test_admin_call_finds_the_new_leader(cell, client):
    """A standby's UNAVAILABLE sends the client back to the location, where the new leader is."""
    admin = client.admin("/sax/test")
    await admin.list_all()
    old = cell.admin
    old.is_standby = True
    await cell.start_admin(FakeAdmin(server_id="fake_2", term=2))
    cell.admin.publish(MODEL, [])
    assert [model.model_id for model in await admin.list_all()] == [MODEL]


@pytest.mark.parametrize(
    ("content", "words"),
    [
        (None, "No admin server has been started"),
        (b"", "No admin server has been started"),
        (b"\x0a\x33No admin server has been started for this Sax cell.", "No admin server has been started"),
        (b"\x0a\x07garbage", "not an address"),
        (b"\xff", "damaged"),
    ],
)
async def test_location_that_names_nobody(cell, client, content, words):
    """A missing, empty, placeholder or damaged location is FAILED_PRECONDITION with what to do."""
    (cell.root / "sax/test/location.proto").unlink()
    if content is not None:
        cell.write("location.proto", content)
    with pytest.raises(errors.FailedPrecondition, match=words):
        await client.admin("/sax/test").list_all()


async def test_no_such_cell(client):
    """A cell that does not exist is named, for admin and data calls alike."""
    with pytest.raises(errors.FailedPrecondition, match="no Sax cell /sax/other"):
        await client.admin("/sax/other").list_all()
    with pytest.raises(errors.FailedPrecondition, match="no Sax cell /sax/other"):
        await client.model("/sax/other/m").generate("a")


async def test_missing_root(monkeypatch):
    """Without a root the first use of a cell says so."""
    monkeypatch.delenv("SAX_ROOT", raising=False)
    async with AsyncClient() as client:
        with pytest.raises(errors.FailedPrecondition, match="SAX_ROOT"):
            client.admin("/sax/test")


async def test_fail_fast(cell, client):
    """A fail-fast call neither waits for a replica nor repeats UNAVAILABLE."""
    cell.admin.publish(MODEL, [], replicas=1)
    model = client.model(MODEL, ClientOptions(fail_fast=True))
    with pytest.raises(errors.Unavailable, match="no ready replica"):
        await asyncio.wait_for(model.generate("a"), 5)


async def test_waiting_for_a_replica_can_be_bounded(cell, client):
    """A call with a long deadline gives up early when no replica is ready, if told so."""
    cell.admin.publish(MODEL, [], replicas=1)
    model = client.model(MODEL, ClientOptions(ready_timeout_s=0.2))
    with pytest.raises(errors.Unavailable, match="no ready replica"):
        await asyncio.wait_for(model.generate("a", timeout_s=600), 5)


async def test_proxy(cell, client):
    """A proxy target is called without asking any cell."""
    model = client.model("anything", ClientOptions(proxy_address=cell.admin.servers[0].address))
    assert (await model.generate("a b")).texts[0].text == "b a"
    assert not cell.admin.calls


async def test_original_admin(tmp_path):
    """A cell whose admin speaks no terms and sends no full sets is served as well."""
    async with FakeCell(tmp_path / "root", is_original=True) as cell, AsyncClient(str(cell.root)) as client:
        cell.admin.publish(MODEL, [await cell.start_server()])
        assert (await client.model(MODEL).generate("a")).texts
        assert (await client.admin("/sax/test").list(MODEL)).ready_replicas is None


async def test_deadline(cell, client):
    """A call ends when its deadline passes."""
    cell.admin.publish(MODEL, cell.admin.servers)
    cell.admin.servers[0].delay_s = 5
    with pytest.raises(errors.DeadlineExceeded):
        await client.model(MODEL).generate("a", timeout_s=0.3)


async def test_overloaded_server_sees_few_retries(cell, client):
    """A server that refuses everything sees at most a fifth more attempts than requests."""
    cell.admin.publish(MODEL, cell.admin.servers)
    cell.admin.servers[0].failures["Generate"].extend([(8, "full")] * 1000)
    calls = (client.model(MODEL).generate("a") for _ in range(50))
    outcomes = await asyncio.gather(*calls, return_exceptions=True)
    assert all(isinstance(outcome, errors.ResourceExhausted) for outcome in outcomes)
    assert cell.admin.servers[0].calls["Generate"] <= 50 * 1.2 + 3


async def test_watch(cell, client):
    """A watch starts with everything and then tells each change."""
    cell.admin.publish(MODEL, cell.admin.servers)
    changes = client.admin("/sax/test").watch(MODEL)
    first = await anext(changes)
    assert first.full_set == {cell.admin.servers[0].address}
    cell.admin.move(MODEL, [])
    second = await anext(changes)
    assert [(m.address, m.is_addition) for m in second.mutations] == [(cell.admin.servers[0].address, False)]
    await changes.aclose()


async def test_sync_client(cell):
    """The client for threads gives the same answers."""

    def use() -> list[str]:
        with Client(str(cell.root)) as client:
            client.admin("/sax/test").publish(MODEL, "hf.CausalLM", "None", 1)
            model = client.model(MODEL)
            deltas = [chunk.samples[0].delta for chunk in model.generate_stream("a b")]
            return [model.generate("a b").texts[0].text, *deltas]

    assert await asyncio.to_thread(use) == ["b a", "b", " a"]
