"""Encode a dataset with a trained model: its latents and firing rates, also of recordings it never saw."""

import argparse
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from ldns_ray.cli import add_output, job_parser, run
from ldns_ray.models.ldns import LDNS
from ldns_ray.stages import encode_dataset


def parser() -> argparse.ArgumentParser:
    p = job_parser(__doc__)
    p.add_argument("model", help="model folder or URI, as printed by jobs/train.py")
    p.add_argument("data", help="dataset made by jobs/ingest.py, of the same units")
    add_output(p, "where to write the dataset with latents and rates")
    return p


def main(argv: list[str]) -> int:
    args = parser().parse_args(argv)
    model = LDNS.load(args.model)
    encode_dataset(
        model.autoencoder, args.data, args.out, rates=True, provenance={"model": args.model}, overwrite=args.overwrite
    )  # fmt: skip
    print(
        "Columns: latents (bins × dimensions, not standardised) and rates (bins × units, counts per bin)."
    )
    print(f"Results: {args.out}")
    return 0


if __name__ == "__main__":
    run(main)
