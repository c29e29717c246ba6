"""What a request may be."""

import math
from dataclasses import replace

import pytest
from sax_engine.core.requests import (
    Request,
    RequestLimits,
    RequestRejected,
    SamplingParams,
    check_request,
    worst_case_pages,
)
from sax_engine.core.sequences import stops

LIMITS = RequestLimits(vocab_size=10, max_len=16, page_size=4, num_pages=8, max_samples=3, max_top_logprobs=5)
FINE = Request(request_id="fine", prompt=(1, 2, 3), max_new_tokens=4)


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"prompt": ()}, "prompt is empty"),
        ({"prompt": (1,) * 13}, "prompt of 13 tokens plus 4 new tokens is 17; the model holds 16"),
        ({"prompt": (1, -1)}, "token -1 .* vocabulary of 10"),
        ({"prompt": (1, 10)}, "token 10 .* vocabulary of 10"),
        ({"max_new_tokens": -1}, "cannot be negative"),
        ({"max_new_tokens": 0}, "nothing is asked for"),
        ({"num_samples": 0}, "num_samples is 0; this engine allows 1 to 3"),
        ({"num_samples": 4}, "num_samples is 4; this engine allows 1 to 3"),
        ({"top_logprobs": 6}, "top_logprobs is 6; this engine allows 0 to 5"),
        ({"score_from": 0}, "score_from is 0; legal are 1 to 2"),
        ({"score_from": 3}, "score_from is 3; legal are 1 to 2"),
        ({"score_from": 1, "max_new_tokens": 0, "num_samples": 2}, "Score request has one sample"),
        ({"stop_sequences": ((),)}, "stop sequence is empty"),
        ({"sampling": SamplingParams(temperature=-0.1)}, "temperature is -0.1"),
        ({"sampling": SamplingParams(temperature=math.nan)}, "temperature is nan"),
        ({"sampling": SamplingParams(temperature=math.inf)}, "temperature is inf"),
        ({"sampling": SamplingParams(top_p=1.1)}, "top_p is 1.1"),
        ({"sampling": SamplingParams(top_p=math.nan)}, "top_p is nan"),
        ({"sampling": SamplingParams(top_k=-1)}, "top_k is -1"),
        ({"sampling": SamplingParams(seed=-1)}, "seed is -1"),
        ({"sampling": SamplingParams(seed=2**64)}, "seed is"),
    ],
)
def test_a_bad_request_is_refused_with_what_was_given_and_what_is_legal(change, words):
    """Every rule names what was asked and the limit."""
    with pytest.raises(RequestRejected, match=words):
        check_request(replace(FINE, **change), LIMITS)


def test_the_longest_legal_request_is_taken():
    """Prompt and new tokens may fill the model to the last position."""
    check_request(replace(FINE, prompt=(1,) * 12), LIMITS)


@pytest.mark.parametrize(
    ("prompt", "new", "samples", "pages"),
    [
        (4, 1, 1, 1),
        (4, 2, 1, 2),
        (5, 0, 1, 2),
        (5, 4, 1, 2),
        (5, 5, 1, 3),
        (5, 4, 3, 4),
        (1, 1, 3, 3),
        (9, 8, 2, 6),
    ],
)
def test_worst_case_counts_whole_prompt_pages_once(prompt, new, samples, pages):
    """Samples share prompt pages but the one with the last prompt token; the last new token needs no room."""
    request = replace(FINE, prompt=(1,) * prompt, max_new_tokens=new, num_samples=samples)
    assert worst_case_pages(request, 4) == pages


def test_a_request_that_needs_more_pages_than_there_are_is_refused():
    """It would wait for ever."""
    with pytest.raises(RequestRejected, match="may need 12 cache pages; this engine has 8"):
        check_request(replace(FINE, prompt=(1,), max_new_tokens=15, num_samples=3), LIMITS)


def test_stop_sequences_match_the_generated_tail_only():
    """A sequence that began in the prompt does not stop an answer."""
    request = replace(FINE, prompt=(7, 8), stop_sequences=((8, 9),), stop_ids=frozenset({5}))
    assert not stops(request, [9])
    assert stops(request, [8, 9])
    assert stops(request, [1, 5])
