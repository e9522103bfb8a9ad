"""What someone sees who opens MLflow in a browser after `make sweep`: runs, scores, pages that explain themselves.

Pictures of the pages go to the folder LDNS_SCREENSHOTS, where it is set.
"""

import os
import re
import shutil
from pathlib import Path
from types import SimpleNamespace

import pytest
from playwright.sync_api import Page, expect, sync_playwright

from ldns_ray import local
from ldns_ray.data.shards import read_card
from ldns_ray.logged import COMPARED
from ldns_ray.tracking.connection import connect
from search_spaces.speech import SMALL

pytestmark = pytest.mark.slow

QUIET = (
    "--headless", "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run", "--disable-sync",
    "--disable-background-networking", "--disable-component-update",
)  # fmt: skip
PATIENCE_MS = 60_000


@pytest.fixture(scope="module")
def browser():
    chromium = shutil.which("chromium")
    assert chromium, "these tests need Chromium; on Debian: apt-get install chromium"
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=chromium, args=list(QUIET))
        yield browser
        browser.close()


@pytest.fixture(scope="module")
def mlflow(made):
    """The sweep in MLflow: the server's address, its experiment, the sweep's run, and its trials, best first."""
    address = local.up(made.root, ("mlflow",))["mlflow"].address
    tracking = connect(address, "speech")
    (sweep,) = tracking.client.search_runs([tracking.experiment_id], "tags.`ldns.kind` = 'sweep'")
    trials = sorted(tracking.children(sweep.info.run_id), key=lambda t: t["metrics"]["score"])
    return SimpleNamespace(address=address, tracking=tracking, sweep=sweep, trials=trials)


@pytest.fixture
def page(browser, mlflow, request, tmp_path):
    """An empty page, wide enough for every column; its picture is taken when the test ends."""
    page = browser.new_page(viewport={"width": 2800, "height": 1300}, base_url=mlflow.address)
    page.set_default_timeout(PATIENCE_MS)
    expect.set_options(timeout=PATIENCE_MS)
    yield page
    folder = Path(os.environ.get("LDNS_SCREENSHOTS") or tmp_path)
    folder.mkdir(parents=True, exist_ok=True)
    page.screenshot(path=folder / f"{request.node.name}.png")
    page.close()


def printed(made, title):
    """The address on a line of what `make sweep` printed."""
    return re.search(rf"^{title}: .*?(http://\S+)$", made.out, re.M)[1]


def shown(page: Page, column: str) -> list[str]:
    """The cells of a column of the list of runs, from the top."""
    cells = page.locator(f".ag-row [col-id='{column}']")
    rows = cells.evaluate_all(
        "cells => cells.map(c => [Number(c.closest('.ag-row').getAttribute('row-index')), c.innerText])"
    )
    # A run stands behind the colour it has in charts.
    return [text.strip().splitlines()[-1] for _, text in sorted(rows)]


def heads(page: Page) -> list[str]:
    """The names of the list's columns, from the left."""
    found = page.locator(".ag-header-cell").evaluate_all(
        "heads => heads.map(h => [h.getBoundingClientRect().left, h.innerText])"
    )
    return [text for _, text in sorted(found)]


def check_best_first(page: Page, mlflow) -> None:
    """The list has all trials, by score, and the columns by which they are compared."""
    rows = page.locator(".ag-row [col-id='metrics.`score`']")
    expect(rows).to_have_count(len(mlflow.trials))
    scores = [float(text) for text in shown(page, "metrics.`score`")]
    assert scores == pytest.approx([t["metrics"]["score"] for t in mlflow.trials])
    columns = heads(page)
    first = columns.index("score")
    assert tuple(columns[first : first + len(COMPARED)]) == COMPARED


def opened(page: Page, link: str) -> Page:
    """The page that a link in a note opens, in a tab of its own."""
    with page.context.expect_page() as tab:
        page.get_by_role("link", name=link, exact=True).first.click()
    return tab.value


