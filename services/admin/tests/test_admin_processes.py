"""The real programs: kill -9, restarts, wrong usage."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
import time
from contextlib import contextmanager

import grpc
import pytest
from saxml.protobuf import admin_pb2, admin_pb2_grpc

pytestmark = pytest.mark.processes
M = "/sax/test/m"


def environment():
    """Say the environment of our programs."""
    return {**os.environ, "SAX_DEBUG_IPADDR": "1", "SAX_ROOT": ""}


def run(module, *flags):
    """Run a program of ours to its end."""
    command = [sys.executable, "-m", module, *flags]
    return subprocess.run(command, env=environment(), capture_output=True, text=True, timeout=60, check=False)


def configure(root):
    """Make the cell."""
    done = run(
        "sax_admin.config_main",
        "--sax_cell=/sax/test",
        f"--sax_root={root}/sax-root",
        f"--fs_root={root}/fs-root",
    )
    assert done.returncode == 0, done.stderr


@contextmanager
def program(module, *flags):
    """Run a program of ours until the end of the block, then kill it."""
    process = subprocess.Popen(
        [sys.executable, "-m", module, *flags], env=environment(), stderr=subprocess.PIPE, text=True
    )
    try:
        yield process
    finally:
        process.kill()
        process.wait()
        process.stderr.close()


def free_port():
    """Find a port that is free now."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


def admin(root, port, *flags):
    """Run an admin server."""
    return program(
        "sax_admin.main",
        "--sax_cell=/sax/test",
        f"--sax_root={root}/sax-root",
        f"--port={port}",
        "--status_port=0",
        "--alsologtostderr",
        *flags,
    )


@contextmanager
def stub_of(port):
    """Open a stub for an admin."""
    with grpc.insecure_channel(f"127.0.0.1:{port}") as channel:
        yield admin_pb2_grpc.AdminStub(channel)


def published(path="test.Model"):
    """Make a publish request."""
    model = admin_pb2.Model(model_id=M, model_path=path, checkpoint_path="None", requested_num_replicas=1)
    return admin_pb2.PublishRequest(model=model)


def retried(call, request, timeout_s=20):
    """Call until the server is there and leads."""
    deadline = time.monotonic() + timeout_s
    while True:
        try:
            return call(request, timeout=5)
        except grpc.RpcError as error:
            if error.code() != grpc.StatusCode.UNAVAILABLE or time.monotonic() > deadline:
                raise
            time.sleep(0.1)


def test_a_model_acknowledged_just_before_kill_9_is_there_after_the_restart(tmp_path):
    """What was acknowledged survives kill -9, and a model server that is still there serves it unreloaded."""
    configure(tmp_path)
    port = free_port()
    root_flags = (f"--sax_root={tmp_path}/sax-root", "--sax_cell=/sax/test")
    with program("sax_testing.fake_modelet", *root_flags), stub_of(port) as stub:
        with admin(tmp_path, port) as process:
            retried(stub.Publish, published())
            process.send_signal(signal.SIGKILL)
            process.wait()
        with admin(tmp_path, port) as process:
            (model,) = retried(stub.List, admin_pb2.ListRequest()).published_models
            assert model.model.model_id == M
            stub.WaitForReady(admin_pb2.WaitForReadyRequest(model_id=M, num_replicas=1), timeout=20)
            process.send_signal(signal.SIGTERM)
            assert process.wait(timeout=10) == 0


def test_many_kills_lose_no_acknowledged_publish(tmp_path):
    """Three admins killed in turn right after a publish leave three models."""
    configure(tmp_path)
    port = free_port()
    for number in range(3):
        with admin(tmp_path, port) as process, stub_of(port) as stub:
            request = published()
            request.model.model_id = f"{M}{number}"
            retried(stub.Publish, request)
            process.kill()
            process.wait()
    with admin(tmp_path, port), stub_of(port) as stub:
        models = retried(stub.List, admin_pb2.ListRequest()).published_models
        assert [model.model.model_id for model in models] == [f"{M}{number}" for number in range(3)]


# Elections in a third of the usual time.
QUICK = ("--lease_s=2", "--renew_deadline_s=1.4", "--lease_retry_s=0.4")


def publish_as(stub, name):
    """Publish under another name."""
    request = published()
    request.model.model_id = name
    return retried(stub.Publish, request)


def test_a_standby_says_who_leads_and_leads_after_a_graceful_end(tmp_path):
    """Its answer carries the leader's address; SIGTERM hands the cell over with all its models."""
    configure(tmp_path)
    first_port, second_port = free_port(), free_port()
    with admin(tmp_path, first_port, *QUICK) as process, stub_of(first_port) as first:
        retried(first.Publish, published())
        with admin(tmp_path, second_port, *QUICK), stub_of(second_port) as second:
            with pytest.raises(grpc.RpcError) as caught:
                second.Publish(published(), timeout=10, wait_for_ready=True)
            assert caught.value.code() == grpc.StatusCode.UNAVAILABLE
            assert f"127.0.0.1:{first_port} does" in caught.value.details()
            leader = dict(caught.value.trailing_metadata())["sax-leader-address"]
            assert leader == f"127.0.0.1:{first_port}"
            process.send_signal(signal.SIGTERM)
            assert len(retried(second.List, admin_pb2.ListRequest()).published_models) == 1
            assert process.wait(timeout=10) == 0


