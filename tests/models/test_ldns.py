"""The trained whole: save and load, sampling in parts, conditions, files that are no model."""

import json
import os
import pickle

import numpy as np
import pytest
import torch

from ldns_ray import storage
from ldns_ray.models.conditioning import Conditioning
from ldns_ray.models.diffusion import SAMPLERS
from ldns_ray.models.ldns import BLOCK, LDNS
from tests.models.untrained import N_LATENTS, N_UNITS, SCHEDULE, TRAINING_BINS, model

pytestmark = pytest.mark.usefixtures("one_thread")

VARIANTS = {
    "plain": {},
    "length": {"conditions": ("length",)},
    "everything": {
        "conditions": ("speed", "length", "angle"),
        "covariates": ("velocity",),
        "history": True,
    },
    "guided": {
        "conditions": ("speed", "length", "angle"),
        "covariates": ("velocity",),
        "history": True,
        "droppable": True,
    },
}
GUIDANCE = {"guided": 1.7}
variants = pytest.mark.parametrize("variant", VARIANTS)


def assert_same(a, b, *, exact=True):
    for kind in ("latents", "rates", "spikes"):
        for x, y in zip(getattr(a, kind), getattr(b, kind), strict=True):
            if exact or kind == "spikes":
                np.testing.assert_array_equal(x, y)
            else:
                np.testing.assert_allclose(x, y, rtol=1e-4, atol=1e-4)
    assert a.conditions.keys() == b.conditions.keys()
    for name, value in a.conditions.items():
        np.testing.assert_array_equal(value, b.conditions[name])
    assert a.covariates.keys() == b.covariates.keys()
    for name, values in a.covariates.items():
        for x, y in zip(values, b.covariates[name], strict=True):
            np.testing.assert_array_equal(x, y)


# -- Save and load


@variants
@pytest.mark.parametrize("place", ["local", "memory"])
def test_loaded_equals_saved(variant, place, tmp_path):
    ldns = model(**VARIANTS[variant])
    uri = tmp_path / "model" if place == "local" else f"memory://{tmp_path.name}-{variant}"
    ldns.save(uri)
    loaded = LDNS.load(uri)
    assert_same(ldns.sample(6, seed=3), loaded.sample(6, seed=3))
    spikes = ldns.sample(6, seed=3).spikes
    for a, b in zip(ldns.encode(spikes), loaded.encode(spikes), strict=True):
        np.testing.assert_array_equal(a, b)
    assert loaded.unit_names == ldns.unit_names
    assert loaded.bin_width_s == ldns.bin_width_s
    assert loaded.provenance == ldns.provenance
    assert loaded.noise == ldns.noise
    assert list(loaded.conditioning.conditions) == list(ldns.conditioning.conditions)


def test_saved_folder_holds_two_files_and_no_pickle(tmp_path):
    model().save(tmp_path)
    assert sorted(os.listdir(tmp_path)) == ["config.json", "model.safetensors"]
    assert json.loads((tmp_path / "config.json").read_text())["bin_width_s"] == 0.005


def test_no_model(tmp_path):
    with pytest.raises(FileNotFoundError, match=r"No LDNS model under .*nowhere.*jobs/train.py"):
        LDNS.load(tmp_path / "nowhere")


class Bomb:
    """Unpickling it leaves a file."""

    def __init__(self, path):
        self.path = path

    def __reduce__(self):
        return (open, (str(self.path), "w"))


def test_a_pickle_is_not_unpickled(tmp_path):
    model().save(tmp_path)
    trace = tmp_path / "unpickled"
    for content in (pickle.dumps(Bomb(trace)), pickle.dumps({"x": Bomb(trace)}, protocol=0)):
        (tmp_path / "model.safetensors").write_bytes(content)
        with pytest.raises(ValueError, match="cannot be read"):
            LDNS.load(tmp_path)
    torch.save({"x": torch.zeros(1)}, tmp_path / "model.safetensors")
    with pytest.raises(ValueError, match="cannot be read"):
        LDNS.load(tmp_path)
    assert not trace.exists()


