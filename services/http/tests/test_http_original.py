"""The original's routes, as its users call them."""

import json

import pytest

MODEL = "/sax/test/m"
PUBLISH = {"model": "/sax/test/new", "model_path": "hf.CausalLM", "checkpoint": "None", "replicas": 1}


async def test_index_says_what_this_is(http):
    """GET / answers the sentence of the original, indented by four."""
    answer = await http.web.get("/")
    assert answer.text == '{\n    "message": "HTTP Server for SAX Client"\n}'
    assert answer.headers["content-type"] == "application/json"


@pytest.mark.parametrize("replicas", [1, "1"])
async def test_publish_echoes_replicas_as_sent(http, replicas):
    """Replicas may be a string of digits; the echo has them as written, and both names of the path."""
    answer = await http.web.post("/publish", json={**PUBLISH, "replicas": replicas})
    assert list(answer.json().items()) == [
        *{**PUBLISH, "replicas": replicas}.items(),
        ("path", "hf.CausalLM"),
    ]
    assert http.cell.admin.models["/sax/test/new"].model.requested_num_replicas == 1


async def test_listall_takes_a_body_on_get(http):
    """Curl --request GET --data works as documented."""
    answer = await http.web.request("GET", "/listall", json={"sax_cell": "/sax/test"})
    assert answer.json() == [MODEL]


async def test_listall_takes_query_parameters(http):
    """The same question without a body."""
    answer = await http.web.get("/listall", params={"sax_cell": "/sax/test"})
    assert answer.json() == [MODEL]


async def test_listcell_shows_one_model(http):
    """The five fields of the original, in its order."""
    answer = await http.web.request("GET", "/listcell", json={"model": MODEL})
    assert list(answer.json().items()) == [
        ("model", MODEL),
        ("model_path", "hf.CausalLM"),
        ("checkpoint", "None"),
        ("max_replicas", 1),
        ("active_replicas", 1),
    ]


async def test_update_changes_and_echoes(http):
    """PUT /update changes the model and answers what was sent."""
    body = {**PUBLISH, "model": MODEL, "checkpoint": "/other", "replicas": 0}
    answer = await http.web.put("/update", json=body)
    assert answer.json() == body
    assert http.cell.admin.models[MODEL].model.checkpoint_path == "/other"


async def test_unpublish_echoes_the_model(http):
    """POST /unpublish takes the model away."""
    answer = await http.web.post("/unpublish", json={"model": MODEL})
    assert answer.json() == {"model": MODEL}
    assert MODEL not in http.cell.admin.models


async def test_generate_answers_pairs_indented_by_four(http):
    """POST /generate answers [text, score] pairs in the model's order."""
    answer = await http.web.post("/generate", json={"model": MODEL, "query": "ein é"})
    assert answer.text == json.dumps([["é ein", -1.5], ["ein é", -0.5]], indent=4, ensure_ascii=False)


async def test_generate_sends_the_documented_defaults(http):
    """Extra inputs left out are the original server's own four defaults."""
    await http.web.post(
        "/generate", json={"model": MODEL, "query": "a", "extra_inputs": {"temperature": 0.25}}
    )
    items = dict(http.model.requests[-1].extra_inputs.items)
    assert items == pytest.approx(
        {
            "temperature": 0.25,
            "per_example_max_decode_steps": 128,
            "per_example_top_k": 200,
            "per_example_top_p": 0.95,
        }
    )


async def test_generate_falls_back_to_the_models_own_defaults(http):
    """A model that refuses the implied defaults is asked again with only what the client gave."""
    http.model.failures["Generate"].append((3, "per_example_top_k is not an extra input of this model"))
    body = {"model": MODEL, "query": "a b", "extra_inputs": {"temperature": 1, "ids": [1, 2], "mode": "x"}}
    answer = await http.web.post("/generate", json=body)
    sent = http.model.requests[-1].extra_inputs
    assert answer.status_code == 200
    assert (dict(sent.items), list(sent.tensors["ids"].values), dict(sent.strings)) == (
        {"temperature": 1},
        [1, 2],
        {"mode": "x"},
    )


async def test_generate_tells_the_models_last_word(http):
    """When the second try is refused as well, the client reads that refusal."""
    http.model.failures["Generate"].extend([(3, "first"), (3, "temperature must not be 7")])
    body = {"model": MODEL, "query": "a", "extra_inputs": {"temperature": 7}}
    answer = await http.web.post("/generate", json=body)
    assert (answer.status_code, "temperature must not be 7" in answer.json()["detail"]) == (400, True)


async def test_generate_wraps_as_the_older_version_did(legacy_http):
    """--legacy_generate_response puts the answer under generate_response."""
    answer = await legacy_http.web.post("/generate", json={"model": MODEL, "query": "a"})
    assert answer.json() == {"generate_response": [["a", -1.5], ["a", -0.5]]}


async def test_unknown_model_is_a_404(http):
    """A model that nobody published is not found, with the name in `detail`."""
    for method, path, body in [
        ("POST", "/generate", {"model": "/sax/test/none", "query": "a"}),
        ("GET", "/listcell", {"model": "/sax/test/none"}),
        ("POST", "/unpublish", {"model": "/sax/test/none"}),
        ("PUT", "/update", {**PUBLISH, "model": "/sax/test/none"}),
    ]:
        answer = await http.web.request(method, path, json=body)
        assert (answer.status_code, "/sax/test/none" in answer.json()["detail"]) == (404, True), path


async def test_published_twice_is_a_409(http):
    """The status comes from the one table of errors."""
    answer = await http.web.post("/publish", json={**PUBLISH, "model": MODEL})
    assert answer.status_code == 409


async def test_cell_that_does_not_exist(http):
    """A cell without a location file is the client's mistake, said in one sentence."""
    answer = await http.web.get("/listall", params={"sax_cell": "/sax/nowhere"})
    assert 400 <= answer.status_code < 500
    assert "/sax/nowhere" in answer.json()["detail"]


async def test_model_without_a_replica_is_a_503(http):
    """A model that is published and loaded nowhere is said to be so after a bounded wait, not for ever."""
    http.cell.admin.publish("/sax/test/nowhere", [], replicas=1)
    answer = await http.web.post("/generate", json={"model": "/sax/test/nowhere", "query": "a"})
    assert (answer.status_code, answer.headers["retry-after"]) == (503, "1")
    assert "/sax/test/nowhere" in answer.json()["detail"]
