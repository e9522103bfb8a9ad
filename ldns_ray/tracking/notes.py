"""What the pages of the MLflow UI say in words: markdown for experiments, runs and models.

The UI folds a note after its first lines, so each begins with what matters most. Addresses that begin
with `#` lead to pages of the same server. Names from datasets and models are shown as they are, and are no markdown.
"""

import re
from collections.abc import Mapping, Sequence

UNSCORED = "Not evaluated yet."
SCALE = "1 is as close as the data is to itself, lower is better"


def outcome(
    score: float, interval: tuple[float, float] | None, others: Mapping[str, float], split: str
) -> str:
    """A score in words, with what it is measured by. others: scores of baselines and real trials, by name."""
    within = "" if interval is None else f" (95 % interval {interval[0]:.2f} to {interval[1]:.2f})"
    beside = "".join(f"; {name}: {x:.2f}" for name, x in others.items())
    return (
        f"**Score {score:.2f}**{within} on the {split} split: the samples are {score:.2f} times as far from held-out trials "
        f"as other real trials are. {SCALE}{beside}."
    )


def dataset(name: str, fingerprint: str, uri: str) -> str:
    """A dataset in a sentence."""
    return f"*{words(name)}* (fingerprint {code(fingerprint)}, {code(uri)})"


def words(text: object) -> str:
    """A text from elsewhere within a line of markdown: no link, picture, emphasis or HTML comes of it."""
    plain = " ".join(str(text).split()).replace("&", "&amp;").replace("<", "&lt;")
    return re.sub(r"([\\`*_\[\]!~])", r"\\\1", plain)


def code(text: object) -> str:
    """A text from elsewhere, letter by letter but for what would end it."""
    plain = " ".join(str(text).split()).replace("`", "'")
    return f"`{plain}`"


def link(text: str, address: str) -> str:
    """A link, or the text alone where there is no address."""
    return f"[{text}]({address})" if address else text


def model_run(
    what: str, *, data: str, result: str, places: Mapping[str, str], command: str, commit: str
) -> str:
    """A run that trains and evaluates one model.

    what: the run in a sentence. data: as `dataset` says it. result: as `outcome` says it, or `UNSCORED`.
    places: what was made → its address or a link to it. command: what makes the same again, at `commit`.
    """
    return _page(result, f"{what} Training data: {data}.", _listed(places), _again(command, commit))


def sweep_run(
    *, experiment: str, data: str, n_trials: int, seed: int, space: Mapping[str, str], result: str, best: str,
    trials: str, command: str, commit: str,
) -> str:  # fmt: skip
    """A run that is the parent of a sweep's trials.

    space: setting → domain. result: the best trial's outcome, as `outcome` says it, or `UNSCORED`. best: a link
    to that trial. trials: the address of the trials, best first.
    """
    chosen = (
        f"Of the best trial, {best}, whose metrics this run shows: {result}" if best else result
    )
    return _page(
        f"{chosen} {link('All trials, best first', trials)}.",
        f"Search for the model of `{experiment}` whose samples are most like the recording: {n_trials} trials by "
        f"multivariate TPE (Optuna), seed {seed}. Trials are the child runs, scored on the validation split; the best is "
        f"then scored on the test split. Training data: {data}.",
        "Searched settings:\n\n" + _listed({f"`{name}`": f"`{d}`" for name, d in space.items()}),
        _again(command, commit),
    )  # fmt: skip


def evaluation_run(
    *, real: str, split: str, samples: Mapping[str, str], result: str, command: str, commit: str
) -> str:
    """A run that compares datasets of samples with real trials; its metrics are of the first of them.

    real: as `dataset` says it. samples: name → `origin` of a dataset of samples.
    """
    return _page(
        result,
        f"Sampled spikes compared with the {split} trials of {real}. The metrics are of the first dataset, "
        "`metrics.json` has all of them.",
        _listed({words(name): told for name, told in samples.items()}),
        _again(command, commit),
    )


