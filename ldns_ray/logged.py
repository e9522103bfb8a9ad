"""What runs in MLflow hold of evaluations and of sampled datasets, and what their pages say."""

import tempfile
from collections.abc import Callable, Sequence
from pathlib import Path, PurePosixPath
from typing import Any

from ldns_ray import storage
from ldns_ray.data.card import Card
from ldns_ray.evaluation.assessment import BASELINES
from ldns_ray.evaluation.catalogue import SCORED
from ldns_ray.evaluation.comparison import metric_rows
from ldns_ray.evaluation.datasets import Comparison
from ldns_ray.evaluation.decoding.conditional import conditional_metrics
from ldns_ray.evaluation.reporting.results import PLOTS, REPORT, UNITS, rows_of
from ldns_ray.pipeline import Pipeline
from ldns_ray.revision import commit
from ldns_ray.sampling.plan import Plan
from ldns_ray.settings import fingerprint, settings
from ldns_ray.tracking import notes
from ldns_ray.tracking.experiments import Tracking
from ldns_ray.tracking.runs import FINGERPRINT, Run

COMPARED = (
    "score", "baseline_score", *(m.name for m in SCORED), *(f"{m.name}_over_floor" for m in SCORED),
)  # fmt: skip
"""The metrics by which runs are compared, in the order of their columns."""


def data_note(pipeline: Pipeline) -> str:
    """The dataset that a pipeline trains on, in a sentence."""
    return notes.dataset(pipeline.card.name, pipeline.card.fingerprint, pipeline.data_uri)


def outcome_note(summary: dict[str, Any]) -> str:
    """An evaluation's score, in words."""
    row, *others = rows_of(summary)
    beside = {other.name: other.score for other in others if other.kind != "sampled"}
    return notes.outcome(row.score, row.score_interval, beside, summary["split"])


def introduce(tracking: Tracking) -> str:
    """Say on an experiment's pages what their columns mean. The address of its runs, best first."""
    url = tracking.compare_url(columns=COMPARED)
    columns = [
        ("score", f"Realism, the geometric mean of the four ratios below: {notes.SCALE}."),
        ("score_low, score_high", "Its 95 % interval, by bootstrap over trials."),
        ("baseline_score", f"The best score of the baselines, {' and '.join(BASELINES)}, made from the training trials."),
        *((m.name, f"{m.label}. {m.meaning}") for m in SCORED),
        ("…_over_floor", "That distance over its noise floor, the distance between two random halves of the held-out real trials."),
        ("novelty", "Distance of samples to the nearest training trial, over that of held-out trials: 1 is new, 0 is training data again."),
        ("n_silent", "Units that spike in the recording and never in the samples."),
        ("bits_per_spike", "The autoencoder's log-likelihood of counts that it did not see, over that of mean rates; higher is better."),
        ("…/val_loss", "Validation loss of the autoencoder and of the diffusion model, by epoch."),
    ]  # fmt: skip
    tracking.describe(notes.experiment_page(tracking.view_link(), columns))
    return url


def log_files(run: Run, uri: str, names: Sequence[str]) -> None:
    """Files of a folder or URI, as artifacts in a folder of its name."""
    with tempfile.TemporaryDirectory() as temporary:
        folder = downloaded(uri, names, temporary)
        run.artifact(folder)


def downloaded(uri: str, names: Sequence[str], temporary: str) -> Path:
    """A local folder, named as the one at `uri`, with copies of these of its files."""
    folder = Path(temporary) / PurePosixPath(uri.partition("?")[0]).name
    folder.mkdir()
    for name in names:
        (folder / name).write_bytes(storage.read_bytes(storage.join(uri, name)))
    return folder


def log_evaluation(
    run: Run, uri: str, summary: dict[str, Any], *, model: str = "", dataset: tuple[str, str] | None = None
) -> None:  # fmt: skip
    """The results under `uri`: the few numbers that runs are compared by, tables, pictures and the report.

    model: the logged model whose samples are judged. dataset: name and fingerprint of the real trials.
    """
    run.metrics(evaluation_metrics(summary), model=model, dataset=dataset)
    run.table("metrics", metric_rows(rows_of(summary)))
    log_files(run, storage.join(uri, PLOTS), [f"{name}.png" for name in summary["plots"]])
    with tempfile.TemporaryDirectory() as temporary:
        for path in sorted(downloaded(uri, (REPORT, UNITS), temporary).iterdir()):
            run.artifact(path)
    run.flush()


