"""Bad input gets a clear answer, in JSON, with a status that says whose fault it is."""

import asyncio

import pytest

MODEL = "/sax/test/m"
GOOD = {"model": MODEL, "query": "a"}


@pytest.mark.parametrize(
    ("path", "body", "field"),
    [
        ("/generate", {"model": MODEL}, "query"),
        ("/generate", {"model": MODEL, "query": ""}, "query"),
        ("/generate", {"model": MODEL, "query": 7}, "query"),
        ("/generate", {"model": "m", "query": "a"}, "model"),
        ("/generate", {**GOOD, "extra_inputs": []}, "extra_inputs"),
        ("/generate", {**GOOD, "extra_inputs": {"temperature": None}}, "extra_inputs.temperature"),
        ("/generate", {**GOOD, "extra_inputs": {"temperature": True}}, "extra_inputs.temperature"),
        ("/generate", {**GOOD, "extra_input": {}}, "extra_input"),
        ("/publish", {"model": MODEL, "model_path": "a", "checkpoint": "None"}, "replicas"),
        ("/publish", {"model": MODEL, "model_path": "a", "checkpoint": "None", "replicas": "x"}, "replicas"),
        ("/publish", {"model": MODEL, "model_path": "a", "checkpoint": "None", "replicas": -1}, "replicas"),
        ("/publish", {"model": MODEL, "model_path": "a", "checkpoint": "None", "replicas": True}, "replicas"),
        (
            "/publish",
            {"model": MODEL, "model_path": "a b", "checkpoint": "None", "replicas": 1},
            "model_path",
        ),
        ("/publish", {"model": MODEL, "model_path": "a", "checkpoint": "", "replicas": 1}, "checkpoint"),
    ],
)
async def test_bad_field_is_named(http, path, body, field):
    """The answer is a 400 whose `detail` begins with the field."""
    answer = await http.web.post(path, json=body)
    assert answer.status_code == 400
    assert answer.json()["detail"].startswith(f"{field}: "), answer.json()


async def test_field_of_several_types_says_them_all(http):
    """What would be right is said in words of JSON."""
    answer = await http.web.post("/generate", json={**GOOD, "extra_inputs": {"t": None}})
    assert answer.json()["detail"] == "extra_inputs.t: must be a number or an array or a string."


async def test_misspelt_field_gets_the_near_match(http):
    """The nearest legal name is offered."""
    answer = await http.web.post("/generate", json={**GOOD, "extra_input": {}})
    assert "extra_inputs" in answer.json()["detail"].removeprefix("extra_input: ")


@pytest.mark.parametrize(
    ("content", "words"),
    [
        (b"", "empty"),
        (b"[1]", "must be a JSON object, not an array"),
        (b"7", "not a number"),
        (b"{", "not valid JSON"),
        (b'{"model": NaN}', "NaN"),
        (b'{"model": 1e999}', "model"),
        (b'{"model": "a", "model": "b"}', "twice"),
        (b'{"query": "\xff"}', "not valid UTF-8"),
        (b'{"model": "/sax/test/m", "query": "\\ud800"}', "query"),
        (b'{"a":' * 40 + b"1" + b"}" * 40, "nested deeper than 32"),
        (b"[" * 4_000_000, "too many"),
        (b'{"a": ' + b"9" * 5000 + b"}", "too many digits"),
    ],
)
async def test_bad_json_is_a_400(http, content, words):
    """Whatever is wrong with the text of the body is said; the text itself is not repeated."""
    answer = await http.web.post("/generate", content=content, headers={"content-type": "application/json"})
    assert (answer.status_code, words in answer.json()["detail"]) == (400, True), answer.text


async def test_five_megabytes_are_a_413(http):
    """A body over the limit is refused by its declared length."""
    answer = await http.web.post("/generate", json={**GOOD, "query": "x" * 5_000_000})
    assert (answer.status_code, "4194304" in answer.json()["detail"]) == (413, True)


