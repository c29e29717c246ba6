"""Whole models: from a file or from nothing to tokens, scores and text."""

from pathlib import Path

import numpy as np
import pytest
from sax_common.errors import Cancelled, FailedPrecondition, InvalidArgument, SaxError
from sax_engine.backends.naive import forward
from sax_engine.core.requests import Finish
from sax_zoo import loading, overrides, registry
from sax_zoo.checkpoints.assemble import from_source
from sax_zoo.checkpoints.locate import locate
from sax_zoo.checkpoints.opening import open_checkpoint
from sax_zoo.checkpoints.source import Phase
from sax_zoo.extra_inputs import ExtraInputs
from sax_zoo.lm.calls import ChatMessage, GenerateCall, GenerateOptions
from sax_zoo.lm.sizing import parameter_count, sizes
from sax_zoo.random_weights import random_parameters
from sax_zoo.testing.tiny_checkpoints import write_checkpoint

GOLDEN = Path(__file__).parent / "golden"
TINY = "saxml.server.pax.lm.params.lm_cloud.LmCloudSpmd2BTestTiny"
FLOAT32 = {"FPROP_DTYPE": '"float32"', "NUM_CACHE_SLOTS": "8"}
UNSTOPPED = {**FLOAT32, "STOP_TOKEN_IDS": "[255]"}


def quiet(*_):
    """Take a report and say nothing."""
    return


def load(path, checkpoint, seed=0, report=quiet, **changes):
    """Load a class of the registry with overrides."""
    registry.load_modules()
    cls = overrides.apply(registry.lookup(path), changes)
    return loading.load(cls, str(checkpoint), seed=seed, report=report, is_cancelled=lambda: False)


def run(model, *requests):
    """Step the engine until every request is over; all emissions per request id."""
    emissions = {request.request_id: [] for request in requests}
    for request in requests:
        model.engine.submit(request, 0)
    while model.engine.has_work:
        for emission in model.engine.step(0):
            emissions[emission.request_id].append(emission)
    return emissions


def tokens_of(emissions, sample=0):
    """All tokens of one sample."""
    return [token for each in emissions if each.sample == sample for token in each.tokens]


@pytest.fixture(scope="module")
def progress():
    """What the load of `tiny` reported."""
    return []


@pytest.fixture(scope="module")
def tiny(tmp_path_factory, progress):
    """A loaded tiny LLaMA in float32."""
    path = write_checkpoint(tmp_path_factory.mktemp("tiny"), "llama")
    model = load("hf.CausalLM", path, report=progress.append, **FLOAT32)
    yield model
    model.close()


@pytest.fixture(scope="module")
def noise():
    """The two-layer LmCloudSpmd class with random weights."""
    model = load(TINY, "None", seed=5)
    yield model
    model.close()


@pytest.mark.parametrize("variant", ["llama_biases", "llama3_rope", "mistral"])
def test_greedy_tokens_are_those_of_transformers(tmp_path, variant):
    """16 greedy tokens through the engine equal the golden ones (every variant's logits: test_zoo_golden)."""
    golden = np.load(GOLDEN / "tiny.npz")
    model = load("hf.CausalLM", write_checkpoint(tmp_path, variant), **UNSTOPPED)
    call = GenerateCall(text="x", options=GenerateOptions(max_tokens=16, temperature=0.0))
    request = model.generate_request("a", call)
    prompt = tuple(golden["tokens"][:8].tolist())
    emissions = run(model, type(request)(request_id="a", prompt=prompt, max_new_tokens=16))["a"]
    assert tokens_of(emissions) == golden[f"{variant}.greedy"].tolist()
    model.close()


@pytest.mark.model
def test_smollm2_says_what_transformers_says(smollm2):
    """32 greedy tokens of the packaged model in float32 equal the golden ones."""
    golden = np.load(GOLDEN / "smollm2.npz")
    model = load("hf.CausalLM", smollm2, MAX_SEQ_LEN="256", **UNSTOPPED)
    options = GenerateOptions(max_tokens=32, temperature=0.0)
    request = model.generate_request("a", GenerateCall(text=str(golden["question_text"]), options=options))
    assert request.prompt == tuple(golden["question"].tolist())
    assert tokens_of(run(model, request)["a"]) == golden["greedy"].tolist()
    text = model.render_chat([ChatMessage("user", "Hi")])
    assert text.endswith("<|im_start|>user\nHi<|im_end|>\n<|im_start|>assistant\n")
    model.close()


