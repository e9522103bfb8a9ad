"""How close samples of a diffusion model are to the data while it still trains."""

from dataclasses import dataclass
from functools import cached_property

from torch import nn

from ldns_ray import checks
from ldns_ray.checks import DISTINCT, Rule, at_least
from ldns_ray.config import SamplerName
from ldns_ray.data.card import Card
from ldns_ray.data.shards import load_trialset
from ldns_ray.evaluation.score import realism
from ldns_ray.evaluation.statistics import TrialStatistics, summarise
from ldns_ray.models.denoiser import Denoiser
from ldns_ray.parts import Parts
from ldns_ray.training.networks import denoiser_settings

SPLIT = "val"
"""The split that samples are compared with."""
EPOCHS = Rule("numbers of epochs, counted from 1", lambda epochs: all(e >= 1 for e in epochs))


@dataclass(frozen=True)
class Probe:
    """After which epochs of the diffusion model's training samples are drawn and scored, and how they are drawn."""

    epochs: tuple[int, ...]
    n_trials: int = 128
    sampler: SamplerName = "dpmpp_2m_sde"
    n_steps: int = 10

    def __post_init__(self) -> None:
        checks.check(
            self, "probe.", epochs=(EPOCHS, DISTINCT), n_trials=at_least(1), n_steps=at_least(1)
        )

    def check(self, card: Card) -> None:
        """Raise ValueError for a dataset with too few validation trials."""
        n = card.splits[SPLIT]["n_trials"]
        if n < 2:
            raise ValueError(
                f"Scores during training need at least 2 {SPLIT} trials, got {n}. Ingest the dataset with more."
            )


@dataclass(frozen=True)
class SampleScore:
    """`realism` of trials sampled from a diffusion model as it is, beside the validation trials.

    Spikes are drawn from a Poisson distribution, whatever observation model the experiment has: that one is fitted
    later, from other settings, and the score is to follow from what the diffusion stage is made of alone. For the same
    reason it takes its seed from the experiment, and nothing from the settings of sampling and evaluation. So it
    differs from the score of the evaluation; scores of one dataset's models at the same sizes can be compared.

    It travels to workers; what it needs is read where it is first called, and kept for the next call.
    """

    probe: Probe
    parts: Parts

    @property
    def epochs(self) -> tuple[int, ...]:
        return self.probe.epochs

    @cached_property
    def reference(self) -> TrialStatistics:
        """The validation trials."""
        return summarise(load_trialset(self.parts.data_uri, SPLIT, []).spikes_list())

    def __call__(self, model: nn.Module) -> float:
        """The score of a denoiser, in evaluation mode, on the device that it is on. Always finite.

        Raises ValueError where firing rates are no numbers that spikes can be drawn for.
        """
        assert isinstance(model, Denoiser)
        e, p = self.parts.experiment, self.probe
        settings = denoiser_settings(e.diffusion, e.autoencoder.n_latents, self.parts.conditioning)
        ldns = self.parts.model(model, settings)
        ldns.to(ldns.device)
        sampled = ldns.sample(p.n_trials, sampler=p.sampler, n_steps=p.n_steps, seed=e.seed)
        return realism(self.reference, sampled.spikes, ldns.bin_width_s, seed=e.seed).score
