"""Import a model of the paper's authors: checkpoints of their autoencoder and denoiser into one model folder."""

import argparse
import re
import sys
from collections.abc import Iterable
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from ldns_ray import storage
from ldns_ray.cli import job_parser, run
from ldns_ray.importing import import_model
from ldns_ray.models.ldns import LDNS, Noise

EXAMPLES = """examples:
  latents standardised as on the training trials of your dataset, from which samples take length and angle, too:
    python jobs/import_reference.py ae.pt diffusion_angle.pt --conditions angle:2 --data data/reach --out models/reach

  latent statistics from a file, numpy.savez("z.npz", mean=…, std=…); then samples need their velocity (in m/s):
    python jobs/import_reference.py ae.pt diffusion_velocity.pt --covariates velocity:2 --latent-statistics z.npz \\
        --bin-ms 5 --out models/reach
    python jobs/sample.py models/reach --conditions velocity.npz --out data/sampled

  the speech model, whose trials sit in the middle of a window of 512 bins that a 0/1 mask marks: samples are whole
  windows, asked for by the array `window` (trials, 512, 1) of mask.npz; keep the bins where it is 1. jobs/encode.py
  encodes as the authors do where trials were filled up with zeros to 512 bins:
    python jobs/import_reference.py ae.pt diffusion_speech.pt --covariates window:1 --latent-statistics z.npz \\
        --bin-ms 20 --out models/speech
    python jobs/sample.py models/speech --conditions mask.npz --out data/windows
"""


def parser() -> argparse.ArgumentParser:
    p = job_parser(__doc__, EXAMPLES)
    noise = Noise()
    p.add_argument("autoencoder", help="its weights: .pt, .pth, .ckpt, .npz or .safetensors")
    p.add_argument("denoiser", help="its (averaged) weights, likewise")
    p.add_argument("--out", required=True, metavar="MODEL", help="folder or URI of the model")
    p.add_argument(
        "--data", metavar="DATASET",
        help="dataset made by jobs/ingest.py: its training trials give the latents' mean and standard deviation, and "
        "the lengths and inputs that samples have by default",
    )  # fmt: skip
    p.add_argument(
        "--latent-statistics", metavar="FILE",
        help=".npz file with mean and std of each latent (and n_bins, lengths of training trials); with --data, too, "
        "it alone gives mean and std",
    )  # fmt: skip
    for name, what, example in (
        ("--conditions", "a per-trial input of the denoiser and its entries", "angle:2, (cos, sin)"),
        ("--covariates", "a per-bin input of the denoiser and its channels", "velocity:2, in m/s"),
    ):  # fmt: skip
        p.add_argument(
            name, action="append", default=[], metavar="NAME:SIZE",
            help=f"{what}, such as {example}; repeat it in the order of the inputs",
        )  # fmt: skip
    p.add_argument("--bin-ms", type=float, help="bin width (default: that of --data)")
    p.add_argument(
        "--n-steps",
        type=int,
        default=noise.n_steps,
        help=f"diffusion steps (default: {noise.n_steps})",
    )
    p.add_argument(
        "--beta-start", type=float, default=noise.beta_start,
        help=f"noise variance of the first step (default: {noise.beta_start:g})",
    )  # fmt: skip
    p.add_argument(
        "--beta-end", type=float, default=noise.beta_end,
        help=f"noise variance of the last step (default: {noise.beta_end:g})",
    )  # fmt: skip
    p.add_argument("--overwrite", action="store_true", help="replace a model that is there")
    return p


def _sizes(option: str, texts: Iterable[str]) -> dict[str, int]:
    """`angle:2` → {"angle": 2}."""
    sizes: dict[str, int] = {}
    for text in texts:
        match = re.fullmatch(r"([A-Za-z]\w*):([1-9]\d*)", text)
        if match is None:
            raise ValueError(f"{option} must be NAME:SIZE, such as angle:2, got {text!r}.")
        if match[1] in sizes:
            raise ValueError(f"{option} must name each input once, got {match[1]!r} twice.")
        sizes[match[1]] = int(match[2])
    return sizes


def main(argv: list[str]) -> int:
    args = parser().parse_args(argv)
    if args.bin_ms is not None and not 0 < args.bin_ms < float("inf"):
        raise ValueError(f"--bin-ms must be positive, got {args.bin_ms:g}.")
    if storage.exists(storage.join(args.out, "config.json")) and not args.overwrite:
        raise FileExistsError(
            f"{args.out} holds a model already. Choose another folder, or pass --overwrite."
        )
    model = import_model(
        args.autoencoder, args.denoiser,
        conditions=_sizes("--conditions", args.conditions), covariates=_sizes("--covariates", args.covariates),
        data=args.data, statistics=args.latent_statistics,
        bin_width_s=None if args.bin_ms is None else args.bin_ms / 1000,
        noise=Noise(args.n_steps, args.beta_start, args.beta_end),
    )  # fmt: skip
    model.save(args.out)
    _describe(model)
    print(f"Sample from it with: {_how_to_sample(model, args.out)}")
    print(f"Results: {args.out}")
    return 0


def _describe(model: LDNS) -> None:
    a, d, c = model.autoencoder_settings, model.denoiser_settings, model.conditioning
    direction = "bidirectional" if a["bidirectional"] else "causal"
    print(
        f"Autoencoder: {a['n_units']} units, {a['n_latents']} latents, {a['n_blocks']} {direction} blocks of width "
        f"{a['width']}, {a['n_decoder_blocks']} in the decoder."
    )
    inputs = ", ".join(f"{name} ({size})" for name, size in (c.conditions | c.covariates).items())
    print(
        f"Denoiser: {d['n_blocks']} blocks of width {d['width']}, told of: {inputs or 'nothing'}."
    )
    n_bins = model.training.n_bins_S
    print(
        f"Latents: standardised by {model.provenance['latent_statistics']}. Samples have {n_bins.min()}"
        f"{f'-{n_bins.max()}' if n_bins.min() < n_bins.max() else ''} bins by default."
    )


def _how_to_sample(model: LDNS, uri: str) -> str:
    c, draws = model.conditioning, model.training
    drawable = draws.conditions.keys() | draws.covariates.keys()
    given = "--n 100"
    note = ""
    if (c.conditions | c.covariates).keys() - drawable:
        shapes = [f"{name} (trials, {size})" for name, size in c.conditions.items()]
        shapes += [f"{name} (trials, bins, {size})" for name, size in c.covariates.items()]
        given = "--conditions FILE.npz"
        note = f", where numpy.savez wrote to FILE.npz: {', '.join(shapes)}"
    return f"python jobs/sample.py {uri} {given} --out data/sampled{note}"


if __name__ == "__main__":
    run(main)
