import asyncio

import grpc
import pytest
from model_cell import eventually, load_model, running_server, status
from saxml.protobuf import common_pb2, lm_pb2, modelet_pb2

KEY = "/sax/test/m"


async def refused(call, code, words):
    """The call must fail with this code and these words."""
    with pytest.raises(grpc.aio.AioRpcError) as caught:
        await call
    assert caught.value.code() == getattr(grpc.StatusCode, code)
    assert words in caught.value.details()


async def test_load_answers_when_the_model_serves(cell):
    """Load returns once the model is LOADED, and GetStatus tells everything about it."""
    await load_model(cell, digest=b"d1", term=3)
    answer = await status(cell)
    (model,) = answer.models
    assert (model.model_key, model.model_status, model.digest) == (KEY, common_pb2.LOADED, b"d1")
    assert model.memory_bytes == 1234
    assert sorted(stats.method for stats in model.method_stats) == [
        "lm.generate",
        "lm.generate_stream",
        "lm.score",
    ]
    assert (answer.highest_term, answer.is_draining) == (3, False)
    assert answer.incarnation
    assert answer.memory.total_bytes > answer.memory.used_bytes > 0
    assert answer.server_status.state == modelet_pb2.GetStatusResponse.ServerStatus.ACTIVE
    assert answer.server_status.explanation


async def test_a_failed_load_says_why_and_can_be_tried_again(cell):
    """The Load call and GetStatus carry the same words; a second Load starts afresh."""
    words = "None/model.safetensors is damaged"
    await refused(load_model(cell, path="toy.Bad"), "INVALID_ARGUMENT", words)
    (model,) = (await status(cell)).models
    assert model.model_status == common_pb2.FAILED
    assert words in model.failure_reason
    await load_model(cell)
    (model,) = (await status(cell)).models
    assert (model.model_status, model.failure_reason) == (common_pb2.LOADED, "")


async def test_a_bug_in_a_loader_is_an_internal_error(cell):
    """What is nobody's mistake but ours is INTERNAL, as in the original."""
    await refused(load_model(cell, path="toy.Bug"), "INTERNAL", "Loading error: KeyError")


async def test_two_loads_of_one_spec_are_one_load(cell):
    """The second call waits for the first load; the loader runs once."""
    first = asyncio.ensure_future(load_model(cell, path="toy.Waits", digest=b"d"))
    second = asyncio.ensure_future(load_model(cell, path="toy.Waits", digest=b"d"))
    await asyncio.sleep(0.1)
    assert not first.done()
    assert (await status(cell)).models[0].load_fraction == 0.25
    cell.loader.gate.set()
    await asyncio.gather(first, second)
    assert len(cell.loader.loaded) == 1


async def test_a_load_of_another_spec_under_a_held_key_is_refused(cell):
    """A key names one thing at a time; an original admin, which sends no digest, is told OK as it expects."""
    await load_model(cell, digest=b"one")
    await load_model(cell)
    await refused(load_model(cell, digest=b"two"), "FAILED_PRECONDITION", "unload it first")


async def test_a_cancelled_load_call_does_not_cancel_the_load(cell):
    """The admin may go away; what it ordered goes on."""
    call = asyncio.ensure_future(load_model(cell, path="toy.Waits"))
    await eventually(cell.server.table.reports)
    call.cancel()
    cell.loader.gate.set()
    await eventually(lambda: cell.server.table.reports()[0].state.value == "LOADED")


async def test_a_load_can_be_given_up(cell):
    """Unload of a LOADING model cancels the load; the waiting Load call ends, the key is free."""
    call = asyncio.ensure_future(load_model(cell, path="toy.Waits"))
    await eventually(cell.server.table.reports)
    await cell.modelet.Unload(modelet_pb2.UnloadRequest(model_key=KEY))
    await refused(call, "CANCELLED", "cancelled")
    assert not (await status(cell)).models


