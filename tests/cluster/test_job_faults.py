"""Jobs beside training that lose a node, for a while or for good: sampling, and a sweep. Nothing is lost, or there twice."""

import json
import re
import time
from pathlib import Path

import optuna
import pytest

from ldns_ray import storage
from ldns_ray.data.shards import load_trialset, read_card
from ldns_ray.sampling.dataset import InProcess, sample_dataset
from ldns_ray.sweeps.collecting import FINISHED
from ldns_ray.tracking.connection import connect
from tests.cluster.hosts import alive
from tests.cluster.services import wait_for
from tests.cluster.small import SETTINGS, place, restored, run_id_of, study_of
from tests.models import untrained
from tests.sweeps.submitted import check_histories, runs

pytestmark = [pytest.mark.slow, pytest.mark.usefixtures("one_thread")]

N_SAMPLES = 12_000
SHARD_MB = 0.25
HOW = {"sampler": "dpmpp_2m_sde", "n_steps": 4, "seed": 3}
SWEEP_EPOCHS = 40
AWAY_S = 60.0
RECORD = re.compile(r"ranges/[0-9a-f]{16}-\d{5}\.parquet")
"""Of a range that is done, beside the samples until all are."""


@pytest.fixture(scope="module")
def model(running, services):
    """The URI of a model that was never trained, in the object store."""
    uri = f"{running.root}/untrained"
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("AWS_ENDPOINT_URL", services.endpoint)
        untrained.model(("angle", "length"), history=True).save(uri)
    return uri


@pytest.fixture(scope="module")
def expected(model, running, services):
    """Content by name of the files that one process makes of the samples."""
    out = f"{running.root}/sampled-alone"
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("AWS_ENDPOINT_URL", services.endpoint)
        sample_dataset(model, out, N_SAMPLES, work=InProcess(1), shard_bytes=int(SHARD_MB * 2**20), **HOW)  # fmt: skip
        return contents(out)


def contents(uri):
    return {name: storage.read_bytes(f"{uri}/{name}") for name in storage.files_of(uri)}


def sampling(cluster, model, out):
    """The job, with a worker on each node."""
    return cluster.submit(
        "jobs/sample.py", model, "--n", str(N_SAMPLES), "--n-steps", str(HOW["n_steps"]), "--seed", str(HOW["seed"]),
        "--workers", "2", "--shard-mb", str(SHARD_MB), "--out", out,
    )  # fmt: skip


def n_ranges(out):
    """How many ranges of a dataset are done and recorded, while it is sampled."""
    folder = f"{out}/ranges"
    return len(storage.files_of(folder)) if storage.exists(folder) else 0


def wait_for_ranges(job, out, n):
    wait_for(f"{n} ranges", lambda: n_ranges(out) >= n, 120, job.log)
    assert not storage.exists(f"{out}/dataset.json"), "too late to disturb it"


def check_sampled(cluster, job, out, expected):
    """Each trial once, the bytes of one process, one run in MLflow that ended well."""
    said = job.end()
    assert {
        name: data for name, data in contents(out).items() if not RECORD.match(name)
    } == expected
    trials = load_trialset(out)
    assert len(set(trials.trial_ids)) == len(trials.trial_ids) == N_SAMPLES
    tracking = connect(cluster.tracking_uri, "sample")
    found = tracking.client.search_runs(
        [tracking.experiment_id], filter_string=f"tags.`ldns.samples` = '{out}'"
    )
    assert [run.info.run_id for run in found] == [run_id_of(said)]
    assert found[0].info.status == "FINISHED"
    (entry,) = found[0].inputs.dataset_inputs
    assert entry.dataset.digest == read_card(out).fingerprint


def test_sampling_has_a_node_cut_off_and_its_store_fail(cluster, services, model, expected):
    """The others do its work. What it still writes, back on the network, is what is there already, and the record of it,
    which the same command removes.
    """
    out, way = f"{cluster.root}/sampled-cut-off", services.way
    job = sampling(cluster, model, out)
    wait_for_ranges(job, out, 4)
    cut = cluster.workers[1]
    stranded = cut.host.processes("_Worker")
    assert stranded
    cut.host.cut()
    cut_at, refused = time.monotonic(), way.refused
    with way.failing(status=503):
        time.sleep(12)
    assert way.refused > refused
    time.sleep(cut_at + AWAY_S - time.monotonic())
    cut.host.mend()
    wait_for("what was cut off ends", lambda: not alive(stranded), 60)
    check_sampled(cluster, job, out, expected)
    check_sampled(cluster, sampling(cluster, model, out), out, expected)
    assert contents(out) == expected


def test_a_sweep_loses_a_node(cluster, services):
    """That of its first trial, which goes on from its checkpoint; each is there once, with every epoch once.

    Its study is in PostgreSQL; submitted again it finds everything done.
    """
    root = f"{cluster.root}/sweep"
    command = (
        "jobs/sweep_lorenz.py", "--n-trials", "2", "--name", "losing",
        "hardware.checkpoint_s=0", f"autoencoder.optimisation.epochs={SWEEP_EPOCHS}", *SETTINGS,
    )  # fmt: skip
    job = cluster.submit(*command, root=root)
    wait_for("a checkpoint", lambda: checkpoints(root), 120, job.log)
    (lost,) = (node for node in cluster.workers if node.host.processes("ImplicitFunc"))
    lost.lose()
    (checkpoint,) = checkpoints(root)
    n_done, lost_at = len(restored(checkpoint)["history"]), time.time()
    lost.start()
    said = job.end()
    history = json.loads(storage.read_bytes(checkpoint.replace("checkpoint.pt", "history.json")))
    times = [row["time"] for row in history["rows"]]
    assert times[n_done - 1] < lost_at < times[n_done], "it went on after what was saved"
    results = place(said, "Results")
    study = optuna.load_study(study_name=study_of(results), storage=services.optuna)
    assert [trial.state.name for trial in study.trials] == ["COMPLETE"] * 2
    result = json.loads(storage.read_bytes(f"{results}/sweep.json"))
    assert [row["status"] for row in result["trials"]] == [FINISHED] * 2
    assert sorted(row["score"] for row in result["trials"]) == sorted(t.value for t in study.trials)
    status, children, histories = runs(cluster.tracking_uri, "losing")
    assert status == "FINISHED"
    assert children == {"trial 1": ["FINISHED"], "trial 2": ["FINISHED"]}
    check_histories(histories, {"autoencoder": SWEEP_EPOCHS, "diffusion": 3})
    assert "every trial is done" in cluster.submit(*command, root=root).end()


def checkpoints(root):
    """URIs of those of autoencoders under a storage root."""
    folder = f"{root}/autoencoder"
    files = storage.files_of(folder) if storage.exists(folder) else {}
    return [f"{folder}/{name}" for name in files if Path(name).name == "checkpoint.pt"]
