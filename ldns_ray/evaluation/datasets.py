"""Sampled datasets of any model beside the recording they imitate: what jobs/evaluate.py does."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property

from ldns_ray import storage
from ldns_ray.config import Evaluation
from ldns_ray.data.batches import TrialSet
from ldns_ray.data.card import Card, check_split
from ldns_ray.data.shards import load_trialset, read_card
from ldns_ray.evaluation.assessment import BASELINES, REAL, TRAINING, assess
from ldns_ray.evaluation.decoding.conditional import (
    Conditional,
    decode_samples,
    smoothed_counts,
    with_rates,
)
from ldns_ray.evaluation.labels import split_labels
from ldns_ray.evaluation.plots.pictures import pictures
from ldns_ray.evaluation.reporting.results import Origin, Results, results
from ldns_ray.settings import did_you_mean, fingerprint, settings

VERSION = 2
"""Raise it when the same datasets and settings give other results."""


@dataclass(frozen=True)
class Comparison:
    """Sampled datasets, the real one they are compared with, and how.

    Raises ValueError for datasets whose units or bins differ, for a reference split that is missing or cannot be halved,
    and for a covariate or condition to decode that is unknown, or that samples do not have.
    """

    real_uri: str
    sampled: Mapping[str, str]
    """Their URIs by name; the first is the one that is judged and drawn."""
    settings: Evaluation
    decode: str = ""
    """A covariate or condition of the real trials that is decoded from the sampled ones too; empty: none."""

    @classmethod
    def of(
        cls, real_uri: str, words: Sequence[str], settings: Evaluation, decode: str = ""
    ) -> Comparison:
        """With datasets given as `NAME=URI`, or as `URI`, called by its folder."""
        named = [_named(word) for word in words]
        names = [name for name, _ in named]
        twice = sorted({name for name in names if names.count(name) > 1})
        if twice:
            raise ValueError(
                f"Two sampled datasets are called {', '.join(twice)}. Name them: NAME={named[0][1]}"
            )
        reserved = [name for name in names if name in (REAL, TRAINING, *BASELINES)]
        if reserved:
            raise ValueError(f"{reserved[0]!r} is taken. Name the samples otherwise.")
        return cls(real_uri, dict(named), settings, decode)

    def __post_init__(self) -> None:
        card = self.card
        for uri, other in zip(self.sampled.values(), self.cards, strict=True):
            if (other.n_units, other.bin_width_s) != (card.n_units, card.bin_width_s):
                raise ValueError(
                    f"{uri} has {other.n_units} units in bins of {other.bin_width_s:g} s, {self.real_uri} has "
                    f"{card.n_units} in bins of {card.bin_width_s:g} s. They cannot be compared."
                )
        check_split(card, self.settings.split)
        n_reference = card.splits[self.settings.split]["n_trials"]
        if n_reference < 2:
            raise ValueError(
                f"{self.real_uri} has {n_reference} {self.settings.split} trial, too few to halve for a noise floor. "
                "Choose another split."
            )
        if self.decode:
            self._check_decode()

    def _check_decode(self) -> None:
        """Before hours of work: whether there is something to decode, and something to decode it from."""
        card, name = self.card, self.decode
        known = (*card.covariates, *card.conditions)
        if name not in known:
            raise ValueError(
                f"{self.real_uri} has no covariate or condition {name!r}. "
                + (did_you_mean(name, known) if known else "It has none at all.")
            )
        if not self.has_train:
            raise ValueError(
                f"--decode needs train trials of {self.real_uri} beside the {self.settings.split} trials."
            )
        for uri, other in zip(self.sampled.values(), self.cards, strict=True):
            asked = other.covariates if name in card.covariates else other.conditions
            wanted = {name} if name in card.covariates else set(card.conditions)
            if not wanted & set(asked):
                raise ValueError(_unasked(uri, name, asked))

    @cached_property
    def card(self) -> Card:
        return read_card(self.real_uri)

    @cached_property
    def cards(self) -> list[Card]:
        return [read_card(uri) for uri in self.sampled.values()]

    @property
    def has_train(self) -> bool:
        """Whether there are training trials, for baselines, novelty and decoders."""
        return "train" in self.card.splits and self.settings.split != "train"

    @property
    def decodes_smoothed_counts(self) -> bool:
        """Whether a covariate is decoded from smoothed counts, since some dataset has no rates."""
        with_rates_ = all(card.has_rates for card in (self.card, *self.cards))
        return self.decode in self.card.covariates and not with_rates_

    @cached_property
    def fingerprint(self) -> str:
        """What the comparison is found by."""
        return fingerprint(
            "comparison", VERSION, self.card.fingerprint, [card.fingerprint for card in self.cards],
            list(self.sampled), self.settings, self.decode,
        )  # fmt: skip

    def run(self) -> Results:
        """Load the datasets and compare them."""
        card, e = self.card, self.settings
        columns = [f"condition:{name}" for name in card.conditions]
        reference = load_trialset(self.real_uri, e.split, columns)
        train = load_trialset(self.real_uri, "train", columns) if self.has_train else None
        sampled = {name: load_trialset(uri, None, []) for name, uri in self.sampled.items()}
        assessment = assess(train, reference, sampled, e)
        decoded = {}
        if self.decode and train is not None:
            decoded = {
                name: self._decoded(train, reference, uri, other)
                for (name, uri), other in zip(self.sampled.items(), self.cards, strict=True)
            }
        first = decoded.get(next(iter(sampled)))
        figures = pictures(assessment, reference, sampled, first, card)
        return results(assessment, figures, decoded, e, len(reference), card.unit_names)

    def origin(self, command: str) -> Origin:
        """For the report; `command` makes the comparison again."""
        first = self.cards[0]
        cards = {"real": (self.card, self.real_uri)}
        cards |= {
            name: (card, uri)
            for (name, uri), card in zip(self.sampled.items(), self.cards, strict=True)
        }
        return Origin(
            title=f"{' and '.join(self.sampled)} beside {self.card.name}",
            cards=cards,
            command=command,
            settings=settings(self.settings, "evaluation."),
            provenance={
                k: str(v) for k, v in first.provenance.items() if isinstance(v, str | int | float)
            },
        )

    def _decoded(self, train: TrialSet, reference: TrialSet, uri: str, card: Card) -> Conditional:
        name = self.decode
        if name in self.card.covariates:
            return self._decoded_covariate(uri)
        shared = [c for c in self.card.conditions if c in card.conditions]
        decoded = decode_samples(
            train, reference, load_trialset(uri, None, [f"condition:{c}" for c in shared]),
            conditions=shared, label=name, labels=split_labels(train, reference, name), from_s=self.settings.decode_from_s,
        )  # fmt: skip
        if not decoded:
            raise ValueError(_unasked(uri, name, card.conditions))
        return decoded

    def _decoded_covariate(self, uri: str) -> Conditional:
        rates = [] if self.decodes_smoothed_counts else ["rates"]
        places: Sequence[tuple[str, str | None]] = (
            (self.real_uri, "train"), (self.real_uri, self.settings.split), (uri, None)
        )  # fmt: skip
        sets = [
            load_trialset(place, split, [f"covariate:{self.decode}", *rates])
            for place, split in places
        ]
        if not rates:
            sets = [with_rates(trials, smoothed_counts) for trials in sets]
        return decode_samples(*sets, covariates=[self.decode])


def _unasked(uri: str, name: str, there: Iterable[str]) -> str:
    """What to say of samples that cannot be held against what they were asked for."""
    return (
        f"{uri} does not say which {name} its trials were sampled for; it has: {', '.join(there) or 'nothing of the kind'}. "
        "Sample with it, or leave --decode out."
    )


def _named(word: str) -> tuple[str, str]:
    """`NAME=URI` or `URI`; an equals sign in a path or a URI's query makes no name."""
    name, sign, uri = word.partition("=")
    if not sign or set(name) & set("/?:"):
        return storage.name_of(word), word
    if not (name.strip() and uri):
        raise ValueError(f"Sampled datasets are given as NAME=DATASET or DATASET, got {word!r}.")
    return name.strip(), uri
