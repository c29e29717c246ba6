"""Beginning and end of a program, and what it writes: each in a process of its own."""

import json
import os
import signal
import subprocess
import sys
import textwrap
import time

import pytest

_HEAD = """
import asyncio, sys, time
from sax_common import errors
from sax_runtime import logs, process
log = logs.get_logger("test")
logs.setup_logs("prog", json=len(sys.argv) > 1)
"""


def _start(code, *args):
    script = _HEAD + textwrap.dedent(code)
    return subprocess.Popen(
        [sys.executable, "-c", script, *args], stderr=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    )


def _run(code, *args):
    with _start(code, *args) as program:
        _, err = program.communicate(timeout=30)
    return program.returncode, err


_SERVE = """
async def main(stop):
    print("up", flush=True)
    reason = await stop.wait()
    log.info("draining", reason=reason)
    if len(sys.argv) > 2: await asyncio.sleep(30)
    return 3
sys.exit(process.run(main))
"""


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_the_first_signal_ends_gracefully(number):
    """The program learns the reason, drains and chooses the exit code."""
    with _start(_SERVE) as program:
        program.stdout.readline()
        program.send_signal(number)
        _, err = program.communicate(timeout=30)
    assert program.returncode == 3
    assert f"draining reason={number.name}" in err


def test_the_second_signal_ends_at_once():
    """A drain that takes long is cut short with 128 + the signal's number."""
    with _start(_SERVE, "json", "slow") as program:
        program.stdout.readline()
        program.send_signal(signal.SIGINT)
        time.sleep(0.3)
        started = time.monotonic()
        program.send_signal(signal.SIGINT)
        _, err = program.communicate(timeout=30)
    assert program.returncode == 130
    assert time.monotonic() - started < 5
    assert "ending at once" in err


def test_an_expected_error_is_one_sentence():
    """A SaxError that leaves main is its message and exit code 1, without a traceback."""
    code, err = _run("""
        async def main(stop):
            raise errors.FailedPrecondition("SAX_ROOT is not set.")
        sys.exit(process.run(main))
    """)
    assert (code, err) == (1, "SAX_ROOT is not set.\n")


def test_an_unexpected_error_is_logged_with_its_traceback():
    """Any other exception is exit code 1 and a traceback in the log."""
    code, err = _run("""
        async def main(stop):
            {}["missing"]
        sys.exit(process.run(main))
    """)
    assert code == 1
    assert "KeyError: 'missing'" in err


def test_a_blocked_event_loop_is_reported_with_its_stack():
    """The watchdog says that the loop is blocked, by what, and when it runs again."""
    _, err = _run("""
        def culprit():
            time.sleep(1.2)
        async def main(stop):
            await asyncio.sleep(0.1)
            culprit()
            await asyncio.sleep(0.5)
        sys.exit(process.run(main, stall_limit_s=0.3))
    """)
    assert "event loop is blocked longer_than_s=0.3" in err
    assert "in culprit" in err
    assert "event loop runs again blocked_s=" in err


def test_a_leader_that_stalls_too_long_is_ended():
    """With exit_after_stall_s a long stall ends the process with code 70."""
    code, err = _run("""
        async def main(stop):
            await asyncio.sleep(0.1)
            time.sleep(20)
        sys.exit(process.run(main, stall_limit_s=0.2, exit_after_stall_s=0.6))
    """)
    assert code == 70
    assert "ending the process" in err


def test_json_lines_carry_service_level_and_trace():
    """Off a terminal each line is one JSON object with everything a collector joins on."""
    _, err = _run(
        """
        from opentelemetry.sdk.trace import TracerProvider
        import logging
        with TracerProvider().get_tracer("t").start_as_current_span("s") as span:
            log.info("Joined 10.0.0.3:10000", cell="/sax/tést")
        logging.getLogger("other").warning("from %s", "stdlib")
        log.debug("hidden")
        logs.flush()
        """,
        "json",
    )
    first, second = map(json.loads, err.splitlines())
    assert first["event"] == "Joined 10.0.0.3:10000"
    assert (first["cell"], first["service"], first["level"]) == ("/sax/tést", "prog", "info")
    assert (len(first["trace_id"]), len(first["span_id"])) == (32, 16)
    assert (second["event"], second["level"]) == ("from stdlib", "warning")


def test_text_lines_look_like_glogs():
    """On a terminal a line is level, date, time, place, event and facts."""
    _, err = _run('log.warning("Joined 10.0.0.3:10000", cell="/sax/t", why="a b", none=""); logs.flush()')
    assert err.startswith("W")
    assert err.rstrip().endswith("] Joined 10.0.0.3:10000 cell=/sax/t why='a b' none=''")


def test_uncaught_exceptions_of_threads_and_tasks_are_logged():
    """Nothing dies in silence: a thread, a callback and the main thread all leave a line."""
    code, err = _run("""
        import threading
        worker = threading.Thread(target=lambda: 1 / 0, name="worker"); worker.start(); worker.join()
        async def main(stop):
            asyncio.get_running_loop().call_soon(lambda: [].pop())
            await asyncio.sleep(0.05)
        process.run(main)
        raise LookupError("at the end")
    """)
    assert code == 1
    for text in ("uncaught exception in a thread", "ZeroDivisionError", "pop from empty list", "at the end"):
        assert text in err


def test_a_reader_that_does_not_read_never_blocks_the_program():
    """With standard error full, logging goes on, lines are dropped and counted."""
    with _start("""
        from sax_runtime import metrics
        started = time.monotonic()
        for number in range(15_000):
            log.info("x" * 200)
        print(time.monotonic() - started, metrics.LOG_LINES_DROPPED._value.get(), flush=True)
    """) as program:
        took_s, dropped = map(float, program.stdout.readline().split())
        program.kill()
        program.communicate()
    assert took_s < 20
    assert dropped > 1000


def test_a_log_directory_gets_every_line(tmp_path):
    """With log_dir the lines are in a file, and to_stderr=False leaves errors alone on standard error."""
    _, err = _run(f"""
        logs.setup_logs("prog", json=False, to_stderr=False, log_dir={str(tmp_path)!r})
        log.info("quiet"); log.error("loud"); logs.flush()
    """)
    written = (tmp_path / "prog.log").read_text()
    assert ("quiet" in err, "loud" in err) == (False, True)
    assert "quiet" in written
    assert "loud" in written
    assert os.linesep in written
