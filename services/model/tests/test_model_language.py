import asyncio
import math

import grpc
import pytest
from model_cell import eventually, load_model, running_server, status
from model_toy_language import ALPHABET, answer
from sax_runtime import metrics
from saxml.protobuf import common_pb2, custom_pb2, lm_pb2, vision_pb2

KEY = "/sax/test/m"


def ask(text="ab", **options):
    """Return a request for the model under test."""
    return lm_pb2.GenerateRequest(model_key=KEY, text=text, options=lm_pb2.GenerateOptions(**options))


async def refused(call, code, words):
    """The call must fail with this code and these words."""
    with pytest.raises(grpc.aio.AioRpcError) as caught:
        await call
    assert caught.value.code() == getattr(grpc.StatusCode, code), caught.value.details()
    assert words in caught.value.details()


async def read_stream(call):
    """Return all messages, and per sample the text by the rule of the original clients, which slice bytes."""
    messages, texts = [], {}
    async for message in call:
        messages.append(message)
        for index, item in enumerate(message.items):
            texts[index] = texts.get(index, b"")[: item.prefix_len] + item.text.encode()
    return messages, [texts[index].decode() for index in sorted(texts)]


async def test_generate_answers_what_the_model_computes(loaded):
    """Text, score, finish reason and usage of a greedy answer are those computed by hand."""
    reply = await loaded.lm.Generate(ask(max_tokens=12))
    (text,) = reply.texts
    assert text.text == answer("ab", 12)
    assert text.finish_reason == lm_pb2.FINISH_REASON_LENGTH
    assert text.score < 0
    assert (reply.usage.prompt_tokens, reply.usage.completion_tokens) == (2, 12)


async def test_a_stream_brings_the_same_text_as_one_answer(loaded):
    """Message by message, with bytes sliced as original clients do, non-ASCII text included."""
    for prompt in ("ab", "q", "zz", "ü€"):
        messages, texts = await read_stream(loaded.lm.GenerateStream(ask(prompt, max_tokens=40)))
        assert texts == [answer(prompt, 40)]
        assert messages[-1].usage.completion_tokens == 40
        assert messages[-1].items[0].finish_reason == lm_pb2.FINISH_REASON_LENGTH
        assert not any(message.HasField("usage") for message in messages[:-1])


async def test_scores_of_a_stream_add_up_to_the_score_of_the_answer(loaded):
    """Each token is counted once, whatever message brings it."""
    whole = await loaded.lm.Generate(ask(max_tokens=10))
    messages, _ = await read_stream(loaded.lm.GenerateStream(ask(max_tokens=10)))
    total = sum(score for message in messages for score in message.items[0].scores)
    assert total == pytest.approx(whole.texts[0].score)


async def test_every_stream_message_has_an_item_for_every_sample(loaded):
    """Original clients index items by sample; samples differ from each other, not from run to run."""
    request = ask(max_tokens=20, num_samples=3, temperature=1.0, seed=5)
    messages, texts = await read_stream(loaded.lm.GenerateStream(request))
    assert all(len(message.items) == 3 for message in messages)
    assert texts == [sample.text for sample in (await loaded.lm.Generate(request)).texts]
    assert len(set(texts)) > 1


async def test_samples_of_a_whole_answer_come_best_first_where_the_model_sorts(loaded):
    """Streams keep the order of the samples, whole answers are sorted by score."""
    loaded.loader.loaded[0].sorts_samples = True
    reply = await loaded.lm.Generate(ask(max_tokens=6, num_samples=4, temperature=2.0, seed=3))
    scores = [text.score for text in reply.texts]
    assert scores == sorted(scores, reverse=True)
    assert len(set(scores)) > 1


async def test_a_stop_string_ends_the_answer_before_it(loaded):
    """The stop string is not part of the text; the slot is free although the engine knew nothing."""
    whole = answer("ab", 30)
    stop = whole[5:8]
    expected = whole[: whole.index(stop)]
    reply = await loaded.lm.Generate(ask(max_tokens=30, stop=[stop]))
    assert reply.texts[0].text == expected
    assert reply.texts[0].finish_reason == lm_pb2.FINISH_REASON_STOP
    _, texts = await read_stream(loaded.lm.GenerateStream(ask(max_tokens=30, stop=[stop])))
    assert texts == [expected]
    await eventually(lambda: loaded.server.table.reports()[0].snapshot.running == 0)


