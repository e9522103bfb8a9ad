"""Reports to render, and their pages read back."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from html.parser import HTMLParser

from matplotlib.figure import Figure

from ldns_ray.data.card import Card
from ldns_ray.evaluation.catalogue import SCORED
from ldns_ray.evaluation.plots.style import png
from ldns_ray.evaluation.reporting.html import VOID
from ldns_ray.evaluation.reporting.report import Report
from ldns_ray.evaluation.rows import Measured, Row

DISTANCES = {"kl_psc": 0.00312, "rmse_corr": 0.0173, "rmse_mean_isi": 0.0241, "rmse_std_isi": 0.0293, "tv_psc": 0.0417}  # fmt: skip


INLINE = ("a", "b", "code", "data", "span", "strong")
"""Elements that stand within a line of text."""


def measured(distance: float, ratio: float) -> Measured:
    return Measured(
        distance=distance,
        floor=distance / ratio,
        ratio=ratio,
        interval=(0.83 * distance, 1.19 * distance),
        ratio_interval=(0.79 * ratio, 1.23 * ratio),
    )


def row(name: str = "LDNS", score: float = 1.2, *, latents: bool = True, **changes: object) -> Row:
    """Ratios rise from one metric to the next; the score is no function of them."""
    metrics = {
        key: measured(score * distance, score * (1 + 0.13 * i))
        for i, (key, distance) in enumerate(DISTANCES.items())
    }
    if latents:
        metrics["latent_spectrum"] = measured(1.31, 1.42)
    made = Row(
        name=name,
        n_trials=512,
        score=score,
        score_interval=(0.875 * score, 1.175 * score),
        metrics=metrics,
        n_silent=0,
    )
    return replace(made, **changes)


def without_intervals(whole: Row) -> Row:
    metrics = {
        name: replace(m, interval=None, ratio_interval=None) for name, m in whole.metrics.items()
    }
    return replace(whole, score_interval=None, metrics=metrics)


def card(name: str = "pmd", **changes: object) -> Card:
    made = Card(
        name=name, n_units=97, bin_width_s=0.005, covariates={"velocity": {"size": 2, "unit": "mm/s"}},
        conditions={"target": {"size": 1, "unit": ""}}, n_latents=0, has_rates=False,
        splits={"train": {"n_trials": 510, "n_bins": 71400}, "test": {"n_trials": 145, "n_bins": 20300}},
        min_bins=120, max_bins=140, shards=[], source="https://example.org/pmd.npz",
        citation="Santhanam et al. 2006. https://doi.org/10.1038/nature04968", licence="CC-BY 4.0", schema_version=2,
        fingerprint="3f9a1c0d77e2b415", provenance={}, unit_names=[], warnings=["Silent units: 2 of 97."],
    )  # fmt: skip
    return replace(made, **changes)


def picture(width: float, height: float) -> bytes:
    """A PNG file of so many inches."""
    return png(Figure(figsize=(width, height)))


def report(**changes: object) -> Report:
    """Every part is there."""
    made = Report(
        title="reach_small on PMd",
        rows=[row(), row("PSTH + Poisson", 2.68, latents=False)],
        reference="145 test trials of pmd, 97 units, 5 ms bins",
        warnings=["Samples repeat training trials: novelty 0.02."],
        figures={
            "overview": picture(2, 1),
            "rasters": picture(1, 1),
            "population_counts": picture(1, 2),
        },
        captions={"rasters": "Three trials each."},
        tables={
            "Likelihood": [{"model": "LDNS", "NLL": 0.18234}, {"model": "PSTH", "NLL": 0.18239}]
        },
        datasets={"real": card(), "sampled": card("pmd by reach_small", warnings=[])},
        dataset_uris={"real": "s3://lab/pmd", "sampled": "/data/sampled"},
        settings={
            "autoencoder.width": 64,
            "autoencoder.bidirectional": True,
            "diffusion.conditions": ("target",),
        },
        changed=["diffusion.conditions"],
        command="python jobs/train.py reach_small diffusion.conditions=target",
        provenance={"Model": "models:/reach/7", "Seed": "0"},
    )
    return replace(made, **changes)


def bare(*rows: Row) -> Report:
    """Rows, and nothing that can be left out."""
    return Report("bare", rows or (row(),), "", (), {}, {}, {}, {}, {}, {}, (), "", {})


@dataclass
class Node:
    """An element of a page."""

    tag: str
    attributes: dict[str, str] = field(default_factory=dict)
    children: list[Node | str] = field(default_factory=list)

    def all(self, tag: str | None = None, **attributes: str) -> list[Node]:
        """Elements below it in order, with this tag and these attributes."""
        found = []
        for child in self.children:
            if isinstance(child, Node):
                wanted = {k.rstrip("_"): v for k, v in attributes.items()}
                if tag in (None, child.tag) and wanted.items() <= child.attributes.items():
                    found.append(child)
                found += child.all(tag, **attributes)
        return found

    def one(self, tag: str, **attributes: str) -> Node:
        (found,) = self.all(tag, **attributes)
        return found

    @property
    def text(self) -> str:
        """With white space as a browser shows it."""
        return " ".join(self._raw().split())

    def _raw(self) -> str:
        inner = "".join(c if isinstance(c, str) else c._raw() for c in self.children)
        return inner if self.tag in INLINE else f" {inner} "

    def cells(self) -> list[list[str]]:
        """Of a table: texts by line."""
        return [[c.text for c in line.children] for line in self.all("tr")]


class _Reader(HTMLParser):
    """Builds the tree, and fails where a tag is not closed in its place."""

    def __init__(self) -> None:
        super().__init__()
        self.open = [Node("")]

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        names = [name for name, _ in attrs]
        assert len(set(names)) == len(names), f"<{tag}> has an attribute twice: {names}"
        node = Node(tag, {name: value or "" for name, value in attrs})
        self.open[-1].children.append(node)
        if tag not in VOID:
            self.open.append(node)

    def handle_endtag(self, tag: str) -> None:
        assert self.open[-1].tag == tag, f"</{tag}> within <{self.open[-1].tag}>"
        self.open.pop()

    def handle_data(self, data: str) -> None:
        self.open[-1].children.append(data)


def read(page: str) -> Node:
    reader = _Reader()
    reader.feed(page)
    reader.close()
    assert [node.tag for node in reader.open] == [""], (
        f"not closed: {[n.tag for n in reader.open[1:]]}"
    )
    return reader.open[0]


def numbers_of(whole: Row) -> list[float]:
    """All numbers of a row."""
    found: list[float] = [whole.n_trials, whole.score, *(whole.score_interval or ()), whole.n_silent]  # fmt: skip
    for m in whole.metrics.values():
        found += [m.distance, m.floor, m.ratio, *(m.interval or ()), *(m.ratio_interval or ())]
    return found


SCORED_TITLES = [metric.title for metric in SCORED]
