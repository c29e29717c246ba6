"""The OpenAI-compatible routes, through OpenAI's own SDK where it has a word for it."""

import json

import openai
import pytest

MODEL = "/sax/test/m"
CHAT = {"model": MODEL, "messages": [{"role": "user", "content": "c b a"}]}


@pytest.fixture
async def sdk(http):
    """OpenAI's client, pointed at the server under test."""
    base_url = "http://{}:{}/v1".format(*http.address)
    async with openai.AsyncOpenAI(base_url=base_url, api_key="none", max_retries=0) as client:
        yield client


async def test_models_are_listed(sdk):
    """GET /v1/models names every published model in full."""
    models = [model async for model in sdk.models.list()]
    assert [(model.id, model.owned_by) for model in models] == [(MODEL, "/sax/test")]


@pytest.mark.parametrize("name", ["m", "sax/test/m", MODEL])
async def test_one_model_is_shown(http, name):
    """GET /v1/models/{name} takes full and short names."""
    assert (await http.web.get(f"/v1/models/{name}")).json()["id"] == MODEL


async def test_whole_completion(sdk, http):
    """A completion has one choice, a reason and token counts; OpenAI's defaults are sent on."""
    answer = await sdk.completions.create(model="m", prompt="c b a", seed=7, temperature=0, stop="x")
    assert (answer.choices[0].text, answer.choices[0].finish_reason) == ("a b c", "stop")
    assert (answer.usage.prompt_tokens, answer.usage.total_tokens, answer.model) == (3, 6, "m")
    sent = http.model.requests[-1].options
    assert (sent.max_tokens, sent.seed, sent.temperature, list(sent.stop)) == (16, 7, 0, ["x"])
    assert sent.num_samples == 1
    assert not sent.HasField("top_p")


async def test_whole_chat(sdk, http):
    """Messages go to the model server as they are; parts of text are joined."""
    messages = [
        {"role": "system", "content": "be brief"},
        {"role": "user", "content": [{"type": "text", "text": "c "}, {"type": "text", "text": "b"}]},
    ]
    answer = await sdk.chat.completions.create(model=MODEL, messages=messages, max_completion_tokens=5)
    assert answer.choices[0].message.content == "b c brief be"
    sent = http.model.requests[-1]
    assert [(one.role, one.content) for one in sent.messages] == [("system", "be brief"), ("user", "c b")]
    assert (sent.text, sent.options.max_tokens) == ("", 5)


async def test_two_choices(sdk):
    """`n` asks for that many choices."""
    answer = await sdk.completions.create(model=MODEL, prompt="b a", n=2)
    assert [(one.index, one.text) for one in answer.choices] == [(0, "a b"), (1, "b a")]


async def test_chat_streams_through_the_sdk(sdk):
    """The SDK reads role, pieces, reason and usage from the stream, in that order."""
    stream = await sdk.chat.completions.create(**CHAT, stream=True, stream_options={"include_usage": True})
    chunks = [chunk async for chunk in stream]
    assert chunks[0].choices[0].delta.role == "assistant"
    assert [chunk.choices[0].delta.content for chunk in chunks[1:4]] == ["a", " b", " c"]
    assert [chunk.choices[0].finish_reason for chunk in chunks[:5]] == [None, None, None, None, "stop"]
    assert (chunks[5].choices, chunks[5].usage.completion_tokens) == ([], 3)
    assert len({(chunk.id, chunk.created, chunk.model) for chunk in chunks}) == 1


async def test_completion_streams_through_the_sdk(sdk):
    """The older route streams text, without roles."""
    stream = await sdk.completions.create(model=MODEL, prompt="ö b a", stream=True)
    chunks = [chunk async for chunk in stream]
    assert "".join(chunk.choices[0].text for chunk in chunks) == "a b ö"
    assert chunks[-1].choices[0].finish_reason == "stop"
    assert {chunk.object for chunk in chunks} == {"text_completion"}


async def test_stream_on_the_wire(http):
    """Events are `data:` lines with a blank line after each, and the stream ends with [DONE]."""
    body = {**CHAT, "stream": True, "stream_options": {"include_usage": True}}
    answer = await http.web.post("/v1/chat/completions", json=body)
    events = answer.text.split("\n\n")
    assert answer.headers["content-type"] == "text/event-stream; charset=utf-8"
    assert (answer.headers["cache-control"], answer.headers["x-accel-buffering"]) == ("no-cache", "no")
    assert events[-2:] == ["data: [DONE]", ""]
    parsed = [json.loads(event.removeprefix("data: ")) for event in events[:-2]]
    assert [chunk["usage"] is None for chunk in parsed] == [True] * 5 + [False]


