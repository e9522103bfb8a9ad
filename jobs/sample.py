"""Sample new trials from a trained model into a dataset."""

import argparse
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

import numpy as np

from ldns_ray.cli import run
from ldns_ray.data.shards import load_trialset
from ldns_ray.models.conditioning import LENGTH
from ldns_ray.models.ldns import LDNS
from ldns_ray.stages import sample_dataset

EXAMPLES = """examples:
  500 trials like the training trials, in length and condition:
    python jobs/sample.py MODEL --n 500 --out data/sampled

  100 trials of 300 bins:
    python jobs/sample.py MODEL --n 100 --lengths 300 --out data/sampled

  100 trials that exaggerate their conditions:
    python jobs/sample.py MODEL --n 100 --guidance 2 --out data/sampled

  one trial for each trial of a dataset, with that trial's length, conditions and covariates:
    python jobs/sample.py MODEL --conditions data/reach --split test --out data/sampled
"""


def parser() -> argparse.ArgumentParser:
    p = argparse.ArgumentParser(
        description=__doc__, epilog=EXAMPLES, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    p.add_argument("model", help="model folder or URI, as printed by jobs/train.py")
    p.add_argument("--out", required=True, help="where to write the sampled dataset")
    p.add_argument(
        "--n", type=int, default=0, help="trials (default: as many as the training split had)"
    )
    p.add_argument(
        "--lengths",
        default="",
        help="bins of every trial, or a comma-separated list of lengths to cycle through",
    )
    p.add_argument(
        "--conditions", help="dataset whose trials give lengths, conditions and covariates"
    )
    p.add_argument("--split", default="test", help="split of that dataset (default: test)")
    p.add_argument(
        "--sampler",
        default="dpmpp_2m",
        help="dpmpp_2m (default) or ddim (few steps), or ddpm (every diffusion step)",
    )
    p.add_argument(
        "--n-steps", type=int, default=20, help="steps of dpmpp_2m and ddim (default: 20)"
    )
    p.add_argument(
        "--guidance", type=float, default=1.0,
        help="strength of the conditions: 1 as trained (default), 2 to exaggerate them, 0 to leave them out; needs a "
        "model trained with diffusion.condition_dropout",
    )  # fmt: skip
    p.add_argument("--seed", type=int, default=0, help="same seed, same spikes (default: 0)")
    p.add_argument("--overwrite", action="store_true", help="replace a dataset that is there")
    return p


def main(argv: list[str]) -> int:
    args = parser().parse_args(argv)
    if args.n < 0:
        raise ValueError(f"--n must be at least 1, or 0 for as many as in training, got {args.n}.")
    model = LDNS.load(args.model)
    n = args.n or len(model.training.n_bins_S)
    n_bins: list[int] | None = None
    condition, covariates = None, None
    if args.lengths:
        try:
            lengths = [int(word) for word in args.lengths.split(",")]
        except ValueError:
            raise ValueError(
                f"--lengths must be whole numbers, got {args.lengths!r}. Example: 100,200"
            ) from None
        n_bins = [lengths[i % len(lengths)] for i in range(n)]
    if args.conditions:
        names = [f"condition:{c}" for c in model.conditioning.conditions if c != LENGTH]
        names += [f"covariate:{c}" for c in model.conditioning.covariates]
        trials = load_trialset(args.conditions, args.split, names)
        trials = trials.subset(np.arange(args.n or len(trials)) % len(trials))
        n, condition = len(trials), dict(trials.conditions)
        n_bins = n_bins or [int(t) for t in trials.n_bins_S]
        covariates = {k: trials.covariates_list(k) for k in trials.covariates}
    sample_dataset(
        args.model, args.out, n, sampler=args.sampler, n_steps=args.n_steps, seed=args.seed, guidance=args.guidance, n_bins=n_bins,
        condition=condition, covariates=covariates, overwrite=args.overwrite,
        provenance={"model": args.model, "sampler": args.sampler, "n_steps": args.n_steps, "guidance": args.guidance, "seed": args.seed},
    )  # fmt: skip
    print(f"{n} trials of {len(model.unit_names)} units.")
    print(f"Results: {args.out}")
    return 0


if __name__ == "__main__":
    run(main)