async def test_five_megabytes_in_chunks_are_a_413(http):
    """A body without a declared length is counted as it comes."""

    async def chunks():
        for _ in range(80):
            yield b"x" * 65_536

    answer = await http.web.post(
        "/v1/completions", content=chunks(), headers={"content-type": "application/json"}
    )
    assert (answer.status_code, answer.json()["error"]["type"]) == (413, "invalid_request_error")


async def test_form_is_a_415(http):
    """A form post, which any web page may send to a laptop, never publishes anything."""
    answer = await http.web.post("/publish", content=b"{}", headers={"content-type": "text/plain"})
    assert (answer.status_code, "Content-Type: application/json" in answer.json()["detail"]) == (415, True)


async def test_compressed_body_is_a_415(http):
    """No body is unpacked."""
    headers = {"content-type": "application/json", "content-encoding": "gzip"}
    answer = await http.web.post("/generate", content=b"{}", headers=headers)
    assert answer.status_code == 415


async def test_unknown_path_and_method(http):
    """Errors of routing are JSON too, in the shape of their routes."""
    assert (await http.web.get("/nothing")).json() == {"detail": "Not Found"}
    assert (await http.web.get("/generate")).status_code == 405
    assert (await http.web.get("/v1/nothing")).json()["error"]["message"] == "Not Found"


async def _raw(http, data: bytes) -> bytes:
    reader, writer = await asyncio.open_connection(*http.address)
    writer.write(data)
    answer = await asyncio.wait_for(reader.read(), 15)
    writer.close()
    return answer


@pytest.mark.parametrize(
    ("head", "status"),
    [
        (b"nonsense\r\n\r\n", b"400"),
        (b"GET / HTTP/1.1\r\nhost: a\r\ncontent-length: 1\r\ntransfer-encoding: chunked\r\n\r\n", b"400"),
        (b"GET / HTTP/1.1\r\nhost: a\r\nx_y: 1\r\n\r\n", b"400"),
        (b"GET /" + b"a" * 9000 + b" HTTP/1.1\r\n\r\n", b"414"),
        (b"GET / HTTP/1.1\r\nhost: a\r\nx: " + b"a" * 40_000 + b"\r\n\r\n", b"431"),
        (b"GET / HTTP/1.1\r\nhost: a\r\nx: " + b"a" * 70_000, b"431"),
        (b"GET / HTTP/1.1\r\n" + b"x: 1\r\n" * 70 + b"\r\n", b"431"),
        (b"POST /generate HTTP/1.1\r\nhost: a\r\ncontent-length: -1\r\n\r\n", b"400"),
    ],
)
async def test_bad_head_is_refused(http, head, status):
    """A head over a bound, or not HTTP, gets a status and JSON, and the connection ends."""
    answer = await _raw(http, head)
    assert answer.startswith(b"HTTP/1.1 " + status)
    assert b'"detail"' in answer


async def test_slow_head_is_a_408(http, monkeypatch):
    """A head that does not end in time frees its connection."""
    monkeypatch.setattr("sax_http.protocol.BoundedProtocol.head_timeout_s", 0.2)
    assert (await _raw(http, b"GET / HTTP/1.1\r\nhost:")).startswith(b"HTTP/1.1 408")


async def test_two_requests_on_one_connection(http):
    """The bounds are per request: a connection serves many."""
    get = b"GET /livez HTTP/1.1\r\nhost: a\r\n%s\r\n"
    answer = await _raw(http, get % b"" + get % b"connection: close\r\n")
    assert answer.count(b"HTTP/1.1 200") == 2


async def test_connections_over_the_limit_are_a_503(http):
    """The server under test takes 64 connections; the next one is told so, in the shape of its route."""
    idle = [await asyncio.open_connection(*http.address) for _ in range(64)]
    answer = await _raw(http, b"GET /v1/models HTTP/1.1\r\nhost: a\r\n\r\n")
    assert answer.startswith(b"HTTP/1.1 503")
    assert b'"error"' in answer
    for _, writer in idle:
        writer.close()
