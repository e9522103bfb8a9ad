"""A sweep's trials as tables: for a terminal, and for MLflow."""

from dataclasses import replace

import optuna
import pytest
from ray import tune
from ray.tune.search.optuna import OptunaSearch

from ldns_ray.sweeps.tables import COLUMNS, flat, format_result
from ldns_ray.sweeps.wording import as_text, broken, shortest
from ldns_ray.text_table import width
from search_spaces import lorenz, reach, speech
from tests.sweeps.planned import RATE, planned

POINT = {"autoencoder.n_latents": 4, "autoencoder.width": 128, RATE: 0.00123456, "diffusion.loss": "mse"}  # fmt: skip


def measured(*distances):
    names = ("kl_psc", "rmse_corr", "rmse_mean_isi", "rmse_std_isi")
    return {
        name: {"distance": d, "floor": d / 2, "ratio": 2.0}
        for name, d in zip(names, distances, strict=True)
    }


def finished(number, score, **changes):
    metrics = measured(score / 100, 0.02, 0.3, 0.4)
    return row(number, "FINISHED", changes) | {"score": score, "metrics": metrics}


def row(number, status, changes=(), rungs=()):
    """A trial, as `collect` makes it, as far as tables need it. changes: with __ for dots."""
    changed = {k.replace("__", "."): v for k, v in dict(changes).items()}
    settings = {k: v for k, v in (POINT | changed).items() if v is not None}
    return {"name": f"trial {number}", "number": number, "status": status, "settings": settings, "rungs": list(rungs)}  # fmt: skip


STOPPED = row(4, "STOPPED", {"autoencoder__n_latents": 8}, [(6, 5.5), (18, 3.21)])
FAILED = row(3, "FAILED", {RATE: 1e30}) | {"error": "FloatingPointError: The loss became nan. Lower the learning rate."}  # fmt: skip


def table(*rows, space=tuple(POINT)):
    return format_result(list(space), {"trials": list(rows)})


def test_trials_that_ended_in_every_way():
    """Too wide for one table. What all trials share and errors stand below; names are as short as they are clear."""
    changed = {"diffusion__loss": "smooth_l1"}
    assert (
        table(finished(2, 1.5), finished(1, 12.25, **changed), STOPPED, FAILED)
        == """\
                                        learning_
trial                 score  n_latents       rate       loss
------------------------------------------------------------
trial 2                1.50          4    0.00123        mse
trial 1               12.25          4    0.00123  smooth_l1
trial 4  (3.21 at epoch 18)          8    0.00123        mse
trial 3              failed          4      1e+30        mse

           KL population             RMSE    RMSE mean ISI
trial       count (nats)     correlations              (s)  RMSE sd ISI (s)
---------------------------------------------------------------------------
trial 2  0.0150 (0.0075)  0.0200 (0.0100)  0.3000 (0.1500)  0.4000 (0.2000)
trial 1  0.1225 (0.0612)  0.0200 (0.0100)  0.3000 (0.1500)  0.4000 (0.2000)

All trials: autoencoder.width 128

trial 3 failed: FloatingPointError: The loss became nan. Lower the learning rate."""
    )


def test_one_table_where_it_fits():
    """A single trial shares its settings with none."""
    assert (
        table(finished(1, 1.5), space=["autoencoder.n_latents", "diffusion.loss"])
        == """\
                                   KL population             RMSE    RMSE mean ISI
trial    score  n_latents  loss     count (nats)     correlations              (s)  RMSE sd ISI (s)
---------------------------------------------------------------------------------------------------
trial 1   1.50          4   mse  0.0150 (0.0075)  0.0200 (0.0100)  0.3000 (0.1500)  0.4000 (0.2000)"""
    )


def test_trials_that_ended_before_they_had_all_settings_and_with_long_errors():
    lost = FAILED | {"settings": {"autoencoder.n_latents": 4}, "error": "x" * 500}
    text = table(finished(1, 1.5), lost, space=["autoencoder.n_latents", "diffusion.loss"])
    assert "trial 3  failed     -" in text
    *_, error = text.splitlines()
    assert error == f"trial 3 failed: {'x' * (COLUMNS - 17)}…"


