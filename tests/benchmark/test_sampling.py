"""The measurement of sampling, on a model small enough for a test."""

import pytest
import torch

from ldns_ray.benchmark.sampling import sampling, untrained_model


def test_sampling_times(one_thread):
    model = untrained_model("lorenz_small", n_units=4, n_bins=8)
    times = sampling(torch.device("cpu"), n_trials=40, batch=4, model=model)
    assert times["speedup"] == pytest.approx(times["ddpm_s"] / times["dpmpp_2m_sde_s"])
    assert times["speedup"] > 5
    assert times["ddpm_all_s"] == pytest.approx(10 * times["ddpm_s"])
    assert times["dpmpp_2m_sde_all_s"] == pytest.approx(10 * times["dpmpp_2m_sde_s"])


def test_the_model_is_the_papers_and_samples():
    model = untrained_model()
    assert len(model.unit_names) == 182
    assert model.denoiser_settings["width"] == 256
    samples = model.sample(1, n_steps=1)
    assert samples.spikes[0].shape == (140, 182)
