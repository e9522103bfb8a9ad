"""The trained whole: save and load, sampling in parts, conditions, files that are no model."""

import json
import os
import pickle

import numpy as np
import pytest
import torch

from ldns_ray.models.autoencoder import Autoencoder
from ldns_ray.models.conditioning import Conditioning
from ldns_ray.models.denoiser import Denoiser
from ldns_ray.models.diffusion import SAMPLERS
from ldns_ray.models.ldns import BLOCK, LDNS, Noise, TrainingDraws
from ldns_ray.models.observation import SpikeHistory

pytestmark = pytest.mark.usefixtures("one_thread")

N_UNITS, N_LATENTS = 5, 3
TRAINING_BINS = (12, 30, 25, 18)
SCHEDULE = {"n_steps": 50, "beta_start": 1e-3, "beta_end": 0.3}


def model(conditions=(), covariates=(), history=False, droppable=False, level=None, seed=0):
    """An LDNS of random weights, away from their initialisation."""
    rng = np.random.default_rng(seed)
    n_bins_S = np.array(TRAINING_BINS)
    given = {
        "angle": rng.normal(size=(4, 2)).astype(np.float32),
        "speed": rng.normal(3, 2, size=(4, 1)).astype(np.float32),
    }
    traces = {"velocity": rng.normal(1, 2, size=(n_bins_S.sum(), 2)).astype(np.float32)}
    conditioning = Conditioning.fit(
        conditions, covariates, n_bins_S=n_bins_S, conditions=given, covariates=traces
    )
    autoencoder = {
        "n_units": N_UNITS,
        "n_latents": N_LATENTS,
        "width": 8,
        "n_blocks": 1,
        "bidirectional": True,
    }
    denoiser = {
        "n_latents": N_LATENTS,
        "width": 8,
        "n_blocks": 2,
        "n_conditions": conditioning.n_conditions,
        "n_covariates": conditioning.n_covariates,
        "droppable": droppable,
        "level": level,
    }
    torch.manual_seed(seed)
    networks = Autoencoder(**autoencoder), Denoiser(**denoiser)
    with torch.no_grad():
        for network in networks:
            for parameter in network.parameters():
                parameter += 0.1 * torch.randn_like(parameter)
    observation = None
    if history:
        observation = SpikeHistory(
            rng.normal(0, 0.3, (N_UNITS, 4)).astype(np.float32),
            np.ones(N_UNITS, np.float32),
            np.zeros(N_UNITS, np.float32),
            3,
        )
    return LDNS(
        networks[0],
        autoencoder,
        networks[1],
        denoiser,
        Noise(**SCHEDULE),
        rng.normal(size=N_LATENTS).astype(np.float32),
        rng.uniform(0.5, 2, N_LATENTS).astype(np.float32),
        conditioning,
        TrainingDraws(
            n_bins_S,
            {k: v for k, v in given.items() if k in conditions},
            {k: v for k, v in traces.items() if k in covariates},
        ),
        bin_width_s=0.005,
        unit_names=[f"unit {i}" for i in range(N_UNITS)],
        observation=observation,
        provenance={"dataset": "test", "epochs": 3},
    )


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
    (tmp_path / "config.json").write_text("{")
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


