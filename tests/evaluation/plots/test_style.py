"""Figures are written where they should be, and touch nothing that is global."""

import pkgutil
import subprocess
import sys

import pytest
from matplotlib.image import imread

from ldns_ray.evaluation import plots
from ldns_ray.evaluation.plots import spikes, style

BIN = 0.01


def test_figures_are_written_at_their_size(pair, tmp_path):
    figures = {"isi": spikes.isi(*pair, BIN), "rasters": spikes.rasters(*pair, BIN)}
    paths = style.save_figures(figures, tmp_path / "new" / "folder")
    assert [path.name for path in paths] == ["isi.png", "rasters.png"]
    for path, figure in zip(paths, figures.values(), strict=True):
        width, height = figure.get_size_inches() * style.DPI
        assert imread(path).shape[:2] == (round(height), round(width))


@pytest.mark.filterwarnings("error")
@pytest.mark.parametrize(
    ("name", "drawn"),
    [
        (r"$\frac$", r"$\frac$"), ("5 $ or 6 $", "5 $ or 6 $"), ("_mine", "_mine"), ("神経", "神経"),
        ("two\nlines\tand a tab", "two lines and a tab"), ("x" * 60, "x" * 23 + "…"),
    ],
)  # fmt: skip
def test_any_name_of_a_candidate_is_drawn_as_it_is(pair, name, drawn):
    real, sampled = pair
    figure = spikes.isi(real, sampled, BIN, others={name: sampled})
    assert style.png(figure).startswith(b"\x89PNG")
    labels = figure.legends[0].get_texts()
    # What a text object says once it has taken care of mathematics.
    said = [label._preprocess_math(label.get_text()) for label in labels]
    assert said == [("sampled", False), (said[1][0], False)]
    assert said[1][0].strip() == drawn


def test_no_global_state():
    """In a fresh interpreter that imports every file of the package: pyplot, which holds global state, is not loaded."""
    modules = [f"{plots.__name__}.{m.name}" for m in pkgutil.iter_modules(plots.__path__)]
    assert f"{plots.__name__}.spikes" in modules
    program = f"import sys, {', '.join(modules)}; sys.exit('matplotlib.pyplot' in sys.modules)"
    subprocess.run([sys.executable, "-c", program], check=True)
