"""What a change of settings, dataset or place does to the names of the stages, and what is reused."""

import shutil
from dataclasses import replace

import numpy as np
import pytest

from ldns_ray.config import Hardware
from ldns_ray.data.shards import load_trials, write_dataset
from ldns_ray.models.ldns import LDNS
from ldns_ray.pipeline import STAGES
from ldns_ray.settings import override
from tests.pipelines import watched

pytestmark = pytest.mark.usefixtures("one_thread")


@pytest.mark.parametrize(
    ("setting", "value", "first"),
    [
        ("name", "other", None),
        ("autoencoder.width", 32, "autoencoder"),
        ("autoencoder.optimisation.epochs", 4, "autoencoder"),
        ("seed", 1, "autoencoder"),
        ("diffusion.width", 32, "diffusion"),
        ("diffusion.conditions", "", "diffusion"),
        ("observation.kind", "spike_history", "observation"),
        ("sampling.n_steps", 5, "samples"),
        ("sampling.seed", 1, "samples"),
        ("evaluation.split", "val", "evaluation"),
    ],
)
def test_a_setting_changes_its_stage_and_all_after_it(trained, setting, value, first):
    changed = replace(trained, experiment=override(trained.experiment, {setting: value}))
    differ = [s for s in STAGES if changed.fingerprints[s] != trained.fingerprints[s]]
    assert differ == ([] if first is None else list(STAGES[STAGES.index(first) :]))


def test_hardware_and_place_are_no_part_of_a_fingerprint(trained):
    for changes in (
        {"hardware": Hardware(workers=4, gpus_per_worker=1, cpus_per_worker=2)},
        {"root": "/elsewhere"},
    ):
        assert replace(trained, **changes).fingerprints == trained.fingerprints


def test_the_dataset_is_part_of_a_fingerprint(trained, tmp_path):
    """By content: not where it is, but what is in it."""
    moved = tmp_path / "moved"
    shutil.copytree(trained.data_uri, moved)
    assert replace(trained, data_uri=str(moved)).fingerprints == trained.fingerprints
    trials = load_trials(trained.data_uri)
    trials[0] = replace(trials[0], spikes=trials[0].spikes + np.uint8(1))
    write_dataset(trials, tmp_path / "other", name="speech", bin_width_s=0.02)
    other = replace(trained, data_uri=str(tmp_path / "other"))
    assert not set(other.fingerprints.values()) & set(trained.fingerprints.values())


def test_what_comes_before_a_changed_setting_is_reused(trained):
    changed = override(trained.experiment, {"observation.kind": "spike_history"})
    pipeline, observer = watched(trained, experiment=changed)
    pipeline.run("samples")
    assert observer.reused == ["autoencoder", "latents", "diffusion"]
    assert observer.done == ["observation", "samples"]
    assert LDNS.load(pipeline.model_uri).observation is not None
    assert LDNS.load(trained.model_uri).observation is None