CONDITIONS = {"angle": np.zeros((2, 2)), "speed": np.zeros((2, 1))}


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"n": -1}, "n must be non-negative, got -1"),
        ({"sampler": "euler"}, "sampler must be ddpm, ddim or dpmpp_2m, got 'euler'"),
        ({"n_steps": 0}, "n_steps must be at least 1, got 0"),
        ({"guidance": 2.0}, "not trained with dropped conditions, got 2.0"),
        ({"seed": -1}, r"seed must be in \[0, 2\^48\), got -1"),
        ({"first_trial": -1}, r"first_trial must be in \[0, 2\^48\), got -1"),
        ({"n_bins": 0}, "n_bins must be at least 1, got 0"),
        ({"n_bins": [3]}, "n_bins must be one number or 2, got 1"),
        ({"n_bins": 31}, "longer than those of the training set need their covariates velocity"),
        (
            {"condition": {"angel": np.zeros((2, 2))}},
            "no condition 'angel'; it was trained with: angle, speed",
        ),
        (
            {"condition": {"angle": np.zeros((2, 2))}},
            "The condition 'speed' is missing; the model was trained with: angle, speed",
        ),
        (
            {"condition": {"angle": np.zeros((3, 2)), "speed": np.zeros((2, 1))}},
            "condition 'angle' must have 2 rows, one per trial, got 3",
        ),
        (
            {"condition": {"angle": np.zeros((2, 5)), "speed": np.zeros((2, 1))}},
            r"condition 'angle' must be \(2, 2\), got \(2, 5\)",
        ),
        ({"condition": {"length": np.zeros((2, 1))}}, "no condition 'length'"),
        (
            {"covariates": {"speed": np.zeros((2, 9, 2))}},
            "no covariate 'speed'; it was trained with: velocity",
        ),
        (
            {"covariates": {"velocity": np.zeros((2, 9, 3))}},
            r"covariate 'velocity' of trial 0 must be \(9, 2\), got \(9, 3\)",
        ),
        (
            {"covariates": {"velocity": np.zeros((2, 9, 2))}, "n_bins": [9, 8]},
            r"covariate 'velocity' of trial 1 must be \(8, 2\), got \(9, 2\)",
        ),
        # One without the other: velocities of another reach than the angle's.
        (
            {"condition": CONDITIONS},
            "covariate 'velocity' is missing; .* trained with: velocity. Give all conditions and covariates, or none",
        ),
        (
            {"covariates": {"velocity": np.zeros((2, 9, 2))}},
            "condition 'angle' is missing; .* trained with: angle, speed. Give all conditions and covariates, or none",
        ),
        # Not by name, not per trial.
        ({"condition": np.zeros((2, 2))}, r"Give conditions by name, such as \{'angle': array\}, got ndarray"),
        ({"covariates": [np.zeros((9, 2))] * 2}, r"Give covariates by name, such as \{'velocity': array\}, got list"),
        ({"condition": CONDITIONS | {"angle": 0.5}}, "'angle' must have 2 rows, one per trial, got 0.5"),
        ({"condition": CONDITIONS | {"angle": np.array(0.5)}}, r"'angle' must have 2 rows, .* got array\(0.5\)"),
        ({"condition": CONDITIONS | {"angle": None}}, "'angle' must have 2 rows, one per trial, got None"),
        ({"condition": CONDITIONS | {"angle": [0.1, 0.2]}}, r"'angle' must be \(2, 2\), got \(2,\)"),
        ({"condition": CONDITIONS | {"speed": np.zeros(2)}}, r"'speed' must be \(2, 1\), got \(2,\)"),
        ({"condition": CONDITIONS | {"angle": [[1], [1, 2]]}}, "'angle' must be an array, got rows of different"),
        ({"covariates": {"velocity": 3.0}}, "'velocity' must have 2 rows, one per trial, got 3.0"),
        ({"covariates": {"velocity": [np.zeros(9)] * 2}}, r"'velocity' of trial 0 must be \(9, 2\), got \(9,\)"),
        ({"covariates": {"velocity": [1.0, 2.0]}}, r"'velocity' of trial 0 must be a trial's bins, got 1.0"),
        ({"covariates": {"velocity": [np.zeros((9, 2))]}}, "'velocity' must have 2 rows, one per trial, got 1"),
        # Numbers that are none.
        ({"condition": CONDITIONS | {"angle": [["a", "b"]] * 2}}, "condition 'angle' must be numbers, got <U1"),
        ({"condition": CONDITIONS | {"angle": [[None, 1]] * 2}}, "condition 'angle' must be numbers, got object"),
        ({"condition": CONDITIONS | {"angle": np.ones((2, 2)) * 1j}}, "'angle' must be numbers, got complex128"),
        (
            {"condition": CONDITIONS | {"angle": [[0, 1], [0, np.nan]]}},
            "condition 'angle' must be finite, got nan in entry 1 of trial 1",
        ),
        (
            {"condition": CONDITIONS | {"speed": [[-np.inf], [0]]}},
            "condition 'speed' must be finite, got -inf in entry 0 of trial 0",
        ),
        ({"condition": CONDITIONS | {"speed": [[1e300], [0]]}}, "condition 'speed' must be finite, got inf"),
        ({"covariates": {"velocity": np.full((2, 9, 2), "x")}}, "'velocity' of trial 0 must be numbers, got <U1"),
        (
            {"covariates": {"velocity": [np.zeros((9, 2)), np.where(np.eye(9, 2) > 0, np.nan, 0)]}},
            "'velocity' of trial 1 must be finite, got nan in channel 0 of bin 0",
        ),
        # Lengths.
        ({"n_bins": 20.5}, "n_bins must be whole numbers, got 20.5 of type float64"),
        ({"n_bins": [20.0, 21.0]}, "n_bins must be whole numbers, got 20.0 of type float64"),
        ({"n_bins": ["a", "b"]}, "n_bins must be whole numbers, got a of type <U1"),
        ({"n_bins": True}, "n_bins must be whole numbers, got True of type bool"),
        ({"n_bins": [[3, 4]]}, r"n_bins must be one number or 2, got \(1, 2\)"),
        ({"n_bins": [3, -4]}, "n_bins must be at least 1, got -4"),
        # Strength of the conditions.
        ({"guidance": -1}, "guidance must be finite and non-negative, got -1"),
        ({"guidance": np.nan}, "guidance must be finite and non-negative, got nan"),
    ],
)  # fmt: skip
def test_refused_requests(arguments, message):
    ldns = model(conditions=("angle", "speed", "length"), covariates=("velocity",))
    with pytest.raises(ValueError, match=message):
        ldns.sample(**{"n": 2, **arguments})