def log_comparison(
    tracking: Tracking, comparison: Comparison, uri: str, summary: dict[str, Any], command: str
) -> str:
    """A run for a comparison of datasets, whose results are under `uri`. Its address.

    Where the first dataset's card names a model that this store has, that model's page shows the metrics too.
    """
    introduce(tracking)
    card, split = comparison.card, comparison.settings.split
    samples = list(zip(comparison.sampled.items(), comparison.cards, strict=True))
    name = f"evaluate {', '.join(comparison.sampled)}"
    with tracking.run(name, key=comparison.fingerprint, tags={"ldns.kind": "evaluate"}) as run:
        run.params(settings(comparison.settings, "evaluation."))
        run.dataset(
            card.name, card.fingerprint, comparison.real_uri, "evaluation", {"split": split}
        )
        for (_, where), other in samples:
            profile = {"trials": other.n_trials, **other.provenance}
            run.dataset(other.name, other.fingerprint, where, "sampled", profile)
        known = str(comparison.cards[0].provenance.get("model_fingerprint", ""))
        model = tracking.find_model(known) if known else ""
        if model:
            run.model(model, "input")
        log_evaluation(run, uri, summary, model=model, dataset=(card.name, card.fingerprint))
        run.describe(
            notes.evaluation_run(
                real=notes.dataset(card.name, card.fingerprint, comparison.real_uri), split=split,
                samples={name: notes.origin(where, other.provenance) for (name, where), other in samples},
                result=f"{outcome_note(summary)} {notes.link('Report', run.link(REPORT))}.", command=command,
                commit=commit(),
            )
        )  # fmt: skip
        return run.url


def log_sampling(
    tracking: Tracking, plan: Plan, uri: str, command: str, sample: Callable[[], Card]
) -> str:
    """A run for a dataset of samples that `sample` writes to `uri`, and that leads back to its model. Its address.

    Sampling that was interrupted goes on in the same run. Where this store has the model, the run has it as its input.
    """
    tags = {
        "ldns.kind": "sample", "ldns.model": plan.model_uri, FINGERPRINT: plan.model_fingerprint, "ldns.samples": uri,
    }  # fmt: skip
    key = fingerprint("sample", plan.key, uri)
    with tracking.run(f"sample {storage.name_of(uri)}", key=key, tags=tags) as run:
        run.params({f"sampling.{name.replace(' ', '_')}": x for name, x in plan.choices.items()})
        model = tracking.find_model(plan.model_fingerprint)
        if model:
            run.model(model, "input")
        card = sample()
        profile = {"trials": card.n_trials, **card.provenance}
        run.dataset(card.name, card.fingerprint, uri, "sampled", profile)
        run.describe(
            notes.sampling_run(
                card.n_trials, notes.dataset(card.name, card.fingerprint, uri), notes.origin(uri, card.provenance),
                command=command, commit=commit(),
            )
        )  # fmt: skip
        return run.url


def evaluation_metrics(summary: dict[str, Any]) -> dict[str, float]:
    """The few numbers that runs are compared by: score, metrics, their ratios to the floor, likelihood, conditions.

    Of the candidate that is judged, the first; of the baselines, which come last, the best score.
    """
    row, *others = rows_of(summary)
    numbers: dict[str, float] = {"score": row.score, "n_silent": row.n_silent}
    if row.score_interval is not None:
        numbers |= {"score_low": row.score_interval[0], "score_high": row.score_interval[1]}
    baselines = [other.score for other in others if other.kind == "baseline"]
    if baselines:
        numbers["baseline_score"] = min(baselines)
    numbers |= {name: x.distance for name, x in row.metrics.items()}
    numbers |= {f"{name}_over_floor": x.ratio for name, x in row.metrics.items()}
    if row.name in summary["novelty"]:
        numbers["novelty"] = summary["novelty"][row.name]["ratio"]
    if summary["likelihood"] is not None:
        numbers["bits_per_spike"] = summary["likelihood"]["bits_per_spike"]
    if row.name in summary["conditional"]:
        numbers |= conditional_metrics(summary["conditional"][row.name])
    return {name: float(value) for name, value in numbers.items()}
