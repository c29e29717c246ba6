"""A cell of real processes keeps its promises when processes are killed."""

import json
import signal
import threading
import urllib.request
from collections.abc import Iterator
from pathlib import Path

import pytest
from sax_testing.processes import ProcessCell, smollm2_path, until

pytestmark = [pytest.mark.processes, pytest.mark.model, pytest.mark.timeout(300)]


@pytest.fixture
def cell(tmp_path: Path) -> Iterator[ProcessCell]:
    """An admin and an empty model server."""
    with ProcessCell(tmp_path) as made:
        made.start_admin()
        made.start_model()
        yield made


def publish(cell: ProcessCell, short: str = "smollm2") -> None:
    """Publish SmolLM2 with one replica."""
    cell.saxutil("publish", cell.model(short), "hf.CausalLM", str(smollm2_path()), "1")


def test_a_publish_survives_kill_9_of_the_admin_right_after_its_answer(cell: ProcessCell) -> None:
    """An acknowledged publish is there after the admin was killed and started again."""
    publish(cell)
    cell.kill("admin")
    cell.start_admin()
    assert cell.listed("smollm2")
    cell.wait_ready("smollm2")


def test_a_model_server_restarted_on_its_port_gets_its_model_back(cell: ProcessCell) -> None:
    """A model server that was killed and started again serves its model without any help."""
    publish(cell)
    cell.wait_ready("smollm2")
    cell.kill("model")
    cell.start_model()
    until(
        "an answer after the restart",
        lambda: (
            cell.saxutil(
                "--sax_timeout=5s", "lm.generate", cell.model("smollm2"), "Hello", check=False
            ).returncode
            == 0
        ),
        timeout_s=90,
    )


def test_a_stream_cut_by_a_killed_model_server_ends_with_an_error(cell: ProcessCell) -> None:
    """The reader of a stream whose server dies sees an error event, never a short answer that looks whole."""
    cell.start_http()
    publish(cell)
    cell.wait_ready("smollm2")
    body = {
        "model": cell.model("smollm2"),
        "prompt": "Count:",
        "max_tokens": 1500,
        "stream": True,
        "temperature": 1,
    }
    request = urllib.request.Request(
        f"http://127.0.0.1:{cell.ports['http']}/v1/completions",
        json.dumps(body).encode(),
        {"Content-Type": "application/json"},
    )
    events: list[str] = []
    with urllib.request.urlopen(request, timeout=60) as answer:
        events.append(answer.readline().decode())
        threading.Timer(0.5, cell.kill, ["model"]).start()
        events += [line.decode().strip() for line in answer if line.startswith(b"data:")]
    assert "error" in json.loads(events[-1].removeprefix("data: "))


def test_sigterm_ends_every_server_in_good_order(cell: ProcessCell) -> None:
    """SIGTERM ends idle servers with exit code 0 and without a traceback in their logs."""
    cell.start_http()
    codes = {name: cell.kill(name, signal.SIGTERM) for name in ("http", "model", "admin")}
    assert codes == {"http": 0, "model": 0, "admin": 0}
    assert "Traceback" not in cell.logs()