def test_the_score_of_an_answer_counts_its_eos(tiny):
    """Log-probabilities of generated tokens are log_softmax of raw logits, the stop token's among them."""
    call = GenerateCall(text="abc", options=GenerateOptions(max_tokens=5, temperature=1.0, seed=3))
    emissions = run(tiny, tiny.generate_request("a", call))["a"]
    sampled = tokens_of(emissions)
    total = sum(sum(each.logprobs) for each in emissions)
    prompt = tiny.prompt_tokens("abc")
    again = tiny.generate_request("b", call)
    scored = type(again)(request_id="s", prompt=(*prompt, *sampled), max_new_tokens=0, score_from=len(prompt))
    assert tiny.answer_score(total, len(sampled)) == pytest.approx(
        tiny.score_of(run(tiny, scored)["s"]), abs=1e-3
    )


def test_scores_are_sums_over_the_suffix(tiny, tmp_path):
    """One result per suffix: the log-probability of its tokens after the prefix, without the end token."""
    opened = open_checkpoint(locate(str(write_checkpoint(tmp_path, "llama"))))
    config = opened.config
    parameters = from_source(
        opened.source, opened.family, config, dtype="float32", report=quiet, check_cancelled=quiet
    )
    requests = tiny.score_requests("s", "abc", ["de", "f"], ExtraInputs())
    emissions = run(tiny, *requests)
    for request, suffix in zip(requests, ("de", "f"), strict=True):
        tokens = tiny.prompt_tokens("abc" + suffix)
        logits = forward(config, parameters, tokens).astype(np.float64)
        logprobs = logits - np.logaddexp.reduce(logits, -1, keepdims=True)
        expected = sum(logprobs[place - 1, tokens[place]] for place in range(3, len(tokens)))
        assert tiny.score_of(emissions[request.request_id]) == pytest.approx(expected, abs=1e-3)


@pytest.mark.usefixtures("tiny")
def test_a_load_tells_how_far_it_is(progress):
    """Progress goes from checking over bytes read to preparing, and ends at the total."""
    phases = [each.phase for each in progress]
    assert [phases[0], phases[1], phases[-1]] == [Phase.CHECKING, Phase.READING, Phase.PREPARING]
    done = [each.done_bytes for each in progress]
    assert done == sorted(done)
    assert progress[-1].done_bytes == progress[-1].total_bytes > 0


def test_a_load_can_be_cancelled_between_tensors(tmp_path):
    """A load that nobody wants ends at the next tensor."""
    seen = []
    cls = registry.lookup("hf.CausalLM")
    path = str(write_checkpoint(tmp_path, "llama"))
    with pytest.raises(Cancelled):
        loading.load(cls, path, seed=0, report=seen.append, is_cancelled=lambda: len(seen) > 3)
    assert len(seen) == 4


def test_a_prompt_longer_than_the_model_is_refused_with_both_counts(tiny):
    """Nothing is cut: 200 tokens do not go into 128."""
    with pytest.raises(InvalidArgument, match=r"200 tokens.*128"):
        tiny.generate_request("a", GenerateCall(text="x" * 200))


def test_an_answer_that_does_not_fit_is_refused_when_it_was_asked_for(tiny):
    """max_tokens is a promise and fails with both counts; a default is shortened to the room there is."""
    text = "x" * 120
    with pytest.raises(InvalidArgument, match=r"120 tokens and 20 .* 140 together; the model holds 128"):
        tiny.generate_request("a", GenerateCall(text=text, options=GenerateOptions(max_tokens=20)))
    assert tiny.generate_request("a", GenerateCall(text=text)).max_new_tokens == 8


@pytest.mark.parametrize(
    ("call", "words"),
    [
        (GenerateCall(text=""), "query is empty"),
        (GenerateCall(text="x" * (2**20 + 1)), "1048577 bytes"),
        (GenerateCall(text="x" * 128), "no room"),
        (GenerateCall(text="x", messages=(ChatMessage("user", "y"),)), "not both"),
        (GenerateCall(text="x", extra_inputs=ExtraInputs({"top_k": 1.0})), "top_k"),
    ],
)
def test_calls_that_cannot_be_answered_say_why(tiny, call, words):
    """Empty, oversized, contradictory and unknown things are InvalidArgument."""
    with pytest.raises(InvalidArgument, match=words):
        tiny.generate_request("a", call)


def test_messages_need_a_chat_template(tiny):
    """A model without one says so."""
    with pytest.raises(FailedPrecondition, match="no chat template"):
        tiny.generate_request("a", GenerateCall(messages=(ChatMessage("user", "hi"),)))