@pytest.mark.parametrize("kind", ["conditions", "covariates", "both"])
def test_conditions_alone_or_together(kind):
    """Of any numeric type, as lists or arrays; the model may have either, or both."""
    names = {"conditions": ("speed",) if kind != "covariates" else (), "covariates": ("velocity",) if kind != "conditions" else ()}  # fmt: skip
    ldns = model(**names)
    asked = {}
    if names["conditions"]:
        asked["condition"] = {"speed": [[1], [3]]}
    if names["covariates"]:
        asked["covariates"] = {"velocity": [np.ones((7, 2), np.int64), [[0.5, 1.0]] * 4]}
    else:
        asked["n_bins"] = np.array([7, 4], np.int32)
    samples = ldns.sample(2, **asked, n_steps=2)
    assert [len(z) for z in samples.latents] == [7, 4]
    if names["conditions"]:
        assert samples.conditions["speed"].tolist() == [[1.0], [3.0]]
        assert samples.conditions["speed"].dtype == np.float32
    if names["covariates"]:
        assert samples.covariates["velocity"][1].tolist() == [[0.5, 1.0]] * 4
        assert samples.covariates["velocity"][0].dtype == np.float32


def test_requests_are_what_is_sampled():
    ldns = model(**VARIANTS["everything"])
    asked = ldns.requests(9, seed=3)
    samples = ldns.sample(9, n_steps=1, seed=3)
    assert [len(z) for z in samples.latents] == asked.n_bins.tolist()
    again = ldns.sample(
        9, n_bins=asked.n_bins, condition=asked.conditions, covariates=asked.covariates, n_steps=1, seed=3
    )  # fmt: skip
    assert_same(samples, again)
    rows = asked.rows(4, 6)
    assert rows.n_bins.tolist() == asked.n_bins[4:6].tolist()
    assert [len(x) for x in rows.covariates["velocity"]] == rows.n_bins.tolist()
    assert rows.conditions["angle"].shape == (2, 2)


def test_a_model_without_conditions_says_so():
    with pytest.raises(ValueError, match="no condition 'angle'; it was trained with: none"):
        model().sample(1, condition={"angle": np.zeros((1, 2))})


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