async def test_the_line_of_loads_is_bounded(cell):
    """The fifth load is refused with RESOURCE_EXHAUSTED and leaves no trace."""
    calls = [
        asyncio.ensure_future(load_model(cell, key=f"/sax/test/m{i}", path="toy.Waits")) for i in range(4)
    ]
    await eventually(lambda: len(cell.server.table.reports()) == 4)
    await refused(load_model(cell, key="/sax/test/m9"), "RESOURCE_EXHAUSTED", "4 loads")
    assert len((await status(cell)).models) == 4
    cell.loader.gate.set()
    await asyncio.gather(*calls)


async def test_unload_errors_are_those_of_the_original(loaded):
    """Empty and unknown keys are INVALID_ARGUMENT; afterwards the model is gone."""
    unload = loaded.modelet.Unload
    await refused(unload(modelet_pb2.UnloadRequest()), "INVALID_ARGUMENT", "model_key")
    await refused(unload(modelet_pb2.UnloadRequest(model_key="/sax/test/x")), "INVALID_ARGUMENT", "not here")
    await unload(modelet_pb2.UnloadRequest(model_key=KEY))
    assert not (await status(loaded)).models
    await eventually(lambda: loaded.loader.loaded[0].is_closed)


async def test_unload_lets_requests_in_flight_finish(cell):
    """New requests get NOT_FOUND at once; the one in flight gets its whole answer."""
    await load_model(cell, path="toy.Slow")
    request = lm_pb2.GenerateRequest(model_key=KEY, text="ab")
    running = asyncio.ensure_future(cell.lm.Generate(request))
    await eventually(lambda: cell.server.table.in_flight == 1)
    unload = asyncio.ensure_future(cell.modelet.Unload(modelet_pb2.UnloadRequest(model_key=KEY)))
    await eventually(lambda: cell.server.table.reports()[0].state.value == "UNLOADING")
    await refused(cell.lm.Generate(request), "NOT_FOUND", "already unloaded")
    assert (await running).usage.completion_tokens == 8
    await unload


async def test_unload_ends_requests_that_take_too_long():
    """The drain has a bound; then the rest ends with UNAVAILABLE, which clients retry elsewhere."""
    async with running_server("--drain_s=0.2") as cell:
        await load_model(cell, path="toy.Slow")
        options = lm_pb2.GenerateOptions(max_tokens=400)
        running = asyncio.ensure_future(
            cell.lm.Generate(lm_pb2.GenerateRequest(model_key=KEY, text="ab", options=options))
        )
        await eventually(lambda: cell.server.table.in_flight == 1)
        await cell.modelet.Unload(modelet_pb2.UnloadRequest(model_key=KEY))
        await refused(running, "UNAVAILABLE", "was unloaded")


async def test_static_models_stay():
    """With --keep_statically_loaded_models the admin cannot take a model away."""
    flags = [
        "--models=toy.Ok",
        f"--model_keys={KEY}",
        "--checkpoints=None",
        "--keep_statically_loaded_models",
    ]
    async with running_server(*flags) as cell:
        await cell.server.load_static()
        await refused(
            cell.modelet.Unload(modelet_pb2.UnloadRequest(model_key=KEY)), "UNAVAILABLE", "statically"
        )


async def test_an_update_replaces_acls_and_reloads_only_for_another_checkpoint(loaded):
    """The same checkpoint path again is no reason to reload, a new one is."""
    update = loaded.modelet.UpdateLoaded
    acls = common_pb2.AccessControlLists(items={"lm.generate": "acl/x"})
    await update(modelet_pb2.UpdateLoadedRequest(model_key=KEY, acls=acls, checkpoint_path="None"))
    assert len(loaded.loader.loaded) == 1
    await update(modelet_pb2.UpdateLoadedRequest(model_key=KEY, checkpoint_path="/other", digest=b"new"))
    assert len(loaded.loader.loaded) == 2
    assert (await status(loaded)).models[0].digest == b"new"


async def test_another_checkpoint_takes_over_without_a_gap(cell):
    """A request in flight ends on the old one, the key is never NOT_FOUND; the old engine is released."""
    await load_model(cell, path="toy.Slow")
    request = lm_pb2.GenerateRequest(model_key=KEY, text="ab")
    running = asyncio.ensure_future(cell.lm.Generate(request))
    await eventually(lambda: cell.server.table.in_flight == 1)
    await cell.modelet.UpdateLoaded(modelet_pb2.UpdateLoadedRequest(model_key=KEY, checkpoint_path="/new"))
    assert (await running).usage.completion_tokens == 8
    assert (await cell.lm.Generate(request)).usage.completion_tokens == 8
    assert [model.is_closed for model in cell.loader.loaded] == [True, False]