@pytest.mark.parametrize(
    ("prefix", "suffixes", "words"),
    [
        ("", ["a"], "no start token"),
        ("a", [""], "Suffix 0 is empty"),
        ("a", [], "0 suffixes"),
        (
            "a" * 100,
            ["b" * 100],
            "100 tokens plus suffix of 100 tokens is 200; this model scores at most 128",
        ),
    ],
)
def test_scores_that_cannot_be_given_say_why(tiny, prefix, suffixes, words):
    """Without context, without a suffix, or too long: InvalidArgument with the numbers."""
    with pytest.raises(InvalidArgument, match=words):
        tiny.score_requests("s", prefix, suffixes, ExtraInputs())


def test_the_methods_are_those_of_the_template(tiny, noise):
    """hf.CausalLM streams; the quick start's class scores and generates two samples."""
    assert set(tiny.methods) == {"lm.generate", "lm.generate_stream", "lm.score"}
    assert tiny.methods["lm.generate_stream"].streamable
    assert set(noise.methods) == {"lm.generate", "lm.score"}
    assert noise.methods["lm.generate"].extra_inputs == {"temperature": 0.1}


def test_the_quick_start_class_answers_without_a_checkpoint(noise):
    """Two samples of 32 tokens, unknown ids shown as numbers; an empty query is just the start token."""
    request = noise.generate_request("a", GenerateCall(text=""))
    assert (request.prompt, request.num_samples, request.max_new_tokens) == ((0,), 2, 32)
    assert (request.stop_ids, request.sampling.top_k) == ({1}, 40)
    assert request.sampling.temperature == pytest.approx(0.1)
    emissions = run(noise, request)["a"]
    texts = [noise.decode(tokens_of(emissions, sample)) for sample in (0, 1)]
    assert texts[0] != texts[1]
    assert "<" in texts[0]
    assert {each.finish for each in emissions} <= {None, Finish.LENGTH, Finish.STOP}


def test_the_same_seed_is_the_same_model():
    """Two loads with one seed answer alike, call by call, and successive calls differ in their noise."""
    answers = []
    for _ in range(2):
        model = load(TINY, "None", seed=5, NUM_LAYERS="1")
        requests = [model.generate_request(name, GenerateCall(text="hello")) for name in "ab"]
        answers.append([tokens_of(run(model, request)[request.request_id]) for request in requests])
        model.close()
    assert answers[0] == answers[1]
    assert answers[0][0] != answers[0][1]


def test_an_empty_prefix_is_scored_after_the_start_token(noise):
    """A model with a start token needs no prefix."""
    [request] = noise.score_requests("s", "", ["hello"], ExtraInputs())
    assert (request.prompt[0], request.score_from) == (0, 1)
    assert noise.score_of(run(noise, request)["s/0"]) < 0


def test_test_classes_ignore_a_checkpoint_only_when_it_is_the_word_none():
    """A path given to a test class is refused, not ignored; a class that is no test class refuses None."""
    with pytest.raises(SaxError, match="/some/checkpoint"):
        load(TINY, "/some/checkpoint")
    with pytest.raises(InvalidArgument, match="None is only for test classes"):
        load("hf.CausalLM", "None")


def test_the_full_quick_start_class_has_its_numbers():
    """2.137e9 parameters, lengths 256 and 32, and room within 12 GiB, by arithmetic."""
    registry.load_modules()
    cls = registry.lookup("pax.lm.params.lm_cloud.LmCloudSpmd2BTest")
    planned = sizes(cls, cls.decoder())
    assert parameter_count(cls.decoder()) == pytest.approx(2.137e9, rel=1e-3)
    assert (planned.max_prompt, planned.max_len) == (256, 1024)
    assert planned.weight_bytes + planned.cache_bytes < 8 * 2**30


def test_random_weights_have_the_spread_that_was_meant():
    """Matrices are normal with 1/sqrt(inputs), made from the seed and the name alone."""
    registry.load_modules()
    config = registry.lookup(TINY).decoder()

    def make(seed):
        return random_parameters(config, seed=seed, dtype="bfloat16", report=quiet, check_cancelled=quiet)

    values = make(1)["layers.1.ffn.up"].astype(np.float32)
    assert values.std() == pytest.approx(96**-0.5, rel=0.02)
    np.testing.assert_array_equal(make(1)["layers.1.ffn.up"], make(1)["layers.1.ffn.up"])
    assert not np.array_equal(make(1)["layers.1.ffn.up"], make(2)["layers.1.ffn.up"])


def test_a_prompt_length_override_holds(tmp_path):
    """MAX_SEQ_LEN shortens the model; more than its context is refused."""
    path = write_checkpoint(tmp_path, "llama")
    with pytest.raises(InvalidArgument, match="129 tokens; the model's context is 128"):
        load("hf.CausalLM", path, **FLOAT32, MAX_SEQ_LEN="129")