@pytest.mark.parametrize("name", ["model.safetensors", "config.json"])
def test_files_that_lie_elsewhere_are_refused(name, tmp_path):
    folder = tmp_path / "model"
    model().save(folder)
    (folder / name).rename(tmp_path / name)
    (folder / name).symlink_to(f"../{name}")
    with pytest.raises(ValueError, match=rf"model/{name} must lie in its folder, got a link to "):
        LDNS.load(folder)


def test_no_other_file_is_opened_whatever_the_config_says(tmp_path, monkeypatch):
    """Paths in a config are words: two files are read, by their own names."""
    folder, trace = tmp_path / "model", tmp_path / "unpickled"
    model().save(folder)
    (tmp_path / "x.pt").write_bytes(pickle.dumps(Bomb(trace)))
    (folder / "model.bin").write_bytes(pickle.dumps(Bomb(trace)))
    path = folder / "config.json"
    config = json.loads(path.read_text())
    paths = {"weights": "../x.pt", "unit_names": ["../x.pt"] * N_UNITS, "provenance": {"model": "../x.pt"}}  # fmt: skip
    path.write_text(json.dumps(config | paths))
    opened = []
    monkeypatch.setattr(
        storage, "read_bytes", lambda uri, read=storage.read_bytes: opened.append(uri) or read(uri)
    )
    LDNS.load(folder).sample(1, n_bins=4, n_steps=1)
    assert opened == [str(folder / "config.json"), str(folder / "model.safetensors")]
    assert not trace.exists()
    for section in ("autoencoder", "denoiser", "noise"):
        path.write_text(json.dumps(config | {section: config[section] | {"weights": "../x.pt"}}))
        with pytest.raises(ValueError, match=r"cannot be read: .*weights"):
            LDNS.load(folder)


@pytest.mark.parametrize("keep", [0, 7, 200, -1])
def test_truncated_weights(keep, tmp_path):
    model().save(tmp_path)
    path = tmp_path / "model.safetensors"
    path.write_bytes(path.read_bytes()[:keep])
    with pytest.raises(ValueError, match="cannot be read"):
        LDNS.load(tmp_path)


@pytest.mark.parametrize(
    "change",
    [
        {"format": 2},
        {"denoiser": {"n_latents": N_LATENTS, "width": 12, "n_blocks": 2}},
        {"autoencoder": {"n_units": N_UNITS, "flavour": "sweet"}},
        {"count_cap": 5},
        {"conditions": 3},
        {"noise": []},
        {"autoencoder": "autoencoder"},
    ],
    ids=lambda change: next(iter(change)),
)
def test_config_that_does_not_fit_the_weights(change, tmp_path):
    model().save(tmp_path)
    path = tmp_path / "config.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | change))
    with pytest.raises(ValueError, match=r"cannot be read|has format 2, this version reads 1"):
        LDNS.load(tmp_path)


def test_config_that_is_no_json(tmp_path):
    model().save(tmp_path)
    for content in (b"{", b"\xff", b"[]", b"[" * 10**5, b"null"):
        (tmp_path / "config.json").write_bytes(content)
        with pytest.raises(ValueError, match="cannot be read"):
            LDNS.load(tmp_path)


# -- Encode and decode


def test_encode_and_decode_do_not_depend_on_neighbours():
    ldns = model()
    rng = np.random.default_rng(0)
    spikes = [rng.poisson(0.7, (n, N_UNITS)) for n in rng.integers(5, 40, BLOCK + 6)]
    latents = ldns.encode(spikes)
    rates = ldns.decode(latents)
    for i in (0, BLOCK - 1, BLOCK, BLOCK + 5):
        assert latents[i].shape == (len(spikes[i]), N_LATENTS)
        np.testing.assert_allclose(ldns.encode(spikes[i : i + 1])[0], latents[i], atol=1e-5)
        np.testing.assert_allclose(ldns.decode(latents[i : i + 1])[0], rates[i], atol=1e-5)
    dense = rng.poisson(0.7, (3, 20, N_UNITS))
    for a, b in zip(ldns.encode(dense), ldns.encode(list(dense)), strict=True):
        np.testing.assert_array_equal(a, b)


# -- Samples