async def test_a_broken_checkpoint_leaves_the_old_one_serving(loaded):
    """The update fails with the file's name; the model answers as before."""
    update = modelet_pb2.UpdateLoadedRequest(model_key=KEY, checkpoint_path="/broken", digest=b"x")
    await refused(loaded.modelet.UpdateLoaded(update), "INVALID_ARGUMENT", "/broken/model.safetensors")
    (model,) = (await status(loaded)).models
    assert (model.model_status, model.digest) == (common_pb2.LOADED, b"")
    await loaded.lm.Generate(lm_pb2.GenerateRequest(model_key=KEY, text="ab"))


async def test_update_errors(loaded):
    """An empty key, a model that is not here, and a change that an update cannot make."""
    update = loaded.modelet.UpdateLoaded
    await refused(update(modelet_pb2.UpdateLoadedRequest()), "INVALID_ARGUMENT", "model_key")
    await refused(update(modelet_pb2.UpdateLoadedRequest(model_key="/sax/test/x")), "NOT_FOUND", "not loaded")
    await refused(
        update(modelet_pb2.UpdateLoadedRequest(model_key=KEY, digest=b"other")), "FAILED_PRECONDITION", "ACLs"
    )


async def test_orders_of_a_stale_leader_are_refused(loaded):
    """Once term 7 polled, an order of term 6 or without a term changes nothing."""
    answer = await status(loaded, term=7)
    assert answer.highest_term == 7
    for term in (0, 6):
        request = modelet_pb2.UnloadRequest(model_key=KEY, term=term)
        await refused(loaded.modelet.Unload(request), "FAILED_PRECONDITION", "term 7")
    request = modelet_pb2.UnloadRequest(model_key=KEY, term=7, incarnation="another run")
    await refused(loaded.modelet.Unload(request), "FAILED_PRECONDITION", "another run")
    await loaded.modelet.Unload(
        modelet_pb2.UnloadRequest(model_key=KEY, term=7, incarnation=answer.incarnation)
    )


async def test_save_and_export_say_why_not(cell):
    """Not implemented, and the reason."""
    await refused(cell.modelet.Save(modelet_pb2.SaveRequest()), "UNIMPLEMENTED", "never changed")
    await refused(cell.modelet.Export(modelet_pb2.ExportRequest()), "UNIMPLEMENTED", "TensorFlow")


async def test_wake_up_of_a_server_that_never_sleeps_is_fine(cell):
    """Original admins may send it."""
    await cell.modelet.WakeUp(modelet_pb2.WakeUpRequest())


async def test_an_engine_that_fails_takes_only_its_own_model_along(cell):
    """Its calls end with UNAVAILABLE and it is FAILED; the other model goes on; a new Load heals it."""
    await load_model(cell, path="toy.Fails")
    await load_model(cell, key="/sax/test/other")
    await refused(
        cell.lm.Generate(lm_pb2.GenerateRequest(model_key=KEY, text="ab")), "UNAVAILABLE", "toy was told"
    )
    models = {model.model_key: model for model in (await status(cell)).models}
    assert models[KEY].model_status == common_pb2.FAILED
    assert "ToyFailure" in models[KEY].failure_reason
    answer = await cell.lm.Generate(lm_pb2.GenerateRequest(model_key="/sax/test/other", text="ab"))
    assert len(answer.texts) == 1
    await load_model(cell)
    assert not cell.ended


async def test_a_step_that_hangs_ends_the_process_in_order():
    """The watch sees it, requests end with UNAVAILABLE, and the end of the process is asked for."""
    async with running_server("--step_timeout_s=0.5") as cell:
        await load_model(cell, path="toy.Hangs")
        await refused(
            cell.lm.Generate(lm_pb2.GenerateRequest(model_key=KEY, text="ab")), "UNAVAILABLE", "step"
        )
        assert cell.server.has_device_fault
        assert "step" in cell.ended[0]