def test_the_address_that_a_sweep_prints_shows_its_trials_best_first(made, mlflow, page):
    page.goto(printed(made, "Trials, best first"))
    check_best_first(page, mlflow)
    assert set(SMALL) <= set(heads(page))
    by_name = {t["name"]: t["params"] for t in mlflow.trials}
    names = shown(page, "attributes.`Run Name`")
    for setting in SMALL:
        assert shown(page, f"params.`{setting}`") == [by_name[name][setting] for name in names]


def test_the_experiment_says_what_it_holds_and_leads_to_its_best_run(mlflow, page):
    page.goto(f"/{mlflow.tracking.link()}")
    expect(
        page.get_by_text("Models of neural spiking data, judged by their samples")
    ).to_be_visible()
    expect(page.get_by_role("link", name="speech sweep", exact=True)).to_be_visible()
    page.locator(".ag-row button").first.click()
    for trial in mlflow.trials:
        expect(page.get_by_role("link", name=trial["name"], exact=True)).to_be_visible()
    check_best_first(opened(page, "runs, best first"), mlflow)


def test_comparing_two_runs_shows_both_and_their_scores(mlflow, page):
    two = mlflow.trials[:2]
    ids = ",".join(f'"{t["run_id"]}"' for t in two)
    page.goto(f'/#/compare-runs?runs=[{ids}]&experiments=["{mlflow.tracking.experiment_id}"]')
    for trial in two:
        expect(page.get_by_text(trial["name"], exact=True).first).to_be_visible()
    # The table of metrics scrolls by itself, names beside values, and holds in the page what is in sight alone.
    expect(page.get_by_role("link", name="baseline_score", exact=True)).to_be_visible()
    values = page.get_by_role("grid").last
    values.hover()
    page.mouse.wheel(0, 5000)
    page.wait_for_function("grid => grid.scrollTop > 0", arg=values.element_handle())
    page.mouse.wheel(0, -5)  # names follow values one step behind
    name = page.get_by_role("link", name="score", exact=True)
    expect(name).to_be_visible()
    top = name.evaluate("link => link.closest('div').style.top")
    cells = values.locator(f"div[style*='top: {top}']")
    expect(cells).to_have_count(2)
    scores = [float(text) for text in cells.all_inner_texts()]
    assert scores == pytest.approx([t["metrics"]["score"] for t in two], abs=6e-4)


def test_the_sweeps_page_tells_the_best_trial_and_leads_to_it(made, mlflow, page):
    page.goto(printed(made, "Results"))
    expect(page.get_by_text("Of the best trial,")).to_be_visible()
    score = mlflow.sweep.data.metrics["score"]
    expect(page.get_by_text(f"Score {score:.2f}").first).to_be_visible()
    trial = opened(page, mlflow.trials[0]["name"])
    expect(
        trial.get_by_text(f"Score {mlflow.trials[0]['metrics']['score']:.2f}").first
    ).to_be_visible()


def test_a_trials_page_fits_the_window(mlflow, page):
    page.set_viewport_size({"width": 1800, "height": 1000})
    page.goto(f"/{mlflow.tracking.link('runs', mlflow.trials[0]['run_id'])}")
    expect(page.get_by_text("About this run")).to_be_in_viewport(ratio=1)
    page.get_by_text("Show more").click()
    expect(page.get_by_text("To do the same again")).to_be_visible()
    expect(page.get_by_text("python jobs/train.py speech_small")).to_be_visible()
    expect(page.get_by_text("About this run")).to_be_in_viewport(ratio=1)


