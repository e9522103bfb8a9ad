"""The named experiments."""

import json

import pytest

from ldns_ray.config import EXPERIMENTS, Experiment, experiment
from ldns_ray.settings import fingerprint, from_dict, to_dict

every_experiment = pytest.mark.parametrize("name", EXPERIMENTS)


@every_experiment
def test_experiments_carry_their_name_and_survive_json(name):
    made = experiment(name)
    assert made.name == name
    plain = json.loads(json.dumps(to_dict(made)))
    assert from_dict(Experiment, plain) == made
    assert fingerprint(from_dict(Experiment, plain)) == fingerprint(made)


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("lorenz", (256, 4, 8, True, 0.2, 0.01, 0.01, 200, 512, 64, 4, 1000, 512)),
        ("speech", (256, 6, 32, False, 0.2, 0.001, 0.02, 400, 256, 384, 6, 2000, 256)),
        ("reach", (256, 4, 16, False, 0.5, 0.001, 0.2, 260, 64, 256, 6, 2000, 512)),
    ],
)
def test_settings_of_the_paper(name, expected):
    e = experiment(name)
    a, d = e.autoencoder, e.diffusion
    got = (
        a.width, a.n_blocks, a.n_latents, a.bidirectional, a.dropout, a.latent_penalty, a.smoothness_penalty,
        a.optimisation.epochs, a.optimisation.batch_size, d.width, d.n_blocks, d.optimisation.epochs,
        d.optimisation.batch_size,
    )  # fmt: skip
    assert got == expected
    assert (a.optimisation.clip_norm, d.optimisation.clip_norm) == (2.0, 1.0)
    assert (d.n_steps, d.beta_start, d.beta_end, e.seed) == (1000, 1e-4, 0.02, 42)


def test_variants_differ_from_their_base_where_they_say():
    reach, angle, velocity = (experiment(f"reach{v}") for v in ("", "_angle", "_velocity"))
    for variant in (angle, velocity):
        assert variant.autoencoder == reach.autoencoder
        assert variant.observation == reach.observation
    assert (angle.diffusion.conditions, angle.diffusion.covariates) == (("angle",), ())
    assert (velocity.diffusion.conditions, velocity.diffusion.covariates) == ((), ("velocity",))


def test_unknown_experiment_names_close_ones():
    with pytest.raises(ValueError, match=r"Unknown experiment 'speach'. Did you mean speech"):
        experiment("speach")
    with pytest.raises(
        ValueError, match=r"Unknown experiment 'zzz'. Known: lorenz, lorenz_small, "
    ):
        experiment("zzz")


@pytest.mark.parametrize("name", ["reach_angle", "reach_velocity"])
def test_conditional_experiments_can_be_guided(name):
    for variant in (name, f"{name}_small"):
        assert experiment(variant).diffusion.condition_dropout == 0.1
        assert experiment(variant, **{"sampling.guidance": 2}).sampling.guidance == 2
    assert experiment("reach").diffusion.condition_dropout == 0
