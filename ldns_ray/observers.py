"""Who hears of a pipeline's progress: the terminal, and a run in MLflow."""

import tempfile
import time
from collections.abc import Callable, Sequence
from pathlib import Path, PurePosixPath
from typing import Any

from ldns_ray import storage
from ldns_ray.data.shards import read_card
from ldns_ray.evaluation.assessment import BASELINES
from ldns_ray.evaluation.catalogue import SCORED
from ldns_ray.evaluation.comparison import metric_rows
from ldns_ray.evaluation.conditional import conditional_metrics
from ldns_ray.evaluation.results import PLOTS, REPORT, UNITS, rows_of
from ldns_ray.pipeline import Observer, Pipeline
from ldns_ray.revision import commit
from ldns_ray.settings import settings
from ldns_ray.stages import model_fingerprint
from ldns_ray.tracking import notes
from ldns_ray.tracking.experiments import Tracking
from ldns_ray.tracking.model import log_model
from ldns_ray.tracking.runs import Run

SECONDS_BETWEEN_LINES = 15.0
COMPARED = (
    "score", "baseline_score", *(m.name for m in SCORED), *(f"{m.name}_over_floor" for m in SCORED),
)  # fmt: skip
"""The metrics by which runs are compared, in the order of their columns."""


class Terminal(Observer):
    """A line when a stage starts and ends, and one now and then while it trains."""

    def __init__(self, prefix: str = "", say: Callable[[str], None] = print) -> None:
        self.prefix, self.say = prefix, say
        self._last = 0.0

    def _line(self, stage: str, text: str) -> None:
        self.say(f"{self.prefix}{stage:<12} {text}")

    def stage_started(self, stage: str, uri: str) -> None:
        self._last = time.monotonic()
        self._line(stage, "started")

    def remark(self, stage: str, text: str) -> None:
        self._line(stage, text)

    def epoch(self, stage: str, row: dict[str, float], n_epochs: int) -> None:
        now, epoch = time.monotonic(), int(row["epoch"])
        if now - self._last < SECONDS_BETWEEN_LINES and epoch != n_epochs:
            return
        self._last = now
        validation = f"  val {row['val_loss']:.5f}" if "val_loss" in row else ""
        left = row["seconds"] * (n_epochs - epoch)
        self._line(
            stage,
            f"epoch {epoch:>4}/{n_epochs}  train {row['train_loss']:.5f}{validation}  "
            f"{row['seconds']:.2f} s/epoch, {_duration(left)} left",
        )

    def stage_finished(self, stage: str, uri: str, record: dict[str, Any], *, reused: bool) -> None:
        how = "already done" if reused else f"done in {_duration(record['seconds'])}"
        self._line(stage, f"{how}: {_news(stage, record['summary'])}")


def _news(stage: str, summary: dict[str, Any]) -> str:
    """What a finished stage has to say."""
    match stage:
        case "latents":
            return f"{len(summary['mean'])} dimensions"
        case "observation":
            return f"model {summary['model']}"
        case "samples":
            return f"{summary['n_trials']} trials"
        case "evaluation":
            return f"score {summary['score']:.2f} on {summary['split']}"
        case _:
            return f"best validation {summary['best_loss']:.5f} at epoch {summary['best_epoch']}"


def _duration(seconds: float) -> str:
    seconds = round(seconds)
    if seconds < 60:
        return f"{seconds} s"
    return (
        f"{seconds // 60} min {seconds % 60:02d} s" if seconds < 3600 else f"{seconds / 3600:.1f} h"
    )