async def test_error_before_the_first_token_has_its_status(sdk, http):
    """A full queue is a 429 with a hint when to come back, also for a stream."""
    http.model.failures["GenerateStream"].extend([(8, "the queue is full")] * 9)
    with pytest.raises(openai.RateLimitError) as caught:
        await sdk.completions.create(model=MODEL, prompt="a", stream=True)
    assert caught.value.response.headers["retry-after"] == "1"
    assert "the queue is full" in caught.value.message


async def test_error_in_the_middle_is_an_event(sdk, http):
    """A model server that dies during a stream is an error for the client, never a short answer."""
    http.model.words_before_death = 2
    stream = await sdk.chat.completions.create(**CHAT, stream=True)
    seen = []
    with pytest.raises(openai.APIError, match="going down"):
        seen.extend([chunk async for chunk in stream])
    answer = await http.web.post("/v1/chat/completions", json={**CHAT, "stream": True})
    assert (
        json.loads(answer.text.split("\n\n")[-2].removeprefix("data: "))["error"]["type"]
        == "overloaded_error"
    )
    assert "[DONE]" not in answer.text


async def test_unknown_model_is_not_found(sdk):
    """404 with OpenAI's own code, streamed or not, with a full or a short name."""
    for name in ("/sax/test/none", "none"):
        for is_stream in (False, True):
            with pytest.raises(openai.NotFoundError) as caught:
                await sdk.completions.create(model=name, prompt="a", stream=is_stream)
            assert caught.value.code == "model_not_found"


@pytest.mark.parametrize(
    ("change", "param"),
    [
        ({"messages": []}, "messages"),
        ({"messages": [{"role": "user"}]}, "messages.0.content"),
        ({"messages": [{"role": "user", "content": [{"type": "image_url"}]}]}, "messages.0.content.0.type"),
        ({"temperature": -1}, "temperature"),
        ({"temperature": "hot"}, "temperature"),
        ({"top_p": 0}, "top_p"),
        ({"n": 9}, "n"),
        ({"max_tokens": 0}, "max_tokens"),
        ({"max_tokens": 1, "max_completion_tokens": 2}, "max_tokens"),
        ({"stop": [""]}, "stop"),
        ({"logprobs": 3}, "logprobs"),
        ({"top_logprobs": 3}, "top_logprobs"),
        ({"logprobs": True, "top_logprobs": 21}, "top_logprobs"),
        ({"logit_bias": {"1": 1}}, "logit_bias"),
        ({"tools": [{}]}, "tools"),
        ({"presence_penalty": 0.5}, "presence_penalty"),
        ({"stream_options": {}}, "stream_options"),
        ({"surprise": 1}, "surprise"),
        ({"model": "Not A Name"}, "model"),
        ({"stream": "yes"}, "stream"),
    ],
)
async def test_bad_field_is_named_in_param(http, change, param):
    """The error object's `param` is the field, and the message begins with it."""
    answer = await http.web.post("/v1/chat/completions", json={**CHAT, **change})
    error = answer.json()["error"]
    assert (answer.status_code, error["type"], error["param"]) == (400, "invalid_request_error", param)
    assert error["message"].startswith(f"{param}: ")


async def test_neutral_values_are_taken(http):
    """Fields that change nothing, and unsupported ones at their neutral value, do not hurt."""
    extra = {"user": "u", "metadata": {"a": "b"}, "logit_bias": {}, "presence_penalty": 0, "tools": None}
    answer = await http.web.post("/v1/chat/completions", json={**CHAT, **extra})
    assert answer.status_code == 200


async def test_prompt_must_be_one_text(http):
    """Several prompts and token ids are refused by name; a list with one text is that text."""
    for prompt, status in [(["a", "b"], 400), ([1, 2], 400), ("", 400), (["b a"], 200)]:
        answer = await http.web.post("/v1/completions", json={"model": MODEL, "prompt": prompt})
        assert answer.status_code == status, prompt