def test_samples_lead_back_to_their_model_and_its_data(mlflow, page):
    trial = mlflow.trials[0]
    samples = read_card(trial["tags"]["ldns.samples"] + "/dataset")
    page.goto(f"/{mlflow.tracking.link('runs', trial['run_id'])}")
    page.get_by_text("+1", exact=True).first.click()
    page.get_by_text(samples.fingerprint).first.click()
    for name in ("model", "model_fingerprint", "dataset", "model_commit", "sampler", "seed"):
        label = name.replace("_", " ")
        expect(page.get_by_text(f"{label}: {samples.provenance[name]}", exact=True)).to_be_visible()
    expect(page.get_by_text(f"Path: {trial['tags']['ldns.samples']}/dataset")).to_be_visible()


def test_a_models_page_shows_its_score_and_the_data_behind_it(mlflow, page):
    model = mlflow.trials[0]["tags"]["ldns.logged_model"].removeprefix("models:/")
    page.goto(f"/{mlflow.tracking.link('models', model)}")
    row = (
        page.get_by_role("row")
        .filter(has_text="speech sweep")
        .filter(has=page.get_by_text("score", exact=True))
    )
    expect(row).to_contain_text("speech (#")
    expect(row).to_contain_text(f"{mlflow.sweep.data.metrics['score']:.6f}"[:-1])
    expect(page.get_by_text("mlflow.pyfunc.load_model")).to_be_visible()


def test_the_sweeps_files_are_listed_at_their_address(mlflow, page):
    page.goto(f"/{mlflow.tracking.link('runs', mlflow.sweep.info.run_id, 'artifacts')}")
    for name in ("plots", "sweep", "trials.json"):
        expect(page.get_by_text(name, exact=True)).to_be_visible()
    page.get_by_text("trials.json", exact=True).click()
    setting = next(iter(SMALL))
    for trial in mlflow.trials:
        row = page.get_by_role("row").filter(has=page.get_by_text(trial["name"], exact=True))
        expect(row).to_contain_text(trial["params"][setting])


@pytest.mark.parametrize("picture", ["history", "parallel_coordinates", "slices"])
def test_the_sweeps_pictures_are_shown_at_their_address(mlflow, page, picture):
    run_id = mlflow.sweep.info.run_id
    page.goto(f"/{mlflow.tracking.link('runs', run_id, f'artifacts/sweep/{picture}.png')}")
    page.wait_for_function(
        "() => [...document.images].some(i => i.complete && i.naturalWidth > 500 && i.width > 300)"
    )
    expect(page.get_by_text(f"sweep/{picture}.png", exact=True)).to_be_visible()


def test_the_registered_model_shows_its_champion_and_its_score(made, mlflow, page):
    best = mlflow.trials[0]["metrics"]["score"]
    assert f"Registered: Registered as ldns-speech version 1, score {best:.2f}" in made.out
    page.goto("/#/models/ldns-speech")
    expect(page.get_by_text("The version called champion has the best score")).to_be_visible()
    row = page.get_by_role("row").filter(has_text="Version 1")
    expect(row).to_contain_text("@ champion")
    page.goto("/#/models/ldns-speech/versions/1")
    expect(page.get_by_text(f"Score {best:.2f}: 1 is as close as the data is")).to_be_visible()


def test_a_trials_report_is_shown_with_its_pictures(mlflow, page):
    page.set_viewport_size({"width": 1800, "height": 1300})
    trial = mlflow.trials[0]
    page.goto(f"/{mlflow.tracking.link('runs', trial['run_id'], 'artifacts', 'report.html')}")
    report = page.frame_locator("iframe")
    expect(report.get_by_role("heading", level=1)).to_contain_text("speech_small on speech")
    expect(report.get_by_text(f"Score {trial['metrics']['score']:.2f}").first).to_be_visible()
    overview = report.get_by_role("img").first
    expect(overview).to_be_visible()
    assert overview.evaluate("picture => picture.complete && picture.naturalWidth > 500")
    # Links to parts of the page work in the viewer, which forbids them to be followed.
    report.get_by_role("link", name="Datasets", exact=True).click()
    expect(report.get_by_role("heading", name="Datasets", exact=True)).to_be_in_viewport()
