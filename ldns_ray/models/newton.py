"""Newton's method for many small convex problems at once."""

# N problems of P parameters; U of them not yet solved.

from collections.abc import Callable

import torch
from torch import Tensor

Objective = Callable[[Tensor, Tensor], tuple[Tensor, Tensor, Tensor]]
"""Problems (U,) and parameters (U, P) float64 → values (U,), gradients (U, P), Hessians (U, P, P), float64."""

JITTER = 1e-6
"""Added to the Hessian's diagonal, relative to it: rounding in float32 sums cannot make it indefinite."""
SHRINK = 0.25


def minimise(
    objective: Objective, start_NP: Tensor, *, tolerance: float, n_iterations: int = 30
) -> Tensor:
    """The minima (N, P) of N convex functions by damped Newton steps; solved problems are evaluated no more.

    Args:
        start_NP: float64.
        tolerance: a problem is solved when its next step promises to gain less, ½ gᵀH⁻¹g in units of its value.
            That step is still taken: what then remains is of the order of the square of `tolerance`.
        n_iterations: most evaluations; a problem not solved by then keeps its best parameters.
    """
    best_NP, theta_NP = start_NP.clone(), start_NP.clone()
    step_NP = torch.zeros_like(start_NP)
    best_N = torch.full_like(start_NP[:, 0], torch.inf)
    units_U = torch.arange(len(start_NP))
    for _ in range(n_iterations):
        value_U, gradient_UP, hessian_UPP = objective(units_U, theta_NP[units_U])
        # Close to the minimum a value may rise by the rounding of a sum.
        best_U = best_N[units_U]
        better_U = value_U <= best_U + 1e-7 * best_U.abs() + tolerance
        hessian_UPP.diagonal(dim1=1, dim2=2).mul_(1 + JITTER)
        moved, gradient = units_U[better_U], gradient_UP[better_U]
        best_N[moved], best_NP[moved] = value_U[better_U], theta_NP[moved]
        step = torch.linalg.solve(hessian_UPP[better_U], gradient)
        step_NP[moved] = step
        step_NP[units_U[~better_U]] *= SHRINK
        theta_NP[units_U] = best_NP[units_U] - step_NP[units_U]

        solved = moved[(gradient * step).sum(1) / 2 < tolerance]
        best_NP[solved] = theta_NP[solved]
        units_U = units_U[~torch.isin(units_U, solved)]
        if len(units_U) == 0:
            break
    return best_NP
