"""Newton's method for many problems: the minimum found, each problem on its own, rough starts."""

import torch

from ldns_ray.models.newton import minimise


def exponential(offset_N):
    """f(x) = Σ exp(x_p) - offset x_p; its minimum is x_p = log(offset)."""

    def objective(units, theta):
        offset = offset_N[units][:, None]
        value = (theta.exp() - offset * theta).sum(1)
        return value, theta.exp() - offset, torch.diag_embed(theta.exp())

    return objective


def softplus_poisson(design_NRP, target_NR, ridge_P, start_P):
    """Σ λ - y log λ + Σ ridge (θ - start)², λ = softplus(design θ); derivatives by autograd."""

    def one(theta, design, target):
        rate = torch.nn.functional.softplus(design @ theta)
        return (rate - target * rate.log()).sum() + (ridge_P * (theta - start_P).square()).sum()

    def objective(units, theta):
        x = (theta, design_NRP[units], target_NR[units])
        derivatives = (one, torch.func.grad(one), torch.func.hessian(one))
        return tuple(torch.func.vmap(f)(*x) for f in derivatives)

    return objective


def test_gradient_vanishes_at_the_minimum():
    generator = torch.Generator().manual_seed(0)
    design = torch.randn(3, 400, 6, generator=generator, dtype=torch.float64)
    design[:, :, -1] = 1
    target = torch.poisson(torch.nn.functional.softplus(design.sum(2)), generator=generator)
    ridge = torch.linspace(0.01, 0.1, 6, dtype=torch.float64)
    start = torch.tensor([0.0, 0, 0, 0, 1, 0], dtype=torch.float64)
    objective = softplus_poisson(design, target, ridge, start)
    theta = minimise(objective, start.repeat(3, 1), tolerance=1e-5)
    _, gradient, _ = objective(torch.arange(3), theta)
    assert gradient.abs().max() < 1e-4
    assert ((theta - start).abs().amax(1) > 0.1).all()


def test_rough_starts_and_each_problem_on_its_own():
    """From far below, the first step of exp(x) overshoots by exp(20); from far above, every step is 1."""
    offset = torch.tensor([1.0, 1.0, 5.0, 0.01], dtype=torch.float64)
    start = torch.tensor([[-20.0, 0], [15, 15], [1, 2], [-3, -6]], dtype=torch.float64)
    theta = minimise(exponential(offset), start, tolerance=1e-6, n_iterations=60)
    expected = offset.log()[:, None].expand(4, 2)
    torch.testing.assert_close(theta, expected, atol=1e-5, rtol=0)
    for i in range(4):
        alone = minimise(exponential(offset[i : i + 1]), start[i : i + 1], tolerance=1e-6, n_iterations=60)  # fmt: skip
        torch.testing.assert_close(alone[0], theta[i], atol=0, rtol=0)


def test_solved_problems_are_evaluated_no_more():
    evaluated = []
    offset = torch.tensor([1.0, 1.0], dtype=torch.float64)

    def objective(units, theta):
        evaluated.append(units.tolist())
        return exponential(offset)(units, theta)

    start = torch.tensor([[0.01], [6.0]], dtype=torch.float64)
    minimise(objective, start, tolerance=1e-3)
    assert evaluated[0] == [0, 1]
    assert evaluated[-1] == [1]
    assert len(evaluated) < 15


def test_the_best_parameters_are_kept_when_the_iterations_end():
    """The step from -20 leads to a value beyond all bounds: it is not taken."""
    start = torch.tensor([[-20.0]], dtype=torch.float64)
    offset = torch.ones(1, dtype=torch.float64)
    theta = minimise(exponential(offset), start, tolerance=1e-6, n_iterations=2)
    assert theta.item() == -20
