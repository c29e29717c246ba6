"""The text of events: what is the same in every chunk is written once, and stays valid JSON."""

import json

import pytest
from sax_client import TokenLogprob, Usage
from sax_http.openai.chunks import CHAT, COMPLETION, Chunks, quote


def _make(style, *, include_usage=False):
    return Chunks(style, answer_id="i", created=5, model='a"b', include_usage=include_usage)


def _parsed(text):
    assert text.startswith("data: ")
    assert text.endswith("\n\n")
    assert "\n" not in text[:-2]
    return json.loads(text.removeprefix("data: "))


@pytest.mark.parametrize("text", ["", "a", '"\\', "\r\n\t\x00", "é 漢 🎉", "\x85\u2028\u2029"])
def test_any_text_survives(text):
    """A piece of text reads back as it was, on one line for every kind of reader."""
    event = _make(CHAT).text(0, text)
    assert _parsed(event)["choices"][0]["delta"]["content"] == text
    assert event.splitlines() == [event[:-2], ""]
    assert json.loads(quote(text)) == text


def test_chat_chunk_has_exactly_openais_fields():
    """Identity, one choice with a delta, no reason yet; no usage unless it was asked for."""
    assert _parsed(_make(CHAT).text(3, "x")) == {
        "id": "i",
        "object": "chat.completion.chunk",
        "created": 5,
        "model": 'a"b',
        "choices": [{"index": 3, "delta": {"content": "x"}, "logprobs": None, "finish_reason": None}],
    }


def test_usage_is_null_until_the_last_chunk():
    """With include_usage every chunk but the last carries null."""
    chunks = _make(COMPLETION, include_usage=True)
    events = [chunks.text(0, "a"), chunks.closing(0, "length"), chunks.usage(Usage(3, 2, 1))]
    assert [_parsed(event)["usage"] for event in events[:2]] == [None, None]
    assert _parsed(events[1])["choices"] == [
        {"index": 0, "text": "", "logprobs": None, "finish_reason": "length"}
    ]
    last = _parsed(events[2])
    assert (last["choices"], last["usage"]["total_tokens"]) == ([], 5)
    assert last["usage"]["prompt_tokens_details"] == {"cached_tokens": 1}


def test_logprobs_of_chat():
    """One object per token with its bytes; a token that cannot be has the value that OpenAI gives it."""
    token = TokenLogprob(" a", b" a", -0.5, (TokenLogprob("b", b"b", float("-inf")),))
    choice = _parsed(_make(CHAT).text_with_logprobs(0, " a", [token], offset=0))["choices"][0]
    assert choice["delta"] == {"content": " a"}
    assert choice["logprobs"]["content"] == [
        {
            "token": " a",
            "logprob": -0.5,
            "bytes": [32, 97],
            "top_logprobs": [{"token": "b", "logprob": -9999.0, "bytes": [98]}],
        }
    ]


def test_logprobs_of_completions():
    """Four lists side by side; offsets go on from where the stream is."""
    tokens = [TokenLogprob("ab", b"ab", -1.0), TokenLogprob("c", b"c", -2.0)]
    choice = _parsed(_make(COMPLETION).text_with_logprobs(0, "abc", tokens, offset=10))["choices"][0]
    assert choice["logprobs"] == {
        "tokens": ["ab", "c"],
        "token_logprobs": [-1.0, -2.0],
        "top_logprobs": [{}, {}],
        "text_offset": [10, 12],
    }
