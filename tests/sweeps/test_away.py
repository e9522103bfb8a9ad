"""A sweep whose MLflow server is killed, and away for a while."""

import json
import socket
import threading
import time
from dataclasses import replace

import pytest

from ldns_ray import services
from ldns_ray.settings import override
from ldns_ray.sweeps.sweep import run_sweep
from ldns_ray.tracking.connection import connect
from tests.sweeps.planned import RATE, planned
from tests.sweeps.processes import wait_until
from tests.sweeps.submitted import check_histories, runs, states
from tests.tracking.stored import artifact_of, history_of

pytestmark = pytest.mark.slow

EPOCHS = {"autoencoder": 3, "diffusion": 50}
AWAY_S = 30.0


@pytest.fixture
def servers(tmp_path):
    """An MLflow server on a port that nobody else looks for; those that are started in its place are added."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    started = [services.start_mlflow(tmp_path, port)]
    yield started
    services.stop(started[-1])


def test_a_sweep_outlasts_its_server(trained, ray_session, servers, tmp_path):
    epochs = {f"{part}.optimisation.epochs": n for part, n in EPOCHS.items()}
    sweep = replace(
        planned(trained, tmp_path / "root"), name="away", experiment=override(trained.experiment, epochs),
        tracking_uri=servers[0].address, n_trials=2, points=[{RATE: 1e-3}, {RATE: 2e-3}],
    )  # fmt: skip
    lines = []

    def fail():
        wait_until(lambda: any("trial 1  diffusion    started" in line for line in lines), 120)
        for process in services._members(servers[0]):
            process.kill()
        time.sleep(AWAY_S)
        servers.append(services.start_mlflow(tmp_path, servers[0].port))

    failing = threading.Thread(target=fail, daemon=True)
    failing.start()
    swept = run_sweep(sweep, lines.append)
    failing.join()
    assert servers[1].address == servers[0].address
    assert [row["status"] for row in swept["trials"]] == ["FINISHED"] * 2
    assert sum("  begins" in line for line in lines) == 2, "no trial was done twice"
    assert states(tmp_path / "root") == ["COMPLETE"] * 2
    parent, children, histories = runs(servers[1].address, "away")
    assert parent == "FINISHED"
    assert children == {f"trial {i}": ["FINISHED"] for i in (1, 2)}
    check_histories(histories, EPOCHS)
    tracking = connect(servers[1].address, "away")
    run_id = tracking.find(sweep.fingerprint)
    assert history_of(tracking, run_id, "trials_finished") == [(1, 1.0), (2, 2.0)]
    assert history_of(tracking, run_id, "trials_running") == [(1, 0.0), (2, 0.0)]
    best = min(row["score"] for row in swept["trials"])
    assert history_of(tracking, run_id, "best_score")[-1] == (2, pytest.approx(best))
    assert len(json.loads(artifact_of(tracking, run_id, "trials.json"))["data"]) == 2
