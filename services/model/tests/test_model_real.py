import asyncio
import json
import urllib.request

import pytest
from sax_client import AsyncClient
from sax_client.values import GenerateOptions
from sax_common.errors import FailedPrecondition, InvalidArgument
from sax_model.demo import packaged_weights
from sax_model.local_cell import CellPlan, LocalCell
from sax_model.serve import cache_folder

MODEL = "/sax/test/smollm2"
QUESTION = "The capital of France is"


def plan(**changes):
    """Return a plan for SmolLM2 on free ports."""
    values = {
        "model": MODEL,
        "model_path": "hf.CausalLM",
        "checkpoint": str(packaged_weights()),
        "jax_cache_dir": str(cache_folder()),
    }
    return CellPlan(**{**values, **changes})


@pytest.mark.model
@pytest.mark.processes
@pytest.mark.slow
async def test_a_served_model_answers_over_grpc_and_http():
    """The same greedy answer whole, streamed and over HTTP; bad input is named."""
    async with LocalCell(plan(), tell=print) as cell, AsyncClient(cell.root) as client:
        model = client.model(MODEL)
        options = GenerateOptions(max_tokens=16, temperature=0.0)
        whole = (await model.generate(QUESTION, options=options)).texts[0].text
        assert "Paris" in whole
        streamed = ""
        async for chunk in model.generate_stream(QUESTION, options=options):
            streamed = chunk.samples[0].text  # Everything so far.
        assert streamed == whole
        with pytest.raises(InvalidArgument, match="empty"):
            await model.generate("")
        with pytest.raises(InvalidArgument, match="100000"):
            await model.generate(QUESTION, options=GenerateOptions(max_tokens=100_000))
        answer = await asyncio.to_thread(post, f"{cell.http_url}/generate", QUESTION)
        assert "Paris" in answer[0][0]


def post(url, query):
    """Ask over HTTP and return the JSON of the answer."""
    body = {
        "model": MODEL,
        "query": query,
        "extra_inputs": {"temperature": 0.0, "per_example_max_decode_steps": 16},
    }
    request = urllib.request.Request(
        url, data=json.dumps(body).encode(), headers={"Content-type": "application/json"}
    )
    with urllib.request.urlopen(request, timeout=60) as answer:
        return json.load(answer)


@pytest.mark.processes
@pytest.mark.slow
async def test_a_broken_checkpoint_is_named(tmp_path):
    """A file that is no model ends `sax serve` with the file's name, and nothing is left running."""
    broken = tmp_path / "broken.gguf"
    broken.write_bytes(b"GGUF but not really")
    with pytest.raises(FailedPrecondition, match=r"broken\.gguf"):
        async with LocalCell(plan(checkpoint=str(broken)), tell=print):
            pass
