"""The command line of a sweep: what jobs/sweep_*.py have in common."""

import argparse
import importlib
import json
import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from ldns_ray.cli import add_data, add_root, add_seed, add_tracking, default_root, job_parser
from ldns_ray.config import Experiment, Hardware, experiment
from ldns_ray.data.shards import read_card
from ldns_ray.data.simulation.simulated import simulated_dataset, simulated_uri
from ldns_ray.evaluation.reporting.results import format_summary
from ldns_ray.settings import apart, did_you_mean, override, parse_overrides, settings
from ldns_ray.sweeps.collecting import FAILED
from ldns_ray.sweeps.plan import Sweep
from ldns_ray.sweeps.sweep import Say, run_sweep
from ldns_ray.sweeps.tables import format_result
from ldns_ray.tracking.connection import connect, default_uri
from ldns_ray.training.distributed import connect_ray

Space = Mapping[str, Any]
OWN = "experiment"
"""The points that are the experiment's own settings."""


def sweep_parser(
    doc: str | None, examples: str, spaces: Mapping[str, Space], default: str
) -> argparse.ArgumentParser:
    """The options of a sweep over `spaces`, by experiment, of which `default` is searched if none is named."""
    p = job_parser(doc, examples)
    p.add_argument(
        "overrides", nargs="*", metavar="setting=value", help="settings of all trials to change"
    )
    p.add_argument(
        "--experiment",
        default=default,
        help=f"what the trials start from: {', '.join(spaces)} (default: {default})",
    )
    p.add_argument(
        "--space", metavar="MODULE:NAME", help="search this space instead, such as search_spaces.speech:WIDE"
    )  # fmt: skip
    p.add_argument(
        "--points", action="append", default=[], metavar="FILE",
        help="JSON file with a list of points to begin with, each setting → value; or the word "
        f"{OWN!r}: the experiment's own settings, which are the paper's unless it is a small one",
    )  # fmt: skip
    add_data(p)
    p.add_argument("--name", help="of the sweep, its MLflow experiment and its model (default: the job's)")  # fmt: skip
    p.add_argument("--n-trials", type=int, default=4, help="trials (default: 4); more continue a sweep")  # fmt: skip
    p.add_argument("--hours", type=float, default=0.0, help="start no trial later than this (default: no limit)")  # fmt: skip
    add_seed(p, "seed of the search")
    p.add_argument(
        "--reduction-factor", type=int, default=3,
        help="of the trials that reach a rung of their training, one in so many goes on; 0: all (default: 3, after "
        "the first ten trials)",
    )  # fmt: skip
    p.add_argument(
        "--retries", type=int, default=2,
        help="how often a trial is tried again after its process died (default: 2)",
    )  # fmt: skip
    p.add_argument(
        "--retry-failed", action="store_true", help="try the points of failed trials of this sweep again"
    )  # fmt: skip
    p.add_argument(
        "--cpus-per-trial", type=float, default=1.0, help="CPUs of each trial (default: 1)"
    )
    p.add_argument(
        "--gpus-per-trial",
        type=float,
        default=0.0,
        help="GPUs of each trial, may be a fraction (default: 0)",
    )
    p.add_argument(
        "--workers-per-trial", type=int, default=1,
        help="processes that train each trial and share its CPUs and GPUs (default: 1)",
    )  # fmt: skip
    p.add_argument(
        "--max-concurrent", type=int, default=0, help="trials at once (default: as many as fit)"
    )
    p.add_argument(
        "--optuna-storage",
        default=os.environ.get("LDNS_OPTUNA_STORAGE", ""),
        help="database URL of the Optuna study (default: LDNS_OPTUNA_STORAGE, else a file under the root)",
    )
    add_root(p)
    add_tracking(p)
    return p