async def test_logprobs_are_reported_per_token_when_asked_for(loaded):
    """Token, bytes, log-probability, and as many alternatives as asked for; none otherwise."""
    reply = await loaded.lm.Generate(ask(max_tokens=4, top_logprobs=2))
    tokens = reply.texts[0].logprobs
    assert "".join(token.token for token in tokens) == answer("ab", 4)
    assert [len(token.top) for token in tokens] == [2] * 4
    assert tokens[0].token_bytes.decode() == tokens[0].token
    assert sum(token.logprob for token in tokens) == pytest.approx(reply.texts[0].score)
    assert not (await loaded.lm.Generate(ask(max_tokens=4))).texts[0].logprobs


async def test_score_gives_one_number_per_suffix(loaded):
    """What greedy decoding would say is more likely than anything else."""
    likely = answer("ab", 1)
    suffixes = [likely, *[char for char in ALPHABET if char != likely][:3]]
    request = lm_pb2.ScoreRequest(model_key=KEY, prefix="ab", suffix=suffixes)
    scores = (await loaded.lm.Score(request)).logp
    assert len(scores) == 4
    assert max(scores) == scores[0]
    assert all(math.isfinite(score) for score in scores)


async def test_bad_requests_are_refused_with_what_is_wrong(loaded):
    """Each mistake is named, none reaches the engine."""
    extra = common_pb2.ExtraInputs(items={"temprature": 1.0})
    generate = loaded.lm.Generate
    cases = [
        (lm_pb2.GenerateRequest(model_key=KEY, text="ab", extra_inputs=extra), "temprature"),
        (lm_pb2.GenerateRequest(model_key=KEY), "empty"),
        (ask(num_samples=9), "num_samples is 9"),
        (ask(top_logprobs=21), "top_logprobs is 21"),
        (ask(stop=["x"] * 17), "17 stop strings"),
        (ask(max_tokens=600), "512"),
        (ask("a" * (1 << 20) + "b"), "1048577 bytes"),
    ]
    for request, words in cases:
        await refused(generate(request), "INVALID_ARGUMENT", words)
    both = ask()
    both.messages.add(role="user", content="ab")
    await refused(generate(both), "INVALID_ARGUMENT", "one or the other")
    assert loaded.server.table.in_flight == 0


async def test_methods_that_a_model_lacks_are_refused_in_the_order_of_admission(loaded):
    """NOT_FOUND for a model that is not here comes before INVALID_ARGUMENT for a method it does not have."""
    words = f"{KEY} does not support lm.embed"
    await refused(loaded.lm.Embed(lm_pb2.EmbedRequest(model_key=KEY)), "INVALID_ARGUMENT", words)
    await refused(
        loaded.lm.Gradient(lm_pb2.GradientRequest(model_key=KEY)), "INVALID_ARGUMENT", "lm.gradient"
    )
    classify = loaded.vm.Classify
    await refused(classify(vision_pb2.ClassifyRequest(model_key=KEY)), "INVALID_ARGUMENT", "vm.classify")
    await refused(classify(vision_pb2.ClassifyRequest(model_key="/sax/test/x")), "NOT_FOUND", KEY)
    custom = custom_pb2.CustomRequest(model_key=KEY, method_name="mine")
    await refused(loaded.custom.Custom(custom), "INVALID_ARGUMENT", "mine")


async def test_the_limit_of_requests_is_told(cell):
    """batch_size x max_live_batches requests per method, then RESOURCE_EXHAUSTED with the limit."""
    await load_model(cell, path="toy.Slow")
    calls = [asyncio.ensure_future(cell.lm.Generate(ask(max_tokens=20))) for _ in range(32)]
    await eventually(lambda: cell.server.table.in_flight == 32)
    await refused(cell.lm.Generate(ask()), "RESOURCE_EXHAUSTED", f"Too many requests: {KEY} 32")
    for call in calls:
        call.cancel()
    await eventually(lambda: cell.server.table.in_flight == 0)


async def test_a_cancelled_stream_frees_its_slot_within_a_step(cell):
    """The reader goes away, and two steps later the engine has nothing left of it."""
    await load_model(cell, path="toy.Slow")
    call = cell.lm.GenerateStream(ask(max_tokens=400))
    await call.read()
    assert cell.server.table.reports()[0].snapshot.running == 1
    call.cancel()
    await eventually(lambda: cell.server.table.in_flight == 0, 0.5)
    model = cell.server.table.reports
    await eventually(lambda: model()[0].snapshot.running == 0 and model()[0].snapshot.pages_used == 0, 0.5)


