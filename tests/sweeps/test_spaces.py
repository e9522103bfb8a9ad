"""The search spaces that come with the jobs, and those that users bring."""

import math
import sys
from pathlib import Path

import pytest
from ray.tune.search.sample import Categorical

from jobs import sweep_lorenz, sweep_reach, sweep_speech
from ldns_ray.config import EXPERIMENTS, experiment
from ldns_ray.settings import settings
from ldns_ray.sweeps.command import OWN, load_points, load_space
from ldns_ray.sweeps.plan import Sweep
from ldns_ray.sweeps.study import StudySearch, open_study
from search_spaces import lorenz, reach, speech

JOBS = (sweep_lorenz, sweep_reach, sweep_speech)
MODULES = (lorenz, reach, speech)
SEARCHED = {
    f"{name}-{which}": (name, space)
    for job in JOBS for name, own in job.SPACES.items()
    for which, space in (("own", own), ("wide", vars(MODULES[JOBS.index(job)])["WIDE"]))
}  # fmt: skip
"""What can be searched around every experiment: its job's own space for it, and the recording's widest."""


def sweep(name, space, root, points=()):
    e = experiment(name)
    return Sweep("s", e, space, str(root), str(root), f"sqlite:///{root}/mlflow.db", points=points)


def test_jobs_search_around_every_experiment():
    assert sorted(name for job in JOBS for name in job.SPACES) == sorted(EXPERIMENTS)


@pytest.mark.parametrize("module", MODULES, ids=lambda m: m.__name__)
def test_every_module_has_three_spaces(module):
    assert {k for k in vars(module) if k.isupper()} == {"SPACE", "WIDE", "SMALL"}
    assert set(module.SPACE) < set(module.WIDE)
    assert len(module.SMALL) < len(module.SPACE)


@pytest.mark.parametrize("searched", SEARCHED)
def test_a_space_holds_the_settings_of_its_experiment(searched, tmp_path):
    """A sweep is planned only if it knows all names and allows all values, and those of its points."""
    name, space = SEARCHED[searched]
    e = experiment(name)
    points = [dict(point) for point in load_points(OWN, e, space)]
    assert points == [{k: settings(e)[k] for k in space}]
    if searched.endswith("wide") and name.endswith("_small"):
        # Around the paper's settings, which the small experiments are not.
        with pytest.raises(ValueError, match="Point 1 sets .* which is not in its domain"):
            sweep(name, space, tmp_path, points)
        points = []
    assert sweep(name, space, tmp_path, points).points == points


@pytest.mark.parametrize("searched", SEARCHED)
def test_autoencoders_are_few_enough_to_be_shared(searched):
    name, space = SEARCHED[searched]
    of_autoencoder = {k: d for k, d in space.items() if k.startswith("autoencoder.")}
    assert of_autoencoder
    assert all(isinstance(domain, Categorical) for domain in of_autoencoder.values())
    n = math.prod(len(domain.categories) for domain in of_autoencoder.values())
    assert n <= (2 if name.endswith("_small") else 8) or searched.endswith("wide")


@pytest.mark.parametrize("searched", SEARCHED)
def test_points_of_a_space_are_planned(searched, tmp_path):
    """What the study draws can be given again as points, which the plan checks."""
    name, space = SEARCHED[searched]
    drawn = sweep(name, space, tmp_path)
    vars(drawn)["fingerprint"] = "drawn"  # there is no dataset
    search = StudySearch(open_study(drawn), drawn.distributions, 0)
    points = [search.suggest(str(i)) for i in range(5)]
    for point in points:
        del point["trial_number"]
        assert set(point) == set(space)
    assert sweep(name, space, tmp_path, points).points == points


# -- A user's own


@pytest.fixture
def module(tmp_path, monkeypatch):
    """A module that a user has written, somewhere on PYTHONPATH."""
    monkeypatch.syspath_prepend(tmp_path)

    def write(name, text):
        Path(tmp_path, f"{name}.py").write_text(f"from ray import tune\n{text}\n")
        monkeypatch.delitem(sys.modules, name, raising=False)

    return write


def test_a_space_of_ones_own(module):
    module("my_space", "SPACE = {'seed': tune.randint(0, 5)}\nMINE = {'diffusion.width': tune.choice([16])}")  # fmt: skip
    assert load_space("my_space:MINE")["diffusion.width"].categories == [16]
    assert set(load_space("my_space")) == {"seed"}
    assert load_space("search_spaces.speech:WIDE") is speech.WIDE


def test_spaces_that_are_not_there_are_told(module):
    module("my_space", "SPACE = {'seed': tune.randint(0, 5)}\nNUMBER = 3\nsmall = {}")
    with pytest.raises(ValueError, match=r"^No module 'my_spaces' for --space\. Give one"):
        load_space("my_spaces:MINE")
    with pytest.raises(ValueError, match=r"^No search space 'SPAC' in my_space\. Did you mean SPACE\?"):  # fmt: skip
        load_space("my_space:SPAC")
    with pytest.raises(ValueError, match=r"^No search space 'NUMBER' in my_space\. Known: SPACE\."):
        load_space("my_space:NUMBER")
    module("broken", "import not_installed_anywhere")
    with pytest.raises(ModuleNotFoundError, match="not_installed_anywhere"):
        load_space("broken")


def test_a_space_of_ones_own_is_searched_from_the_command_line(refuses, module, tmp_path):
    """As far as it can be without starting: what is wrong with it is told first."""
    root = tmp_path / "root"
    command = ["sweep_lorenz", "--root", root, "--space"]
    module("typo", "SPACE = {'diffusion.widht': tune.choice([16])}")
    assert (
        "Unknown setting 'diffusion.widht' in the search space. Did you mean diffusion.width"
        in (refuses(*command, "typo"))
    )
    module("plain", "SPACE = {'diffusion.width': [16, 32]}")
    assert "must be a Tune domain such as tune.choice" in refuses(*command, "plain")
    module("odd", "SPACE = {'diffusion.width': tune.choice([16, 18])}")
    assert "diffusion.width must be a multiple of 4, got 18" in refuses(*command, "odd")
    module("empty", "SPACE = {}")
    assert "The search space is empty" in refuses(*command, "empty")
    assert "No module 'nowhere'" in refuses(*command, "nowhere:SPACE")
    assert "No search space 'X' in typo" in refuses(*command, "typo:X")
    assert not root.exists()
