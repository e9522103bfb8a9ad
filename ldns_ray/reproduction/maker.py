"""Trains, samples and evaluates what a result needs, as far as that is not done yet."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from contextlib import AbstractContextManager
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from matplotlib.figure import Figure

from ldns_ray import storage
from ldns_ray.config import Experiment, Hardware
from ldns_ray.data.conditions import TrialConditions
from ldns_ray.data.shards import load_trialset, read_card
from ldns_ray.evaluation.plots import style
from ldns_ray.evaluation.reporting.results import PLOTS, REPORT, write_results
from ldns_ray.models.conditioning import LENGTH
from ldns_ray.models.requests import Requests
from ldns_ray.pipeline import VERSIONS, Observer, Pipeline
from ldns_ray.reproduction.steps import Step, Steps
from ldns_ray.sampling.dataset import sample_dataset
from ldns_ray.sampling.plan import digest

Watch = Callable[[Pipeline, str], AbstractContextManager[Observer]]
"""Opens, for a pipeline and a name, whoever hears of its stages."""


@dataclass
class Maker:
    """Where results are kept, on what they are computed, and who hears of it."""

    root: str
    hardware: Hardware
    steps: Steps
    watch: Watch
    command: str
    """Makes the same again; told by reports."""
    spent: dict[str, tuple[str, float]] = field(default_factory=dict)
    """What everything that was used took when it was done: URI → what it is, seconds."""

    def trained(
        self, experiment: Experiment, data_uri: str, name: str, until: str = "evaluation"
    ) -> Pipeline:
        """A pipeline whose stages are done up to `until`. name: of its run."""
        pipeline = Pipeline(experiment, data_uri, self.root, self.hardware)
        with self.watch(pipeline, name) as observer:
            pipeline.observer = observer
            records = pipeline.run(until)
        self.spent |= {pipeline.uri(stage): (stage, x["seconds"]) for stage, x in records.items()}
        return pipeline

    def step(self, name: str, *key: Any, work: Callable[[str], dict[str, Any]]) -> Step:
        """`Steps.once`, whose time counts. Where samples or evaluations are made otherwise than before, so are all steps."""
        versions = [VERSIONS["samples"], VERSIONS["evaluation"]]
        done = self.steps.once(name, versions, *key, work=work)
        self.spent[done.uri] = (name.partition(",")[0], done.seconds)
        return done

    def durations(self) -> dict[str, float]:
        """Seconds that everything took when it was done, by what it is."""
        told: dict[str, float] = {}
        for what, seconds in self.spent.values():
            told[what] = told.get(what, 0.0) + seconds
        return told

    def sampled(
        self,
        pipeline: Pipeline,
        name: str,
        n: int,
        asked: TrialConditions | None = None,
        **how: Any,
    ) -> str:
        """The URI of `n` trials sampled from a pipeline's model, as its settings say but for `how`.

        asked: what the trials are sampled for, `n` of it; drawn from the training trials where nothing is given.
        """
        s = pipeline.experiment.sampling
        how = {
            "sampler": s.sampler,
            "n_steps": s.n_steps,
            "guidance": s.guidance,
            "seed": s.seed,
        } | how
        given, requested = {}, ""
        if asked is not None:
            given = {"n_bins": asked.n_bins, "condition": asked.conditions, "covariates": asked.covariates}  # fmt: skip
            none = np.zeros(0, np.int64)
            n_bins = none if asked.n_bins is None else asked.n_bins
            requested = digest(Requests(n_bins, asked.conditions, asked.covariates))

        def work(uri: str) -> dict[str, Any]:
            out = storage.join(uri, "dataset")
            pipeline.on_device(sample_dataset, pipeline.model_uri, out, n, **given, **how)
            return {"dataset": out, "n_trials": n, **how}

        key = (pipeline.fingerprints["observation"], n, requested, how)
        return storage.join(self.step(f"samples, {name}", *key, work=work).uri, "dataset")

    def evaluated(self, pipeline: Pipeline, samples: Mapping[str, str]) -> Step:
        """The evaluation of datasets of samples, by name: summary, report and pictures, as of a pipeline's own."""

        def work(uri: str) -> dict[str, Any]:
            found = pipeline.evaluate(samples)
            write_results(uri, found, pipeline.origin(samples, self.command))
            return found.summary

        prints = [[name, read_card(uri).fingerprint] for name, uri in samples.items()]
        key = (pipeline.fingerprints["observation"], pipeline.experiment.evaluation, prints)
        return self.step("evaluation", *key, work=work)


def asked_of(pipeline: Pipeline, split: str, indices: np.ndarray | None = None) -> TrialConditions:
    """Lengths, conditions and covariates of real trials, all of a split or some, as far as the model takes them."""
    d = pipeline.experiment.diffusion
    conditions = [c for c in d.conditions if c != LENGTH]
    columns = [f"condition:{c}" for c in conditions] + [f"covariate:{c}" for c in d.covariates]
    trials = load_trialset(pipeline.data_uri, split, columns)
    if indices is not None:
        trials = trials.subset(indices)
    return TrialConditions(
        trials.n_bins_S,
        {name: trials.conditions[name] for name in conditions},
        {name: trials.covariates_list(name) for name in d.covariates},
    )


def save_picture(uri: str, name: str, figure: Figure) -> None:
    """Write a picture of a step, as PNG."""
    storage.write_bytes(storage.join(uri, PLOTS, f"{name}.png"), style.png(figure))


def picture(uri: str, name: str) -> dict[str, str]:
    """Where `save_picture` put it, by its name."""
    return {name: storage.join(uri, PLOTS, f"{name}.png")}


def pictures_of(uri: str, summary: Mapping[str, Any]) -> dict[str, str]:
    """Those of an evaluation."""
    return {name: storage.join(uri, PLOTS, f"{name}.png") for name in summary["plots"]}


def report_of(uri: str) -> str:
    """The page of an evaluation."""
    return storage.join(uri, REPORT)
