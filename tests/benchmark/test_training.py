"""The measurement of training steps: operations by hand, limits and slopes as defined, both networks."""

import time
from dataclasses import replace

import pytest
import torch

from ldns_ray.benchmark import training
from ldns_ray.benchmark.timing import gemm, growth, in_turns
from ldns_ray.benchmark.training import (
    CONFIGURATIONS,
    growth_in_bins,
    growth_in_units,
    kernels,
    linear_operations,
    steps,
    training_step,
)
from ldns_ray.models.autoencoder import Autoencoder

CPU = torch.device("cpu")


def small(name):
    """A configuration of the paper, on next to nothing."""
    c = next(c for c in CONFIGURATIONS if c.name == name)
    return replace(c, n_trials=2, n_bins=8, n_units=5)


def test_linear_operations_by_hand():
    model = Autoencoder(n_units=3, n_latents=2, width=4, n_blocks=1, bidirectional=False)
    weights = 3 * 4 + (4 * 8 + 8 * 4) + 4 + 4 + 4 * 3  # in, one MLP, grouped bottlenecks, out
    assert linear_operations(model, 10) == 2 * 10 * weights


@pytest.mark.parametrize("name", ["lorenz autoencoder", "lorenz denoiser"])
def test_a_step_trains(name, one_thread):
    step, model = training_step(small(name), CPU)
    before = {k: v.clone() for k, v in model.state_dict().items()}
    loss = step()
    assert 0 < loss < 10
    moved = [k for k, v in model.state_dict().items() if not torch.equal(v, before[k])]
    assert len(moved) > len(before) / 2
    assert min(step() for _ in range(30)) < loss


def test_limit_and_ratio(one_thread):
    c = small("lorenz denoiser")
    (row,) = steps(CPU, [c], repeats=2)
    _, model = training_step(c, CPU)
    operations = 3 * linear_operations(model, 16)
    assert row["limit_s"] == pytest.approx(operations / row["gemm_gflops"] / 1e9)
    assert row["ratio"] == pytest.approx(row["step_s"] / row["limit_s"])
    assert row["ratio"] > 1
    assert row["network"] == "lorenz denoiser"
    # 1000 epochs of 3500 trials, two at a time.
    assert row["training_h"] == pytest.approx(row["step_s"] * 1000 * 3500 / 2 / 3600)


def test_configurations_are_the_papers():
    sizes = {
        c.name: sum(p.numel() for p in training_step(replace(c, n_trials=1, n_bins=4), CPU)[1].parameters())
        for c in CONFIGURATIONS
    }  # fmt: skip
    millions = {"lorenz autoencoder": 1.45, "speech autoencoder": 2.05, "reach autoencoder": 1.41}
    for name, expected in millions.items():
        assert sizes[name] / 1e6 == pytest.approx(expected, rel=0.02)
    assert sizes["speech denoiser"] > sizes["reach denoiser"] > sizes["lorenz denoiser"]


def test_kernel_and_convolution(one_thread):
    (row,) = kernels(CPU, [small("lorenz denoiser")], repeats=1)
    assert row["kernel_s"] > 0
    assert row["ratio"] == pytest.approx(row["kernel_s"] / row["convolution_s"])


def test_growth_is_the_slope_of_the_logarithms():
    assert growth([1, 2, 4, 8], [3, 6, 12, 24]) == pytest.approx(1)
    assert growth([1, 10, 100], [2, 200, 20000]) == pytest.approx(2)


def test_time_per_trial_grows_with_bins_and_units(monkeypatch):
    """With steps that take as long as they have bins: the slope of a trial's time is 1."""

    def sleeper(c, device, **_):
        return lambda: time.sleep(c.n_trials * c.n_bins * c.n_units / 182 * 1e-4), None

    monkeypatch.setattr(training, "training_step", sleeper)
    rows = growth_in_bins(CPU, (20, 80, 320), total=320, repeats=2)
    assert [(row["n_bins"], row["n_trials"]) for row in rows] == [(20, 16), (80, 4), (320, 1)]
    assert rows[-1]["slope"] == pytest.approx(1, abs=0.1)
    rows = growth_in_units(CPU, (20, 80), repeats=2)
    assert rows[-1]["slope"] == pytest.approx(1, abs=0.1)


def test_turns_take_the_fastest_and_warm_up():
    calls = {"a": 0, "b": 0}

    def a():
        calls["a"] += 1
        time.sleep(0.2 if calls["a"] == 1 else 0.002 * calls["a"])

    def b():
        assert calls["a"] == calls["b"] + 1
        calls["b"] += 1

    seconds = in_turns([a, b], 3)
    assert calls == {"a": 4, "b": 4}
    assert 0.004 <= seconds[0] < 0.1
    assert seconds[1] < seconds[0]


def test_product_has_its_operations():
    product, operations = gemm(CPU, torch.float32)
    assert product().shape == (2048, 2048)
    assert operations == 2 * 2048**3