@variants
@pytest.mark.parametrize("sampler", SAMPLERS)
def test_samples_in_parts_equal_samples_together(variant, sampler):
    ldns = model(**VARIANTS[variant])
    whole = ldns.sample(10, sampler=sampler, n_steps=5, seed=1)
    first = ldns.sample(6, sampler=sampler, n_steps=5, seed=1)
    rest = ldns.sample(4, sampler=sampler, n_steps=5, seed=1, first_trial=6)
    joined = type(whole)(
        first.spikes + rest.spikes,
        first.rates + rest.rates,
        first.latents + rest.latents,
        {k: np.concatenate((v, rest.conditions[k])) for k, v in first.conditions.items()},
        {k: v + rest.covariates[k] for k, v in first.covariates.items()},
    )
    assert_same(whole, joined, exact=False)


def test_whole_blocks_are_exact():
    """Workers that are given whole blocks sample the very same numbers."""
    ldns = model(**VARIANTS["everything"])
    whole = ldns.sample(2 * BLOCK + 5, n_steps=3, seed=1)
    parts = [
        ldns.sample(BLOCK, n_steps=3, seed=1),
        ldns.sample(BLOCK + 5, n_steps=3, seed=1, first_trial=BLOCK),
    ]
    for kind in ("latents", "rates", "spikes"):
        joined = getattr(parts[0], kind) + getattr(parts[1], kind)
        for a, b in zip(getattr(whole, kind), joined, strict=True):
            np.testing.assert_array_equal(a, b)


def assert_same_latents(a, b):
    """To 1e-5 of the largest: random networks make latents of a hundred standard deviations."""
    np.testing.assert_allclose(a, b, rtol=0, atol=1e-5 * max(1, np.abs(b).max()))


@variants
@pytest.mark.parametrize("sampler", SAMPLERS)
def test_ragged_lengths_equal_each_length_alone(variant, sampler):
    ldns = model(**VARIANTS[variant])
    settings = {"n_steps": 5, "sampler": sampler, "guidance": GUIDANCE.get(variant, 1.0), "seed": 2}
    whole = ldns.sample(8, **settings)
    assert len({len(z) for z in whole.latents}) > 1
    for i, z in enumerate(whole.latents):
        alone = ldns.sample(1, **settings, first_trial=i)
        assert_same_latents(alone.latents[0], z)
        # Of random networks, exponentials of large numbers.
        np.testing.assert_allclose(alone.rates[0], whole.rates[i], rtol=1e-3, atol=1e-5)
        assert whole.spikes[i].shape == (len(z), N_UNITS)


@pytest.mark.parametrize("level", [None, SCHEDULE])
def test_lengths_beyond_training_equal_each_length_alone(level):
    ldns = model(conditions=("length",), level=level)
    lengths = [100, 30, 5, 480]
    whole = ldns.sample(4, n_bins=lengths, n_steps=5, seed=2)
    for i, (z, length) in enumerate(zip(whole.latents, lengths, strict=True)):
        alone = ldns.sample(1, n_bins=length, n_steps=5, seed=2, first_trial=i)
        assert_same_latents(alone.latents[0], z)


def test_guidance_of_one_is_no_guidance():
    """Bit by bit, for a model that was trained to be guided."""
    ldns = model(**VARIANTS["guided"])
    plain = ldns.sample(6, n_steps=4, seed=1)
    assert_same(plain, ldns.sample(6, n_steps=4, seed=1, guidance=1.0))
    for guidance in (0.0, 2.0):
        other = ldns.sample(6, n_steps=4, seed=1, guidance=guidance)
        assert np.abs(other.latents[0] - plain.latents[0]).max() > 1e-3


def test_without_guidance_conditions_do_not_matter():
    ldns = model(conditions=("angle",), droppable=True)
    a, b = (
        ldns.sample(2, n_bins=9, condition={"angle": np.full((2, 2), x)}, n_steps=3, guidance=0)
        for x in (-1.0, 2.0)
    )
    for x, y in zip(a.latents, b.latents, strict=True):
        np.testing.assert_allclose(x, y, rtol=1e-5, atol=1e-5)


def test_seeds_and_trials_differ():
    ldns = model()
    a, b = (ldns.sample(2, n_bins=20, n_steps=3, seed=seed).latents for seed in (0, 1))
    assert np.abs(a[0] - b[0]).max() > 1e-2
    assert np.abs(a[0] - a[1]).max() > 1e-2


