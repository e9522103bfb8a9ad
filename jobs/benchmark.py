"""Measure how fast this machine trains, samples and compares, beside the limits of its arithmetic.

Needs torch, numpy and scipy alone, so it also runs on a bare GPU machine; reading through Ray Data is timed where Ray
is installed.
"""

import argparse
import json
import os
import platform
import sys
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

import torch

from ldns_ray.benchmark.history import spike_history
from ldns_ray.benchmark.metrics import metrics
from ldns_ray.benchmark.reading import REACH, reading
from ldns_ray.benchmark.sampling import sampling
from ldns_ray.benchmark.training import (
    CONFIGURATIONS,
    growth_in_bins,
    growth_in_units,
    kernels,
    steps,
)
from ldns_ray.cli import add_tracking, job_parser, run
from ldns_ray.memory import keep_freed_memory
from ldns_ray.revision import commit
from ldns_ray.text_table import format_table

PARTS = ("steps", "kernels", "bins", "units", "sampling", "history", "reading", "metrics")

EXAMPLES = """examples:
  everything, on this machine's CPU (about 15 minutes on two cores):
    python jobs/benchmark.py

  training steps and sampling on a GPU, in float32 and bfloat16:
    python jobs/benchmark.py --device cuda --parts steps,sampling
"""


def parser() -> argparse.ArgumentParser:
    p = job_parser(__doc__, EXAMPLES)
    p.add_argument("--device", default="cpu", help="cpu (default) or cuda")
    p.add_argument(
        "--parts",
        default=",".join(PARTS),
        help=f"what to measure: {', '.join(PARTS)} (default: all)",
    )
    p.add_argument("--repeats", type=int, default=7, help="rounds; the fastest counts (default: 7)")
    p.add_argument(
        "--out", default="benchmark.json", help="JSON file to write (default: benchmark.json)"
    )
    add_tracking(p)
    return p


def main(argv: list[str]) -> int:
    args = parser().parse_args(argv)
    parts = [part.strip() for part in args.parts.split(",")]
    for part in parts:
        if part not in PARTS:
            raise ValueError(f"--parts must be of {', '.join(PARTS)}, got {part!r}.")
    if args.repeats < 1:
        raise ValueError(f"--repeats must be at least 1, got {args.repeats}.")
    if args.device not in ("cpu", "cuda"):
        raise ValueError(f"--device must be cpu or cuda, got {args.device!r}.")
    if args.device == "cuda" and not torch.cuda.is_available():
        raise ValueError(
            "--device cuda needs a GPU that torch can use; there is none. Try: --device cpu"
        )
    device = torch.device(args.device)
    keep_freed_memory()
    result: dict[str, Any] = {"machine": machine(device), "date": time.strftime("%Y-%m-%d %H:%M")}
    print(f"{result['machine']}; fastest of {args.repeats} rounds")
    for part in PARTS:
        if part in parts:
            for name, rows in measure(part, device, args.repeats).items():
                result[name] = rows
                print(f"\n{name}")
                print(table(rows), flush=True)
    Path(args.out).write_text(json.dumps(result, indent=1))
    print(f"\nResults: {args.out}")
    tracking_uri = args.tracking_uri or os.environ.get("MLFLOW_TRACKING_URI")
    if tracking_uri:
        print(f"and {log(tracking_uri, result)}")
    return 0


def machine(device: torch.device) -> str:
    """What the figures were measured on."""
    what = torch.cuda.get_device_name(device) if device.type == "cuda" else platform.machine()
    return f"{what}, {torch.get_num_threads()} threads, torch {torch.__version__}, commit {commit()[:7]}"


def measure(part: str, device: torch.device, repeats: int) -> dict[str, list[Any]]:
    """The tables of a part, by title."""
    if part == "steps":
        title = "training step over the time of its matrix products"
        tables = {f"{title}, float32": steps(device, CONFIGURATIONS, repeats=repeats)}
        if device.type == "cuda":
            tables[f"{title}, bfloat16"] = [
                {**row, "share_of_peak": 1 / float(row["ratio"])}
                for row in steps(device, CONFIGURATIONS, repeats=repeats, bf16=True)
            ]
        return tables
    if part == "kernels":
        return {
            "kernel beside convolution, one layer": kernels(device, CONFIGURATIONS, repeats=repeats)
        }
    if part == "bins":
        return {"growth with the bins of a trial": growth_in_bins(device, repeats=repeats)}
    if part == "units":
        return {"growth with the units": growth_in_units(device, repeats=repeats)}
    if part == "sampling":
        return {"sampling reaches, 1000 steps and 20": [sampling(device)]}
    if part == "reading":
        title = f"reading an epoch of {REACH.n_trials} trials, {REACH.n_bins} bins, {REACH.n_units} units"
        return {title: reading(repeats=repeats)}
    if part == "metrics":
        return {"metrics of 2008 trials, 140 bins, 182 units": [metrics(repeats=repeats)]}
    return {"spike history, the fit and the authors' way": [spike_history()]}


def table(rows: Sequence[Mapping[str, Any]]) -> str:
    """Rows for a terminal, columns in the order of their first appearance."""
    columns = list(dict.fromkeys(key for row in rows for key in row))

    def cell(value: Any) -> str:
        return "" if value is None else value if isinstance(value, str) else f"{value:.4g}"

    return format_table([columns, *([cell(row.get(c)) for c in columns] for row in rows)])


def log(tracking_uri: str, result: Mapping[str, Any]) -> str:
    """Record the result in MLflow; the address of the run."""
    from ldns_ray.tracking.connection import connect

    tracking = connect(tracking_uri, "benchmark")
    with tracking.run(f"benchmark {result['date']}", tags={"ldns.kind": "benchmark"}) as run:
        run.params({"machine": result["machine"]})
        run.text("benchmark.json", json.dumps(result, indent=1))
        for title, rows in result.items():
            if isinstance(rows, list):
                run.table(title.replace(",", "").replace(" ", "_"), rows)
        return run.url


if __name__ == "__main__":
    run(main)
