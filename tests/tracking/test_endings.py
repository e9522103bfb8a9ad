"""How a run ends says what happened, and a later attempt is told from one that failed."""

import logging

import pytest

from tests.tracking.stored import artifact_of, history_of, run_of


@pytest.fixture(params=["tracking", "served"])
def kept(request):
    """An experiment, without a server and behind one that holds the artifacts."""
    return request.getfixturevalue(request.param)


def _files(tracking, run_id, folder=""):
    repository = tracking.repository(run_of(tracking, run_id).info.artifact_uri)
    return [f.path for f in repository.list_artifacts(folder)]


def test_a_failed_run_keeps_its_traceback(kept):
    with pytest.raises(ZeroDivisionError), kept.run("r") as run:
        run.metrics({"loss": 1.0})
        _ = 1 / 0
    assert run_of(kept, run.run_id).info.status == "FAILED"
    assert b"ZeroDivisionError" in artifact_of(kept, run.run_id, "traceback.txt")
    assert history_of(kept, run.run_id, "loss") == [(0, 1.0)]


def test_a_success_after_failures_has_no_traceback_and_keeps_their_record(kept):
    for number, error in ((1, ZeroDivisionError), (2, KeyError)):
        with pytest.raises(error), kept.run("r", key="k") as run:
            assert "traceback.txt" not in _files(kept, run.run_id)
            raise error("why")
        assert run_of(kept, run.run_id).data.tags["ldns.failures"] == str(number)
        assert error.__name__.encode() in artifact_of(kept, run.run_id, "traceback.txt")
    with kept.run("r", key="k") as again:
        pass
    assert again.run_id == run.run_id
    stored = run_of(kept, run.run_id)
    assert (stored.info.status, stored.data.tags["ldns.failures"]) == ("FINISHED", "2")
    assert _files(kept, run.run_id) == ["failures"]
    assert _files(kept, run.run_id, "failures") == ["failures/1.txt", "failures/2.txt"]
    assert b"ZeroDivisionError" in artifact_of(kept, run.run_id, "failures/1.txt")
    assert b"KeyError" in artifact_of(kept, run.run_id, "failures/2.txt")


def test_a_run_that_others_use_keeps_its_traceback(kept):
    with pytest.raises(KeyError), kept.run("r", key="k") as run:
        raise KeyError
    with kept.attach(run.run_id) as beside:
        beside.text("note.txt", "seen")
    assert sorted(_files(kept, run.run_id)) == ["failures", "note.txt", "traceback.txt"]
    assert run_of(kept, run.run_id).info.status == "FAILED"


def test_a_store_that_does_not_delete_keeps_the_traceback(server, served, caplog):
    caplog.set_level(logging.WARNING, "ldns_ray.tracking")
    with pytest.raises(KeyError), served.run("r", key="k") as run:
        raise KeyError
    server.will("403", "traceback.txt")
    with served.run("r", key="k"):
        pass
    assert run_of(served, run.run_id).info.status == "FINISHED"
    assert "traceback.txt" in _files(served, run.run_id)
    (said,) = caplog.messages
    assert said.startswith(f"traceback.txt of an earlier attempt stays with run {run.run_id}: 403")


def test_an_interrupted_run_is_killed(tracking):
    with pytest.raises(KeyboardInterrupt), tracking.run("r") as run:
        raise KeyboardInterrupt
    assert run_of(tracking, run.run_id).info.status == "KILLED"


@pytest.mark.parametrize(
    ("code", "status"), [(None, "RUNNING"), (0, "RUNNING"), (1, "FAILED"), ("no disk", "FAILED")]
)
def test_a_process_told_to_exit_leaves_the_run_to_whoever_told_it(tracking, code, status):
    with pytest.raises(SystemExit), tracking.run("r") as run:
        run.metrics({"loss": 1.0})
        raise SystemExit(code)
    stored = run_of(tracking, run.run_id)
    assert stored.info.status == status
    assert history_of(tracking, run.run_id, "loss") == [(0, 1.0)]
    assert ("traceback.txt" in _files(tracking, run.run_id)) is (status == "FAILED")


def test_a_run_ended_when_it_ended_not_when_the_server_heard(server, served):
    with served.run("r") as run:
        server.will("503", "runs/update", times=60)
    ended_ms = run_of(served, run.run_id).info.end_time
    with served.run("later") as later:
        pass
    waited_ms = run_of(served, later.run_id).info.start_time - ended_ms
    assert waited_ms > 500  # sixty pauses of 10 ms
