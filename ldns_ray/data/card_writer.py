"""A dataset's card, gathered from its trials as they come."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import Any

from ldns_ray.data.card import Card
from ldns_ray.data.facts import Facts
from ldns_ray.data.schema import (
    SCHEMA_VERSION,
    SPLITS,
    Summary,
    Trial,
    TrialChecker,
    check_bin_width,
    check_text,
    summarise,
    validate_trial,
)
from ldns_ray.redaction import redacted, without_secrets


class CardWriter:
    """Checks trials, and what someone says of them, and makes the card of a dataset of both.

    covariate_units, condition_units: name -> physical unit. texts: the card's name, source, citation, licence.
    unit_names: of the units in order; none for unit000, unit001, …
    Raises ValueError for what is wrong by itself at once, and with the first trial for what does not fit it.
    """

    def __init__(
        self,
        *,
        bin_width_s: float,
        unit_names: Sequence[str] | None,
        covariate_units: Mapping[str, str] | None,
        condition_units: Mapping[str, str] | None,
        texts: Mapping[str, str],
        provenance: Mapping[str, Any] | None,
    ) -> None:
        self._bin_width_s = check_bin_width(bin_width_s)
        self._texts = {
            field: without_secrets(check_text(text, field)) for field, text in texts.items()
        }
        self._provenance = redacted(_as_json(provenance or {}))
        self._unit_names = [
            check_text(name, f"unit_names[{i}]") for i, name in enumerate(unit_names or ())
        ]
        self._given = {"covariate": covariate_units or {}, "condition": condition_units or {}}
        self._units: dict[str, str] = {}
        self._checker, self._facts = TrialChecker(), Facts()

    def add(self, trial: Trial) -> Trial:
        """The trial, validated. Raises ValueError where it is invalid, or does not fit those before it."""
        checked = validate_trial(trial)
        self.add_summary(summarise(checked))
        return checked

    def add_summary(self, trial: Summary) -> None:
        """Take a validated trial that lies in a shard already. Raises ValueError where it does not fit those before it."""
        self._checker.add(trial)
        if len(self._checker) == 1:
            self._label()
        self._facts.add(trial)

    def fingerprint(self) -> str:
        """Of all trials so far."""
        if not len(self._checker):
            raise ValueError(f"dataset {self._texts['name']!r} needs at least 1 trial, got none.")
        return self._checker.fingerprint(self._bin_width_s, self._unit_names, self._units)

    def card(self, shards: list[dict[str, Any]]) -> Card:
        """The card of the trials so far, which lie in these shards."""
        checker = self._checker
        return Card(
            n_units=checker.n_units,
            bin_width_s=self._bin_width_s,
            covariates=self._described("covariate", checker.covariate_sizes),
            conditions=self._described("condition", checker.condition_sizes),
            n_latents=checker.n_latents,
            has_rates=checker.has_rates,
            splits={split: checker.splits[split] for split in SPLITS if split in checker.splits},
            min_bins=checker.min_bins,
            max_bins=checker.max_bins,
            shards=shards,
            schema_version=SCHEMA_VERSION,
            fingerprint=self.fingerprint(),
            provenance=self._provenance,
            unit_names=self._unit_names,
            warnings=self._facts.warnings(self._bin_width_s, self._unit_names),
            **self._texts,
        )

    def _label(self) -> None:
        """Names of units, and physical units, of what the first trial has."""
        n_units = self._checker.n_units
        self._unit_names = self._unit_names or [f"unit{i:03d}" for i in range(n_units)]
        if len(self._unit_names) != n_units:
            raise ValueError(f"unit_names must name {n_units} units, got {len(self._unit_names)}.")
        for kind, sizes in (
            ("covariate", self._checker.covariate_sizes),
            ("condition", self._checker.condition_sizes),
        ):
            given = self._given[kind]
            unknown = sorted(set(given) - set(sizes))
            if unknown:
                there = ", ".join(sorted(sizes)) or "none"
                raise ValueError(f"no {kind} {unknown[0]!r} to give a unit to; there are: {there}.")
            for name in sizes:
                unit = check_text(given.get(name, ""), f"unit of {kind} {name!r}")
                self._units[f"{kind}:{name}"] = unit

    def _described(self, kind: str, sizes: Mapping[str, int]) -> dict[str, dict[str, Any]]:
        return {
            name: {"size": size, "unit": self._units[f"{kind}:{name}"]}
            for name, size in sorted(sizes.items())
        }


def _as_json(provenance: Mapping[str, Any]) -> dict[str, Any]:
    """As it will be read from the card. Raises ValueError for what JSON cannot hold."""
    try:
        return dict(json.loads(json.dumps(dict(provenance))))
    except (TypeError, ValueError, RecursionError) as error:
        raise ValueError(
            f"provenance must be numbers, strings, lists and objects by name: {error}."
        ) from None