class Tracked(Observer):
    """A run in MLflow: settings, losses by epoch, score and metrics, datasets, pictures, model, and what they are.

    what: the run in a sentence, for its page.
    """

    def __init__(self, run: Run, pipeline: Pipeline, what: str) -> None:
        self.run, self.pipeline, self.what = run, pipeline, what
        self.logged_model = run.tags().get("ldns.logged_model", "")
        self._places: dict[str, str] = {}
        run.params(settings(pipeline.experiment))
        card = pipeline.card
        run.dataset(
            card.name, card.fingerprint, pipeline.data_uri, "training",
            {"units": card.n_units, "bin_width_s": card.bin_width_s, **{k: v["n_trials"] for k, v in card.splits.items()}},
        )  # fmt: skip
        self._describe(notes.UNSCORED)

    def _describe(self, result: str) -> None:
        self.run.describe(
            notes.model_run(
                self.what,
                data=data_note(self.pipeline),
                result=result,
                places=self._places,
                command=self.pipeline.command(),
                commit=commit(),
            )  # fmt: skip
        )

    def epoch(self, stage: str, row: dict[str, float], n_epochs: int) -> None:
        names = ("train_loss", "val_loss", "learning_rate")
        self.run.metrics(
            {f"{stage}/{k}": row[k] for k in names if k in row}, step=int(row["epoch"])
        )

    def stage_finished(self, stage: str, uri: str, record: dict[str, Any], *, reused: bool) -> None:
        self.run.tag({f"ldns.{stage}": uri})
        if reused and stage in ("autoencoder", "diffusion"):
            for row in self.pipeline.history(stage):
                self.epoch(stage, row, 0)
        elif stage == "observation":
            self._log_model(record["summary"]["model"])
            self._describe(notes.UNSCORED)
        elif stage == "samples":
            self._log_samples(record["summary"])
            self._describe(notes.UNSCORED)
        elif stage == "evaluation":
            self._log_evaluation(uri, record["summary"])

    def _log_model(self, uri: str) -> None:
        if not self.logged_model:
            with tempfile.TemporaryDirectory() as temporary:
                folder = downloaded(uri, ("model.safetensors", "config.json"), temporary)
                self.logged_model = log_model(
                    self.run, folder, fingerprint=model_fingerprint(uri),
                    what=f"LDNS `{self.pipeline.experiment.name}`, `{uri}`, trained on {data_note(self.pipeline)}.",
                )  # fmt: skip
            self.run.tag({"ldns.logged_model": self.logged_model})
        page = self.run.tracking.link("models", self.logged_model.removeprefix("models:/"))
        self._places["Model"] = f"`{uri}`, {notes.link('logged', page)} as `{self.logged_model}`"

    def _log_evaluation(self, uri: str, summary: dict[str, Any]) -> None:
        card = self.pipeline.card
        log_evaluation(
            self.run, uri, summary, model=self.logged_model, dataset=(card.name, card.fingerprint)
        )
        for what, name in (("Report", REPORT), ("Pictures", PLOTS), ("Statistics of units", UNITS)):
            self._places[what] = notes.link(name, self.run.link(name))
        self._describe(outcome_note(summary))

    def _log_samples(self, summary: dict[str, Any]) -> None:
        uri = summary["dataset"]
        card = read_card(uri)
        self.run.dataset(
            card.name, summary["fingerprint"], uri, "sampled", {"trials": summary["n_trials"], **card.provenance}
        )  # fmt: skip
        self._places["Samples"] = f"`{uri}`"


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


class Several(Observer):
    """Passes everything on to each of several observers."""

    def __init__(self, observers: Sequence[Observer]) -> None:
        self.observers = observers

    def stage_started(self, stage: str, uri: str) -> None:
        for observer in self.observers:
            observer.stage_started(stage, uri)

    def remark(self, stage: str, text: str) -> None:
        for observer in self.observers:
            observer.remark(stage, text)

    def epoch(self, stage: str, row: dict[str, float], n_epochs: int) -> None:
        for observer in self.observers:
            observer.epoch(stage, row, n_epochs)

    def stage_finished(self, stage: str, uri: str, record: dict[str, Any], *, reused: bool) -> None:
        for observer in self.observers:
            observer.stage_finished(stage, uri, record, reused=reused)
