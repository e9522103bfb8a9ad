"""Recordings that the model never saw, encoded."""

import numpy as np
import pytest

from ldns_ray.data.shards import load_trialset, read_card
from ldns_ray.data.simulation.simulated import simulated_dataset
from ldns_ray.models.ldns import LDNS
from ldns_ray.settings import override
from ldns_ray.stages import encode_dataset, model_fingerprint, origin
from tests.models import untrained

pytestmark = pytest.mark.usefixtures("one_thread")


def test_a_recording_never_seen_is_encoded(trained, tiny, tmp_path):
    other = simulated_dataset(override(tiny, {"dataset.seed": 5}), str(tmp_path))
    out = str(tmp_path / "out")
    encode_dataset(trained.autoencoder(), other, out, rates=True)
    card = read_card(out)
    assert card.n_latents == 4
    assert card.has_rates
    assert card.splits == read_card(other).splits
    model = LDNS.load(trained.model_uri)
    given, got = load_trialset(other), load_trialset(out)
    assert got.trial_ids == given.trial_ids
    np.testing.assert_array_equal(got.spikes, given.spikes)
    for z, expected in zip(got.latents_list(), model.encode(given.spikes_list()), strict=True):
        np.testing.assert_allclose(z, expected, atol=1e-5)
    for rates, expected in zip(got.rates_list(), model.decode(got.latents_list()), strict=True):
        np.testing.assert_allclose(rates, expected, rtol=1e-4, atol=1e-6)


def test_samples_lead_back_to_model_data_and_code(
    trained, job, tracking_uri, monkeypatch, tmp_path
):
    """The same, whichever way they were made."""
    monkeypatch.setenv("LDNS_COMMIT", "now")
    of_pipeline = read_card(trained.samples_uri)
    s = trained.experiment.sampling
    job(
        "sample", trained.model_uri, "--out", tmp_path / "s", "--sampler", s.sampler, "--n-steps", s.n_steps,
        "--guidance", s.guidance, "--seed", s.seed, "--tracking-uri", tracking_uri,
    )  # fmt: skip
    of_job = read_card(tmp_path / "s")
    assert of_job.fingerprint == of_pipeline.fingerprint, "what is told of samples changes none"
    model = LDNS.load(trained.model_uri)
    assert of_job.provenance == {
        "model": trained.model_uri,
        "model_fingerprint": model_fingerprint(trained.model_uri),
        "model_commit": model.provenance["commit"],
        "experiment": "speech_small",
        "dataset": trained.card.fingerprint,
        "dataset_name": trained.card.name,
        "commit": "now",
        "sampler": s.sampler,
        "n_steps": s.n_steps,
        "guidance": s.guidance,
        "seed": s.seed,
        "request": of_pipeline.provenance["request"],
    }
    assert of_pipeline.provenance == {**of_job.provenance, "commit": model.provenance["commit"]}


def test_a_models_fingerprint_tells_models_apart(trained, tmp_path):
    model = LDNS.load(trained.model_uri)
    model.save(tmp_path / "copy")
    assert model_fingerprint(str(tmp_path / "copy")) == model_fingerprint(trained.model_uri)
    model.latent_bound_D = None
    model.save(tmp_path / "other")
    assert model_fingerprint(str(tmp_path / "other")) != model_fingerprint(trained.model_uri)


def test_what_a_model_does_not_know_is_left_out(tmp_path):
    model = untrained.model()
    model.provenance = {}
    model.save(tmp_path)
    assert set(origin(model, str(tmp_path))) == {"model", "model_fingerprint"}


def test_a_recording_of_other_units_is_refused(trained, tiny, tmp_path):
    other = simulated_dataset(override(tiny, {"dataset.n_units": 9}), str(tmp_path))
    with pytest.raises(ValueError, match=r"has 9 units, the model was trained on 16"):
        encode_dataset(trained.autoencoder(), other, str(tmp_path / "out"))
    assert not (tmp_path / "out").exists()