def test_defaults_are_drawn_from_the_training_trials_together():
    ldns = model(**VARIANTS["everything"])
    samples = ldns.sample(40, n_steps=1, seed=0)
    draws = ldns.training
    starts = np.cumsum(draws.n_bins_S) - draws.n_bins_S
    seen = set()
    for i, z in enumerate(samples.latents):
        (trial,) = np.flatnonzero(
            (draws.conditions["angle"] == samples.conditions["angle"][i]).all(1)
        )
        seen.add(trial)
        assert len(z) == draws.n_bins_S[trial]
        assert samples.conditions["speed"][i] == draws.conditions["speed"][trial]
        rows = slice(starts[trial], starts[trial] + draws.n_bins_S[trial])
        np.testing.assert_array_equal(
            samples.covariates["velocity"][i], draws.covariates["velocity"][rows]
        )
    assert seen == set(range(len(TRAINING_BINS)))
    assert "length" not in samples.conditions


def test_conditions_and_covariates_are_used_and_given_back():
    ldns = model(conditions=("angle",), covariates=("velocity",))
    angle = np.array([[1.0, 0.0], [0.0, 3.0]])
    velocity = np.random.default_rng(0).normal(size=(2, 15, 2))
    settings = {"n_steps": 4, "seed": 0}
    samples = ldns.sample(
        2, condition={"angle": angle}, covariates={"velocity": velocity}, **settings
    )
    np.testing.assert_array_equal(samples.conditions["angle"], angle.astype(np.float32))
    np.testing.assert_array_equal(samples.covariates["velocity"][1], velocity[1].astype(np.float32))
    assert [len(z) for z in samples.latents] == [15, 15]
    for change in (
        {"condition": {"angle": angle[::-1]}, "covariates": {"velocity": velocity}},
        {"condition": {"angle": angle}, "covariates": {"velocity": velocity[::-1]}},
    ):
        other = ldns.sample(2, **change, **settings)
        assert np.abs(other.latents[0] - samples.latents[0]).max() > 1e-3


def test_length_is_a_condition():
    ldns = model(conditions=("length",))
    a, b = (ldns.conditioning.condition(torch.tensor([n]), {}) for n in (12, 30))
    logs = np.log(TRAINING_BINS)
    assert float(a) == pytest.approx((np.log(12) - logs.mean()) / logs.std(), rel=1e-4)
    assert float(b) == pytest.approx((np.log(30) - logs.mean()) / logs.std(), rel=1e-4)


def test_latents_are_in_the_units_of_the_autoencoder():
    ldns = model()
    before = ldns.sample(2, n_bins=9, n_steps=3).latents
    ldns.latent_mean_D = ldns.latent_mean_D + 10
    after = ldns.sample(2, n_bins=9, n_steps=3).latents
    np.testing.assert_allclose(after[0], before[0] + 10, atol=1e-4)


def test_no_trials():
    samples = model(**VARIANTS["everything"]).sample(0)
    assert samples.spikes == samples.rates == samples.latents == []
    assert samples.conditions["angle"].shape == (0, 2)


# -- Conditioning


def test_conditioning_names_what_the_dataset_has():
    with pytest.raises(
        ValueError, match=r"no condition 'angel'; it has: length, angle.*diffusion.conditions"
    ):
        Conditioning.fit(
            ("angel",), (), n_bins_S=np.array([3]), conditions={"angle": np.zeros((1, 2))}, covariates={}
        )  # fmt: skip
    with pytest.raises(ValueError, match="no covariate 'velocity'; it has: none"):
        Conditioning.fit((), ("velocity",), n_bins_S=np.array([3]), conditions={}, covariates={})


def test_conditioning_standardises_and_leaves_constants_finite():
    conditions = {"angle": np.array([[1.0, 4.0], [3.0, 4.0]], np.float32)}
    fitted = Conditioning.fit(
        ("angle",), (), n_bins_S=np.array([3, 3]), conditions=conditions, covariates={}
    )
    got = fitted.condition(torch.tensor([3, 3]), {"angle": torch.from_numpy(conditions["angle"])})
    assert got.tolist() == [[-1.0, 0.0], [1.0, 0.0]]
    assert fitted.covariate({}) is None
