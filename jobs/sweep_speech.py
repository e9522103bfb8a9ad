"""Search for the LDNS model whose sampled speech-cortex spikes are most like the real ones.
Every trial trains an autoencoder and a diffusion model, samples, and is scored on the validation trials;
trials with the same autoencoder settings share it. Submitting the same sweep again continues it.
"""

import functools
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from ldns_ray.cli import run
from ldns_ray.sweeps.command import sweep_main, sweep_parser
from search_spaces import speech

SPACES = {"speech_small": speech.SMALL, "speech": speech.SPACE}
EXAMPLES = """examples:
  the small sweep on simulated speech:
    python jobs/sweep_speech.py

  the paper's settings and others around them, 100 trials on a GPU cluster, four on a GPU:
    ray job submit --working-dir . -- python jobs/sweep_speech.py --experiment speech --points experiment \\
        --data s3://bucket/speech --root s3://bucket/ldns --n-trials 100 --gpus-per-trial 0.25
"""


def main(argv: list[str]) -> int:
    args = sweep_parser(__doc__, EXAMPLES, SPACES, "speech_small").parse_intermixed_args(argv)
    return sweep_main(args, "speech", SPACES, functools.partial(print, flush=True))


if __name__ == "__main__":
    run(main)
