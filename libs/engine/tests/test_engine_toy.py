"""The toy's arithmetic."""

from sax_engine.backends.toy import make_toy_backend, toy_answer
from sax_engine.core.engine import Engine
from sax_engine.core.requests import Request


def test_the_example_of_the_docstring():
    """Prompt 3 1 over ten tokens answers 5 0 0 0, by hand and by the engine."""
    assert toy_answer((3, 1), 4, vocab_size=10) == [5, 0, 0, 0]
    engine = Engine(make_toy_backend(vocab_size=10))
    engine.submit(Request(request_id="a", prompt=(3, 1), max_new_tokens=4), 0)
    tokens = []
    while engine.has_work:
        tokens += [token for emission in engine.step(0) for token in emission.tokens]
    assert tokens == [5, 0, 0, 0]
