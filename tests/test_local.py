"""The local services: started once, found again, repaired, and stopped without touching others."""

import json
import subprocess
import sys
import time
from dataclasses import asdict, replace
from pathlib import Path

import psutil
import pytest

from ldns_ray import local, services


def _service(process: subprocess.Popen, **changes: object) -> services.Service:
    created = psutil.Process(process.pid).create_time()
    service = services.Service("ray", process.pid, created, "none", "http://127.0.0.1:9", 9, "log")
    return replace(service, **changes)


@pytest.fixture
def sleeper():
    process = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(600)"])
    yield process
    process.kill()
    process.wait()


def test_nothing_runs_in_an_empty_root(tmp_path, capsys):
    assert local.main(["status", "--root", str(tmp_path)]) == 1
    assert local.main(["down", "--root", str(tmp_path)]) == 0
    assert capsys.readouterr().out.count("not running") == 2
    assert local.main(["env", "--root", str(tmp_path)]) == 1
    assert "python -m ldns_ray.local up" in capsys.readouterr().err


def test_a_reused_pid_is_not_ours(tmp_path, sleeper):
    stale = _service(sleeper, created=psutil.Process(sleeper.pid).create_time() - 3600)
    (tmp_path / "services.json").write_text(json.dumps([asdict(stale)]))
    local.down(tmp_path)
    assert sleeper.poll() is None
    assert services.read_services(tmp_path) == {}


def test_a_spoiled_record_is_named(tmp_path, capsys):
    (tmp_path / "services.json").write_text('[{"name": "ray"')
    assert local.main(["down", "--root", str(tmp_path)]) == 1
    assert str(tmp_path / "services.json") in capsys.readouterr().err


def test_stop_reaches_processes_that_left_the_session(tmp_path):
    child = f"import time; open({str(tmp_path / 'up')!r}, 'w'); time.sleep(600)"
    parent = (
        "import subprocess, sys, time\n"
        f"subprocess.Popen([sys.executable, '-c', {child!r}], start_new_session=True)\n"
        "time.sleep(600)"
    )
    env = {services.MARKER: "here", "PATH": ""}
    process = subprocess.Popen([sys.executable, "-c", parent], env=env, start_new_session=True)
    service = _service(process, marker="here")
    deadline = time.monotonic() + 20
    while not (tmp_path / "up").exists() and time.monotonic() < deadline:
        time.sleep(0.05)
    # The first process is gone, as after a crash: only the mark is left to find the other by.
    process.kill()
    process.wait()
    assert len(services._members(service)) == 1
    assert services.stop(service)
    assert services._members(service) == []


def test_a_service_that_does_not_start_shows_its_log(tmp_path):
    command = [sys.executable, "-c", "print('no such port'); raise SystemExit(3)"]
    with pytest.raises(RuntimeError, match=r"MLflow ended with status 3[\s\S]*no such port"):
        services._start(tmp_path, "mlflow", command, {}, [services._free_port(5000)])


SERVER = """
import http.server, os, sys, time
class Handler(http.server.BaseHTTPRequestHandler):
    def do_GET(self):
        self.send_response(200)
        self.end_headers()
    def log_message(self, *args):
        pass
time.sleep(float(sys.argv[2]))
http.server.HTTPServer.allow_reuse_port = False
http.server.HTTPServer(("127.0.0.1", int(sys.argv[1])), Handler).serve_forever()
"""


def test_another_servers_answer_is_not_ours(tmp_path):
    port = services._free_port(5000)
    other = subprocess.Popen([sys.executable, "-c", SERVER, str(port), "0"])
    asked: list[int] = []

    def start(first: int) -> services.Service:
        # Both found the same port free; the other server was quicker.
        asked.append(port if not asked else services._free_port(first))
        command = [sys.executable, "-c", SERVER, str(asked[-1]), "0.5"]
        return services._start(tmp_path, "mlflow", command, {}, [asked[-1]])

    service = None
    try:
        while not services._answers(
            _service(other, name="mlflow", address=f"http://127.0.0.1:{port}")
        ):
            time.sleep(0.05)
        service = services.retrying(start, port)
        assert service.port != port
        assert asked == [port, service.port]
        assert services.serves(service, limit_s=0)
        assert not services.serves(
            _service(other, name="mlflow", address=service.address), limit_s=0
        )
    finally:
        if service is not None:
            services.stop(service)
        other.kill()
        other.wait()


def _relay(capsys, *lines: str) -> tuple[str, tuple[bool, bool]]:
    script = "import sys; sys.stdout.write(sys.argv[1])"
    command = [sys.executable, "-c", script, "".join(f"{line}\n" for line in lines)]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
    result = local._relay(process)
    process.wait()
    return capsys.readouterr().out, result


