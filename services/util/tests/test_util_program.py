from __future__ import annotations

import os
import signal
import subprocess
import sys
import time

import pytest

PROGRAM = [sys.executable, "-m", "sax_util.main"]


def run(*argv, **environ):
    """Run the program as a process of its own."""
    keep = {name: value for name, value in os.environ.items() if name != "SAX_ROOT"}
    return subprocess.run(
        [*PROGRAM, *argv], env=keep | environ, capture_output=True, text=True, check=False, timeout=60
    )


def test_missing_root():
    """Without a root the program says one sentence and ends with 1."""
    ran = run("ls", "/sax/test")
    assert (ran.returncode, ran.stdout, ran.stderr.count("\n")) == (1, "", 1)
    assert "SAX_ROOT" in ran.stderr


def test_no_subcommand(saxutil):
    """Without a subcommand the usage goes to standard error with status 2."""
    ran = saxutil()
    assert (ran.status, ran.out) == (2, "")
    assert "\tlm.generate " in ran.err


def test_unknown_subcommand_and_flag(saxutil):
    """What is not known is answered with the nearest match."""
    ran = saxutil("publsh")
    assert (ran.status, "did you mean publish?" in ran.err) == (2, True)
    ran = saxutil("lm.generate", "-strem", "a", "b")
    assert (ran.status, "did you mean -stream?" in ran.err) == (2, True)
    assert saxutil("-sax_rot=x", "ls", "/sax").status == 2


def test_wrong_count(saxutil):
    """A wrong number of arguments shows the usage of the subcommand."""
    ran = saxutil("publish", "/sax/test/m")
    assert (ran.status, "publish <model ID>" in ran.err) == (2, True)


def test_help(saxutil):
    """Help goes to standard output."""
    assert saxutil("help").out.startswith("Usage: saxutil <flags> <subcommand>")
    assert "-replicas int" in saxutil("help", "update").out
    assert saxutil("help", "nothing").status == 2
    assert "-sax_timeout duration" in saxutil("flags").out
    assert saxutil("flags", "nothing").status == 1
    assert "lm.score" in saxutil("commands").out.splitlines()
    assert "-stream" in saxutil("lm.generate", "-h").out


@pytest.mark.parametrize("name", ["test/m", "/sax/Test/m", "/sax/test/m/", "/sax/test/m x"])
def test_malformed_names(saxutil, tmp_path, name):
    """A malformed name is INVALID_ARGUMENT and says which form is legal."""
    ran = saxutil(f"--sax_root={tmp_path}", "unpublish", name)
    assert (ran.status, "INVALID_ARGUMENT" in ran.err, "/sax/<cell>/<model>" in ran.err) == (1, True, True)


def test_dead_admin_is_an_error_in_time(saxutil, cell):
    """With nobody at the location the command fails when its time is up and says who did not answer."""
    cell.run(cell.cell.kill(cell.cell.admin))
    began = time.monotonic()
    ran = saxutil("--sax_timeout=1s", "ls", "/sax/test")
    assert (ran.status, "does not take connections" in ran.err) == (1, True)
    assert time.monotonic() - began < 5


@pytest.mark.processes
def test_ctrl_c(cell):
    """Ctrl-C ends a waiting program with 130 and without a traceback."""
    cell.do(lambda: cell.cell.admin.publish("/sax/test/m", []))
    child = subprocess.Popen([*PROGRAM, "watch", "/sax/test/m"], stderr=subprocess.PIPE, text=True)
    time.sleep(1.5)
    child.send_signal(signal.SIGINT)
    _, err = child.communicate(timeout=20)
    assert (child.returncode, err) == (130, "Interrupted.\n")


@pytest.mark.processes
@pytest.mark.usefixtures("cell")
def test_starts_fast(tmp_path):
    """A cold `ls` takes less than 0.6 s of CPU time (best of three: the machine may be busy)."""
    assert min(_cpu_s("ls", "/sax/test", SAX_ROOT=str(tmp_path / "root")) for _ in range(3)) < 0.6


def _cpu_s(*argv, **environ):
    before = os.times()
    assert run(*argv, **environ).returncode == 0
    after = os.times()
    return after.children_user + after.children_system - before.children_user - before.children_system


def test_help_loads_no_grpc():
    """What the catalogue can answer is answered without loading gRPC."""
    code = "import sys; from sax_util.main import main; main(['flags']); sys.exit('grpc' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], capture_output=True, check=False).returncode == 0


@pytest.mark.processes
def test_ctrl_c_during_an_answer(cell):
    """Ctrl-C stops an answer of a chat; the conversation goes on with what was said so far."""
    cell.do(lambda: cell.cell.admin.publish("/sax/test/m", [cell.server]))
    cell.server.pause_s = 30
    child = subprocess.Popen(
        [*PROGRAM, "chat", "/sax/test/m"], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    )
    child.stdin.write("b a\n")
    child.stdin.flush()
    assert child.stdout.read(1) == "a"
    child.send_signal(signal.SIGINT)
    assert child.stdout.read(1) == "\n"
    cell.server.pause_s = 0
    out, _ = child.communicate("c\n", timeout=20)
    assert (child.returncode, out) == (0, "c a a b\n")
