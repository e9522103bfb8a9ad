"""Search for the LDNS model whose sampled motor-cortex spikes are most like those of real reaches.
Every trial trains an autoencoder and a diffusion model, samples, and is scored on the validation trials;
trials with the same autoencoder settings share it. Submitting the same sweep again continues it.
"""

import functools
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from ldns_ray.cli import run
from ldns_ray.sweeps.command import sweep_main, sweep_parser
from search_spaces import reach

SPACES = {
    "reach_small": reach.SMALL,
    "reach_angle_small": reach.SMALL,
    "reach_velocity_small": reach.SMALL,
    "reach": reach.SPACE,
    "reach_angle": reach.SPACE,
    "reach_velocity": reach.SPACE,
}
EXAMPLES = """examples:
  the small sweep on your reaches:
    python jobs/sweep_reach.py --data data/reach

  the paper's settings and others around them, 100 trials on a GPU cluster, four on a GPU:
    ray job submit --working-dir . -- python jobs/sweep_reach.py --experiment reach --points experiment \\
        --data s3://bucket/reach --root s3://bucket/ldns --n-trials 100 --gpus-per-trial 0.25
"""


def main(argv: list[str]) -> int:
    args = sweep_parser(__doc__, EXAMPLES, SPACES, "reach_small").parse_intermixed_args(argv)
    return sweep_main(args, "reach", SPACES, functools.partial(print, flush=True))


if __name__ == "__main__":
    run(main)