async def test_a_deadline_ends_a_request_and_frees_its_slot(cell):
    """The caller sees DEADLINE_EXCEEDED, the engine stops working on it."""
    await load_model(cell, path="toy.Slow")
    await refused(cell.lm.Generate(ask(max_tokens=400), timeout=0.3), "DEADLINE_EXCEEDED", "")
    await eventually(lambda: cell.server.table.reports()[0].snapshot.running == 0, 1.0)


async def test_a_slow_reader_holds_nobody_up_and_gets_fewer_messages(loaded):
    """While one reader does not read, another gets its whole answer; the first then gets all text."""
    slow = loaded.lm.GenerateStream(ask(max_tokens=400))
    unread = aiter(slow)
    first = await anext(unread)
    _, texts = await read_stream(loaded.lm.GenerateStream(ask("q", max_tokens=100)))
    assert texts == [answer("q", 100)]
    text, last = first.items[0].text.encode(), first
    async for last in unread:
        text = text[: last.items[0].prefix_len] + last.items[0].text.encode()
    assert text.decode() == answer("ab", 400)
    assert last.usage.completion_tokens == 400


async def test_statistics_count_each_request_once(loaded):
    """Streams count as one success; errors are errors; nothing is pending afterwards."""
    await loaded.lm.Generate(ask())
    await read_stream(loaded.lm.GenerateStream(ask()))
    with pytest.raises(grpc.aio.AioRpcError):
        await loaded.lm.Generate(ask(max_tokens=600))
    stats = {each.method: each for each in (await status(loaded)).models[0].method_stats}
    assert stats["lm.generate"].successes_per_second == pytest.approx(1 / 60)
    assert stats["lm.generate"].errors_per_second == pytest.approx(1 / 60)
    assert stats["lm.generate_stream"].successes_per_second == pytest.approx(1 / 60)
    assert stats["lm.generate"].p50_latency_on_success_per_second > 0
    assert stats["lm.generate"].pending_reqs == 0


async def test_metrics_add_up_after_requests_of_all_fates(loaded):
    """Every request accepted is counted once under how it ended, and the gauges return to zero."""

    def ended(reason):
        return metrics.registry.get_sample_value(
            "sax_engine_requests_total", {"model": KEY, "finished_reason": reason}
        )

    before = {reason: ended(reason) or 0 for reason in ("length", "stop", "cancelled")}
    await loaded.lm.Generate(ask(max_tokens=30))
    await loaded.lm.Generate(ask(max_tokens=30, stop=[answer("ab", 30)[5:8]]))
    call = loaded.lm.GenerateStream(ask(max_tokens=400))
    await call.read()
    call.cancel()
    await eventually(lambda: loaded.server.table.in_flight == 0)
    assert {reason: ended(reason) - count for reason, count in before.items()} == {
        "length": 1,
        "stop": 1,
        "cancelled": 1,
    }
    await eventually(
        lambda: metrics.registry.get_sample_value("sax_engine_requests_running", {"model": KEY}) == 0
    )


async def test_health_knows_services_and_models(loaded):
    """grpc.health.v1 answers for the process, each service and each model."""
    from grpc_health.v1 import health_pb2, health_pb2_grpc  # noqa: PLC0415

    stub = health_pb2_grpc.HealthStub(loaded.channel)
    for name in ("", "sax.Modelet", "sax.server.lm.LMService", f"model:{KEY}"):
        answered = await stub.Check(health_pb2.HealthCheckRequest(service=name))
        assert answered.status == health_pb2.HealthCheckResponse.SERVING


async def test_a_server_that_drains_says_so_and_finishes_what_it_has():
    """NOT_SERVING and is_draining at once, still serving in the lame-duck time, then an orderly end."""
    async with running_server("--lame_duck_s=0.3") as cell:
        await load_model(cell, path="toy.Slow")
        running = asyncio.ensure_future(cell.lm.Generate(ask(max_tokens=16)))
        await eventually(lambda: cell.server.table.in_flight == 1)
        stopping = asyncio.ensure_future(cell.server.stop())
        await asyncio.sleep(0.05)
        assert (await status(cell)).is_draining
        assert not cell.server.health.is_ready
        late = await cell.lm.Generate(ask(max_tokens=1))
        assert late.usage.completion_tokens == 1
        assert (await running).usage.completion_tokens == 16
        await stopping
