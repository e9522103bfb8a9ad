"""Search for the LDNS model whose sampled spikes are most like those of units driven by a Lorenz attractor.
Every trial trains an autoencoder and a diffusion model, samples, and is scored on the validation trials;
trials with the same autoencoder settings share it. Submitting the same sweep again continues it.
"""

import functools
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from ldns_ray.cli import run
from ldns_ray.sweeps.command import sweep_main, sweep_parser
from search_spaces import lorenz

SPACES = {"lorenz_small": lorenz.SMALL, "lorenz": lorenz.SPACE}
EXAMPLES = """examples:
  the small sweep on a simulated Lorenz system:
    python jobs/sweep_lorenz.py

  the paper's settings and others around them, 100 trials on a GPU cluster, four on a GPU:
    ray job submit --working-dir . -- python jobs/sweep_lorenz.py --experiment lorenz --points experiment \\
        --data s3://bucket/lorenz --root s3://bucket/ldns --n-trials 100 --gpus-per-trial 0.25
"""


def main(argv: list[str]) -> int:
    args = sweep_parser(__doc__, EXAMPLES, SPACES, "lorenz_small").parse_intermixed_args(argv)
    return sweep_main(args, "lorenz", SPACES, functools.partial(print, flush=True))


if __name__ == "__main__":
    run(main)