def sweep_main(args: argparse.Namespace, name: str, spaces: Mapping[str, Space], say: Say) -> int:
    """Run the sweep that the command line describes, and say what it found."""
    changes, of_hardware = apart(parse_overrides(args.overrides), "hardware")
    e = experiment(args.experiment, **changes)
    hardware = override(Hardware(workers=0), of_hardware, "hardware.")
    if hardware != Hardware(workers=0, data=hardware.data, checkpoint_s=hardware.checkpoint_s):
        raise ValueError(
            "Of the hardware of trials, settings say hardware.data and hardware.checkpoint_s alone; for the rest there "
            "are --cpus-per-trial, --gpus-per-trial and --workers-per-trial."
        )
    name = args.name or name
    space = load_space(args.space) if args.space else _space_of(args.experiment, spaces)
    root = default_root(args.root)
    tracking_uri = args.tracking_uri or default_uri(root)
    points = [point for source in args.points for point in load_points(source, e, space)]
    sweep = Sweep(
        name, e, space, args.data or simulated_uri(e, root), root, tracking_uri, n_trials=args.n_trials, hours=args.hours, seed=args.seed,
        points=points, reduction_factor=args.reduction_factor, retries=args.retries, retry_failed=args.retry_failed,
        cpus_per_trial=args.cpus_per_trial, gpus_per_trial=args.gpus_per_trial,
        workers_per_trial=args.workers_per_trial, max_concurrent=args.max_concurrent, data=hardware.data,
        checkpoint_s=hardware.checkpoint_s, optuna_storage=args.optuna_storage,
    )  # fmt: skip
    if args.data:
        read_card(args.data)
    connect(tracking_uri, name)  # an unreachable server is told before anything starts
    if not args.data:
        simulated_dataset(e, root)
    connect_ray()
    for line in report(sweep, run_sweep(sweep, say)):
        say(line)
    return 0


def report(sweep: Sweep, result: Mapping[str, Any]) -> Sequence[str]:
    """Lines with the trials as a table, the best one on the test split, and where everything is."""
    failed = sum(row["status"] == FAILED for row in result["trials"])
    n = len(result["trials"])
    lines = [
        "",
        "Trials, best first, on the validation split: each metric, and (in brackets) its noise floor",
        format_result(list(sweep.space), result),
        "",
        result["best"]["name"],
        format_summary(result["test"]["summary"]),
    ]
    if failed:
        lines.append(
            f"{failed} of {n} trials failed; their tracebacks are in MLflow; --retry-failed tries them again."
        )
    if result.get("missing"):
        lines.append(f"{result['missing']} trials are missing; submit again to go on.")
    lines += ["", f"Best model: {result['test']['model']}"]
    if "champion" in result:  # not in what earlier versions stored
        lines.append(f"Registered: {result['champion']['said']}")
    if "compare_url" in result:
        lines.append(f"Trials, best first: {result['compare_url']}")
    return [*lines, f"Results: {sweep.uri} and {result['url']}"]


def _space_of(name: str, spaces: Mapping[str, Space]) -> Space:
    """The space to search around an experiment of this name. Raises ValueError where there is none."""
    if name not in spaces:
        raise ValueError(
            f"This job has no search space for the experiment {name}; it has some for: {', '.join(spaces)}. "
            "Take one of these, or name a space with --space MODULE:NAME."
        )
    return spaces[name]


def load_space(source: str) -> Space:
    """The search space `MODULE:NAME`, or `SPACE` of a module. Raises ValueError where there is none."""
    module, _, name = source.partition(":")
    try:
        found = vars(importlib.import_module(module))
    except ModuleNotFoundError as error:
        if error.name is None or not module.startswith(error.name):
            raise  # one that the module itself asks for
        raise ValueError(
            f"No module {module!r} for --space. Give one that Python finds, such as search_spaces.speech."
        ) from error
    spaces = {k: v for k, v in found.items() if isinstance(v, Mapping) and k.isupper()}
    name = name or "SPACE"
    if name not in spaces:
        raise ValueError(f"No search space {name!r} in {module}. {did_you_mean(name, spaces)}")
    space: Space = spaces[name]
    return space


def load_points(source: str, e: Experiment, space: Space) -> Sequence[Mapping[str, Any]]:
    """Points from a JSON file, or the experiment's own settings. Raises ValueError for what is no list of points."""
    if source == OWN:
        own = settings(e)
        return [{name: own[name] for name in space if name in own}]
    file = Path(source)
    if not file.is_file():
        what = f"{source} is a folder" if file.is_dir() else f"No file of points {source}"
        raise FileNotFoundError(
            f"{what}. --points takes a JSON file with a list of points, or the word {OWN}."
        )
    try:
        points = json.loads(file.read_text())
    except json.JSONDecodeError as error:
        raise ValueError(f"{source} is not JSON: {error}.") from error
    if not isinstance(points, list) or not all(isinstance(p, dict) for p in points):
        raise ValueError(
            f'{source} must hold a list of points, such as [{{"diffusion.width": 64}}], got {points!r:.80}.'
        )
    return points