def test_a_leader_that_was_stopped_finds_itself_deposed_and_can_lead_again(tmp_path):
    """SIGSTOP lets the standby lead; after SIGCONT the old leader changes nothing and is a standby."""
    configure(tmp_path)
    first_port, second_port = free_port(), free_port()
    with admin(tmp_path, first_port, *QUICK) as process, stub_of(first_port) as first:
        publish_as(first, f"{M}1")
        with admin(tmp_path, second_port, *QUICK) as other, stub_of(second_port) as second:
            process.send_signal(signal.SIGSTOP)
            publish_as(second, f"{M}2")
            process.send_signal(signal.SIGCONT)
            with pytest.raises(grpc.RpcError) as caught:
                first.Publish(published(), timeout=10)
            assert caught.value.code() == grpc.StatusCode.UNAVAILABLE
            other.kill()
            other.wait()
            models = retried(first.List, admin_pb2.ListRequest()).published_models
            assert [model.model.model_id for model in models] == [f"{M}1", f"{M}2"]


def test_times_that_do_not_fit_are_refused(tmp_path):
    """A lease that is shorter than the renew deadline would let two admins act."""
    configure(tmp_path)
    flags = ("--sax_cell=/sax/test", f"--sax_root={tmp_path}/sax-root", "--port=0", "--lease_s=3")
    done = run("sax_admin.main", *flags)
    assert (done.returncode, "do not fit" in done.stderr) == (1, True)


@pytest.mark.parametrize(
    ("flags", "code", "sentence"),
    [
        (("--sax_cell=/sax/test",), 1, "give --sax_root or set SAX_ROOT"),
        (("--sax_root=/tmp/x",), 1, "give --sax_cell"),
        (("--sax_root=/tmp/x", "--sax_cell=test"), 1, "must be /sax/<cell>"),
        (("--sax_root={root}", "--sax_cell=/sax/none"), 1, "sax-admin-config --sax_cell=/sax/none"),
        (("--nonsense",), 2, "unknown flag"),
    ],
)
def test_wrong_usage_is_one_clear_sentence(tmp_path, flags, code, sentence):
    """No traceback: what is wrong and what to do, and the right exit code."""
    done = run("sax_admin.main", *(flag.format(root=tmp_path) for flag in flags))
    assert done.returncode == code
    assert sentence in done.stderr
    assert "Traceback" not in done.stderr


def test_a_port_in_use_is_told_before_anything_is_written(tmp_path):
    """The person reads which port and why, and no leadership was taken."""
    configure(tmp_path)
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        flags = (
            "--sax_cell=/sax/test",
            f"--sax_root={tmp_path}/sax-root",
            f"--port={port}",
            "--status_port=0",
        )
        done = run("sax_admin.main", *flags)
    assert (done.returncode, f"cannot listen on port {port}" in done.stderr) == (1, True)
    assert not (tmp_path / "fs-root").exists() or not list((tmp_path / "fs-root").rglob("0*"))


@pytest.mark.parametrize(
    ("flags", "sentence"),
    [
        (("--sax_root={root}", "--fs_root={root}"), "give --sax_cell"),
        (("--sax_root={root}", "--sax_cell=/sax/test"), "give --fs_root"),
        (("--sax_cell=/sax/test", "--fs_root={root}"), "give --sax_root or set SAX_ROOT"),
        (("--sax_root={root}", "--sax_cell=/sax/Test", "--fs_root={root}"), "must be /sax/<cell>"),
        (("--sax_root={root}", "--sax_cell=/sax/test", "--fs_root=gs://"), "must name a bucket"),
    ],
)
def test_sax_admin_config_says_what_is_missing(tmp_path, flags, sentence):
    """Every failure of sax-admin-config is one sentence and exit code 1."""
    done = run("sax_admin.config_main", *(flag.format(root=tmp_path) for flag in flags))
    assert done.returncode == 1
    assert sentence in done.stderr
    assert "Traceback" not in done.stderr


def test_a_damaged_newest_record_is_refused_by_name(tmp_path):
    """A record that may hold acknowledged changes is never skipped in silence."""
    configure(tmp_path)
    port = free_port()
    with admin(tmp_path, port), stub_of(port) as stub:
        retried(stub.Publish, published())
    newest = max((tmp_path / "fs-root").rglob("0*"))
    newest.chmod(0o644)
    newest.write_bytes(newest.read_bytes()[:-1])
    done = run(
        "sax_admin.main", "--sax_cell=/sax/test", f"--sax_root={tmp_path}/sax-root", f"--port={free_port()}"
    )
    assert done.returncode == 1
    assert newest.name in done.stderr
    assert "Traceback" not in done.stderr