STAMP = "2026-01-01 00:00:00,000\t"
TAILING = f"{STAMP}INFO cli.py:351 -- Tailing logs until the job exits (disable with --no-wait):"


def test_only_the_job_is_heard(capsys):
    connecting = f"{STAMP}INFO worker.py:1841 -- Connecting to existing Ray cluster"
    out, result = _relay(
        capsys, f"{STAMP}INFO cli.py:42 -- Job submission server", TAILING,
        "Running entrypoint for job j: python x.py", connecting, "the table", "2026 spikes",
        f"{STAMP}SUCC cli.py:67 -- Job 'j' succeeded",
    )  # fmt: skip
    assert out == "the table\n2026 spikes\n"
    assert result == (True, False)


def test_a_failed_submission_is_shown_in_full(capsys):
    out, result = _relay(capsys, "Traceback", "ConnectionError: no")
    assert out == "Traceback\nConnectionError: no\n"
    assert result == (False, False)


@pytest.mark.parametrize(("said", "expected"), [("a line", "a line\n"), (None, "Status message")])
def test_the_end_of_a_failed_job_is_told_once(capsys, said, expected):
    lines = [TAILING, *([said] if said else []), f"{STAMP}ERR cli.py:74 -- Job 'j' failed"]
    out, _ = _relay(capsys, *lines, f"{STAMP}INFO cli.py:80 -- Status message: no memory")
    assert out == expected if said else expected in out


def test_a_stopped_job_is_noticed(capsys):
    _, result = _relay(capsys, TAILING, f"{STAMP}WARN cli.py:70 -- Job 'j' was stopped")
    assert result == (True, True)


@pytest.mark.slow
def test_services_up_twice_repaired_used_and_down(tmp_path, monkeypatch, capfd, sleeper):
    monkeypatch.setenv("RAY_AUTH_TOKEN_PATH", str(tmp_path / "token"))
    root = tmp_path / "root"
    command = ["--root", str(root)]
    try:
        first = local.up(root)
        assert (root / "mlflow.db").exists()
        began = time.monotonic()
        assert local.up(root) == first
        assert time.monotonic() - began < 2

        # The MLflow server dies: `up` brings it back where it was and leaves Ray alone.
        killed = psutil.Process(first["mlflow"].pid)
        killed.kill()
        killed.wait(10)
        second = local.up(root)
        assert second["ray"] == first["ray"]
        assert second["mlflow"].pid != first["mlflow"].pid
        assert second["mlflow"].address == first["mlflow"].address
        assert local.main(["status", *command]) == 0

        folder = tmp_path / "work"
        folder.mkdir()
        (folder / "job.py").write_text(
            "import os, sys\nprint(os.environ['LDNS_ROOT'], os.environ['MLFLOW_TRACKING_URI'])\n"
            "sys.exit(int(sys.argv[1]))\n"
        )
        submit = ["submit", *command, "--working-dir", str(folder), "--", "python", "job.py"]
        capfd.readouterr()
        assert local.main([*submit, "0"]) == 0
        lines = capfd.readouterr().out.splitlines()
        assert lines[1:] == [f"{root} {second['mlflow'].address}"]
        assert local.main([*submit, "3"]) != 0

        members = [p for service in second.values() for p in services._members(service)]
        assert local.main(["down", *command]) == 0
        assert not psutil.wait_procs(members, timeout=0)[1]
        assert services.read_services(root) == {}
        assert sleeper.poll() is None
    finally:
        local.down(root)


def test_root_must_be_local(capsys):
    with pytest.raises(SystemExit):
        local.main(["up", "--root", "s3://bucket/x"])
    assert "s3://bucket/x" in capsys.readouterr().err


def test_free_port_skips_a_listener():
    import socket

    with socket.socket() as s:
        s.bind(("127.0.0.1", 0))
        s.listen()
        port = s.getsockname()[1]
        assert services._free_port(port) > port


@pytest.mark.parametrize("place", ["RAY_AUTH_TOKEN_PATH", "HOME"])
def test_token_is_private_and_kept(tmp_path: Path, monkeypatch, place):
    path = tmp_path / ".ray" / "auth_token"
    for name in ("RAY_AUTH_TOKEN", "RAY_AUTH_TOKEN_PATH"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv(place, str(path if place == "RAY_AUTH_TOKEN_PATH" else tmp_path))
    services.ensure_token()
    token = path.read_text()
    assert len(token) == 64
    assert path.stat().st_mode & 0o777 == 0o600
    # As Ray writes it; elsewhere than in its usual place, who may read it is for who chose the place to say.
    path.chmod(0o644)
    services.ensure_token()
    assert path.read_text() == token
    assert path.stat().st_mode & 0o777 == (0o600 if place == "HOME" else 0o644)