def sampling_run(n_trials: int, samples: str, made: str, *, command: str, commit: str) -> str:
    """A run that samples a dataset. samples: as `dataset` says it. made: its `origin`."""
    return _page(
        f"{n_trials:,} sampled trials: {samples}.",
        _listed({"Samples": made}),
        _again(command, commit),
    )


def reproduction_run(
    experiment: str, data: str, found: Sequence[str], places: Mapping[str, str], *, command: str, commit: str
) -> str:  # fmt: skip
    """A run that makes one of the results of the README. found: what there is to say, a sentence or two each."""
    return _page(
        f"The result `{experiment}` on {data}: tables in the first file below. Its models are the child runs.",
        *found,
        _listed(places),
        _again(command, commit),
    )


def origin(uri: str, provenance: Mapping[str, object]) -> str:
    """Where sampled trials come from, by the provenance of their dataset's card."""
    if "model" not in provenance:
        return f"{code(uri)}, of unknown origin"
    parts = {
        "model": provenance["model"],
        "trained on": provenance.get("dataset_name"),
        "data fingerprint": provenance.get("dataset"),
        "at commit": provenance.get("model_commit"),
        "sampler": provenance.get("sampler"),
        "steps": provenance.get("n_steps"),
        "guidance": provenance.get("guidance"),
        "seed": provenance.get("seed"),
    }
    told = ", ".join(
        f"{name} {code(value)}" for name, value in parts.items() if value not in (None, "")
    )
    return f"{code(uri)}: {told}"


def experiment_page(view: str, columns: Sequence[tuple[str, str]]) -> str:
    """An experiment: where its runs stand side by side, and what their columns mean.

    view: the address of the runs, best first. columns: (name, meaning).
    """
    return _page(
        f"Models of neural spiking data, judged by their samples: {link('runs, best first', view)}. What the columns mean:",
        _columns(columns),
    )


def model_page(what: str, address: str, columns: Mapping[str, str]) -> str:
    """A logged model: what it is, and how to sample from it. columns: of a request, name → meaning."""
    return _page(
        what,
        f"Ten trials of it, in Python after `import mlflow`: `{_sampling(address)}`",
        "Each row of a request may have:",
        _columns(list(columns.items())),
    )


def registered_page(name: str, address: str) -> str:
    """A registered model: what its versions are, and how the one at `address` is loaded."""
    return _page(
        f"Models of neural spiking data, the best of each sweep, under the name `{name}`. The version called champion has "
        f"the best score of those trained on the same data as it. {SCALE.capitalize()}.",
        f"Ten trials of the champion, in Python after `import mlflow`: `{_sampling(address)}`",
        f"To serve it: `mlflow models serve -m {address} --env-manager local`. What a request may hold beside `n` stands on "
        "the logged model's page.",
    )


def version_page(score: float, note: str, places: Mapping[str, str]) -> str:
    """A version of a registered model. places: what it came from → its address or a link to it."""
    return _page(f"Score {score:.2f}: {SCALE}.", note, _listed(places))


def _sampling(address: str) -> str:
    return f"mlflow.pyfunc.load_model({address!r}).predict([{{'n': 10, 'seed': 0}}])"


def _page(*paragraphs: str) -> str:
    return "\n\n".join(text for text in paragraphs if text)


def _columns(columns: Sequence[tuple[str, str]]) -> str:
    # Nothing escapes a bar within code.
    rows = [f"| {code(name.replace('|', '¦'))} | {meaning} |" for name, meaning in columns]
    return "\n".join(["| column | meaning |", "|---|---|", *rows])


def _listed(places: Mapping[str, str]) -> str:
    return "\n".join(f"- {name}: {place}" for name, place in places.items())


def _again(command: str, commit: str) -> str:
    if not command:
        return ""
    at = f", at commit `{commit[:10]}`" if commit else ""
    # Not a block of code: the page would become as wide as its longest line.
    return f"To do the same again{at}: `{command}`"