def points(space, n):
    study = optuna.create_study(sampler=optuna.samplers.RandomSampler(seed=0))
    distributions = OptunaSearch.convert_search_space(dict(space))
    return [study.ask(distributions).params for _ in range(n)]


@pytest.mark.parametrize("module", [lorenz, reach, speech], ids=lambda m: m.__name__)
def test_the_widest_spaces_fit_a_terminal(module):
    """With a table for each section's settings; every trial's setting is there."""
    *some, last = points(module.WIDE, 12)
    rows = [finished(i, i + 0.5) | {"settings": point} for i, point in enumerate(some, start=1)]
    rows.append(row(12, "STOPPED", rungs=[(100, 12.5)]) | {"settings": last})
    text = table(*rows, space=module.WIDE)
    assert max(map(width, text.splitlines())) <= COLUMNS
    tables = {part.partition("---")[0].splitlines()[-1].split()[0]: part for part in text.split("\n\n")}  # fmt: skip
    assert list(tables) == ["autoencoder", "diffusion", "observation", "trial"]
    for name in module.WIDE:
        part = tables[name.partition(".")[0]].splitlines()
        cells = [line.split("  ") for line in part[-12:]]
        for found, trial in zip(cells, rows, strict=True):
            assert found[0] == trial["name"]
            assert as_text(trial["settings"][name]) in map(str.strip, found)
    assert tables["trial"].count("trial ") == 1 + 11


def test_names_are_as_short_as_they_are_clear():
    names = ["autoencoder.width", "diffusion.width", RATE, "autoencoder.optimisation.epochs", "diffusion.optimisation.epochs", "seed"]  # fmt: skip
    assert shortest(names) == ["autoencoder.width", "diffusion.width", "learning_rate", "autoencoder.epochs", "diffusion.epochs", "seed"]  # fmt: skip


def test_texts_are_broken_after_dots_spaces_and_underscores():
    assert broken("autoencoder.n_blocks", 12) == "autoencoder.\nn_blocks"
    assert broken("RMSE mean ISI (s)", 12) == "RMSE mean\nISI (s)"
    assert broken("bidirectional", 5) == "bidirectional"
    assert broken("score", 12) == "score"


def test_a_row_of_mlflow_has_everything(trained, tmp_path):
    space = {RATE: tune.loguniform(1e-4, 1e-2), "autoencoder.n_latents": tune.choice([4])}
    sweep = replace(planned(trained, tmp_path), space=space)
    metrics = {"KL population count (nats)": 0.015, "KL population count (nats), floor": 0.0075,
               "RMSE correlations": 0.02, "RMSE correlations, floor": 0.01, "RMSE mean ISI (s)": 0.3,
               "RMSE mean ISI (s), floor": 0.15, "RMSE sd ISI (s)": 0.4, "RMSE sd ISI (s), floor": 0.2}  # fmt: skip
    chosen = {"diffusion.learning_rate": 0.00123456, "autoencoder.n_latents": 4}
    first = {"trial": "trial 2", "status": "FINISHED", "score": 1.5}
    assert flat(sweep, finished(2, 1.5)) == first | chosen | metrics | {"error": ""}
    none = dict.fromkeys(metrics)
    stopped = flat(sweep, STOPPED)
    assert stopped == {"trial": "trial 4", "status": "STOPPED", "score": None, "diffusion.learning_rate": 0.00123456, "autoencoder.n_latents": 8} | none | {"error": ""}  # fmt: skip
    failed = flat(sweep, FAILED)
    assert (failed["status"], failed["diffusion.learning_rate"]) == ("FAILED", 1e30)
    assert failed["error"] == FAILED["error"]
    assert list(stopped) == list(failed) == list(flat(sweep, finished(2, 1.5)))
