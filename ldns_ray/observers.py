"""Who hears of a pipeline's progress: the terminal, and a run in MLflow."""

import math
import tempfile
import time
from collections.abc import Callable, Sequence
from typing import Any

from ldns_ray.data.shards import read_card
from ldns_ray.evaluation.reporting.results import PLOTS, REPORT, UNITS
from ldns_ray.logged import data_note, downloaded, log_evaluation, outcome_note
from ldns_ray.pipeline import Observer, Pipeline
from ldns_ray.revision import commit
from ldns_ray.settings import settings
from ldns_ray.stages import model_fingerprint
from ldns_ray.tracking import notes
from ldns_ray.tracking.model import log_model
from ldns_ray.tracking.runs import Run

SECONDS_BETWEEN_LINES = 15.0


class Terminal(Observer):
    """A line when a stage starts and ends, and, while it trains, after its first epoch and now and then."""

    def __init__(self, prefix: str = "", say: Callable[[str], None] = print) -> None:
        self.prefix, self.say = prefix, say
        self._last = -math.inf

    def _line(self, stage: str, text: str) -> None:
        self.say(f"{self.prefix}{stage:<12} {text}")

    def stage_waits(self, stage: str) -> None:
        self._line(stage, "waits: another process does it")

    def stage_started(self, stage: str, uri: str) -> None:
        self._last = -math.inf
        self._line(stage, "started")

    def remark(self, stage: str, text: str) -> None:
        self._line(stage, text)

    def epoch(self, stage: str, row: dict[str, float], n_epochs: int) -> None:
        now, epoch = time.monotonic(), int(row["epoch"])
        told = "score" in row or epoch == n_epochs
        if now - self._last < SECONDS_BETWEEN_LINES and not told:
            return
        self._last = now
        validation = f"  val {row['val_loss']:.5f}" if "val_loss" in row else ""
        score = f"  score {row['score']:.2f}" if "score" in row else ""
        left = row["seconds"] * (n_epochs - epoch)
        self._line(
            stage,
            f"epoch {epoch:>4}/{n_epochs}  train {row['train_loss']:.5f}{validation}{score}  "
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

    what: the run in a sentence, for its page. unscored: what its page says as long as it has no evaluation of its own.
    """

    def __init__(self, run: Run, pipeline: Pipeline, what: str, unscored: str = notes.UNSCORED) -> None:  # fmt: skip
        self.run, self.pipeline, self.what, self.unscored = run, pipeline, what, unscored
        self.logged_model = run.tags().get("ldns.logged_model", "")
        self._places: dict[str, str] = {}
        run.params(settings(pipeline.experiment))
        card = pipeline.card
        run.dataset(
            card.name, card.fingerprint, pipeline.data_uri, "training",
            {"units": card.n_units, "bin_width_s": card.bin_width_s, **{k: v["n_trials"] for k, v in card.splits.items()}},
        )  # fmt: skip
        self._describe(self.unscored)

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

    def saved(self, stage: str, rows: list[dict[str, float]]) -> None:
        """Metrics of epochs that will not be done again: sent twice they are the same, and stored once."""
        names = ("train_loss", "val_loss", "learning_rate", "score")
        for row in rows:
            values = {f"{stage}/{k}": row[k] for k in names if k in row}
            # Histories were once stored without the times of their epochs.
            self.run.metrics(values, step=int(row["epoch"]), at=row.get("time"))

    def stage_finished(self, stage: str, uri: str, record: dict[str, Any], *, reused: bool) -> None:
        self.run.tag({f"ldns.{stage}": uri})
        if reused and stage in ("autoencoder", "diffusion"):
            self.saved(stage, self.pipeline.history(stage))
        elif stage == "observation":
            self._log_model(self.pipeline.model_uri)
            self._describe(self.unscored)
        elif stage == "samples":
            self._log_samples(record["summary"])
            self._describe(self.unscored)
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
        uri = self.pipeline.samples_uri
        card = read_card(uri)
        self.run.dataset(
            card.name, summary["fingerprint"], uri, "sampled", {"trials": summary["n_trials"], **card.provenance}
        )  # fmt: skip
        self._places["Samples"] = f"`{uri}`"


class Several(Observer):
    """Passes everything on to each of several observers."""

    def __init__(self, observers: Sequence[Observer]) -> None:
        self.observers = observers

    def stage_waits(self, stage: str) -> None:
        for observer in self.observers:
            observer.stage_waits(stage)

    def stage_started(self, stage: str, uri: str) -> None:
        for observer in self.observers:
            observer.stage_started(stage, uri)

    def remark(self, stage: str, text: str) -> None:
        for observer in self.observers:
            observer.remark(stage, text)

    def epoch(self, stage: str, row: dict[str, float], n_epochs: int) -> None:
        for observer in self.observers:
            observer.epoch(stage, row, n_epochs)

    def saved(self, stage: str, rows: list[dict[str, float]]) -> None:
        for observer in self.observers:
            observer.saved(stage, rows)

    def stage_finished(self, stage: str, uri: str, record: dict[str, Any], *, reused: bool) -> None:
        for observer in self.observers:
            observer.stage_finished(stage, uri, record, reused=reused)
