"""The trained whole: encode spikes, decode latents, sample new trials, save and load.

Shapes: B trials of a block, T bins, N units, D latents. Trials are lists of (T_i, channels) arrays.
"""

import json
import os
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Tensor

from ldns_ray.checks import check_seed
from ldns_ray.models import blocks
from ldns_ray.models.autoencoder import Autoencoder
from ldns_ray.models.blocks import BLOCK, Arrays
from ldns_ray.models.conditioning import Conditioning
from ldns_ray.models.denoiser import Denoiser, Kernels
from ldns_ray.models.diffusion import Sampler, linear_schedule, sampler_named
from ldns_ray.models.guidance import check_guidance, noise_predictor
from ldns_ray.models.observation import (
    LATENT_NOISE,
    SpikeHistory,
    keyed_generator,
    sample_poisson,
)
from ldns_ray.models.requests import Requests, TrainingDraws, resolve

FORMAT = 1


class Samples(NamedTuple):
    """Sampled trials: spikes (T_i, N) uint8, rates (T_i, N) in counts per bin, latents (T_i, D)."""

    spikes: list[np.ndarray]
    rates: list[np.ndarray]
    latents: list[np.ndarray]
    conditions: dict[str, np.ndarray]
    """Per-trial conditions (n, C) the trials were sampled for, by name; without `length`."""
    covariates: dict[str, list[np.ndarray]]
    """Per-bin covariates, a list of (T_i, K), by name."""


@dataclass(frozen=True)
class Noise:
    """The linear noise schedule."""

    n_steps: int = 1000
    beta_start: float = 1e-4
    beta_end: float = 0.02


@dataclass
class LDNS:
    """Latent diffusion model of neural spiking data (Kapoor, Schulz et al. 2024, arXiv 2407.08751)."""

    autoencoder: Autoencoder
    autoencoder_settings: dict[str, Any]
    denoiser: Denoiser
    denoiser_settings: dict[str, Any]
    noise: Noise
    latent_mean_D: np.ndarray
    latent_std_D: np.ndarray
    conditioning: Conditioning
    training: TrainingDraws
    bin_width_s: float
    unit_names: list[str]
    observation: SpikeHistory | None = None
    latent_bound_D: np.ndarray | None = None
    """Largest absolute standardised training latents: samples are kept within them. None: unbounded."""
    provenance: dict[str, Any] = field(default_factory=dict)
    trained_bins: int | None = None
    """Bins of the longest trial in the denoiser's training. None: of the longest in `training`."""

    def __post_init__(self) -> None:
        self.autoencoder.eval()
        self.denoiser.eval()

    @property
    def device(self) -> torch.device:
        return next(self.denoiser.parameters()).device

    def to(self, device: torch.device | str) -> "LDNS":
        self.autoencoder.to(device)
        self.denoiser.to(device)
        return self

    # -----------------------------------------------------------------------------------------

    def encode(self, spikes: Arrays) -> list[np.ndarray]:
        """Latents (T_i, D) of spike counts, a list of (T_i, N) or an array (S, T, N)."""
        return blocks.encode(self.autoencoder, spikes)

    def decode(self, latents: Arrays) -> list[np.ndarray]:
        """Firing rates (T_i, N), in counts per bin, of latents, a list of (T_i, D) or an array."""
        return blocks.decode(self.autoencoder, latents)

    def observe(
        self, rates: Sequence[np.ndarray], *, seed: int, first_trial: int = 0
    ) -> list[np.ndarray]:
        """Spike counts (T_i, N) uint8 drawn for rates (T_i, N)."""
        if self.observation is None:
            return sample_poisson(rates, seed=seed, first_trial=first_trial)
        return self.observation.sample(rates, seed=seed, first_trial=first_trial)

    @torch.no_grad()
    def sample(
        self,
        n: int,
        *,
        n_bins: int | Sequence[int] | np.ndarray | None = None,
        condition: Mapping[str, np.ndarray] | None = None,
        covariates: Mapping[str, Arrays] | None = None,
        sampler: str = "dpmpp_2m_sde",
        n_steps: int = 20,
        guidance: float = 1.0,
        seed: int = 0,
        first_trial: int = 0,
    ) -> Samples:
        """Sample `n` new trials.

        Args:
            n: trials.
            n_bins: bins of each trial, or of all; drawn from the training trials if not given.
            condition: by name, one row (n, C) per trial.
            covariates: by name, n arrays (T_i, K). Without condition and covariates, those of training
                trials are drawn, together with the length; with one, the other is needed where the model has it.
            sampler: `ddpm` (every step of the schedule), or in `n_steps` steps `dpmpp_2m_sde`, `dpmpp_2m` or `ddim`.
            guidance: strength of the conditions and covariates: 1 as trained, more to exaggerate them, 0 to
                leave them out (Ho & Salimans 2022). Other than 1, it needs a model trained with
                `diffusion.condition_dropout`, and twice the time.
            seed, first_trial: trial `first_trial + i` of a seed is drawn from its own random numbers.

        Raises ValueError for conditions and covariates that are unknown, missing, wrongly sized or not finite,
        and for a guidance that the model was not trained for.
        """
        draw_latents = self.check_sampling(sampler, n_steps, guidance)
        requests = self.requests(
            n, n_bins, condition, covariates, seed=seed, first_trial=first_trial
        )
        out = Samples([], [], [], requests.conditions, requests.covariates)
        kernels: dict[int, Kernels] = {}
        start = 0
        while start < n:
            stop = min(n, start + BLOCK - (first_trial + start) % BLOCK)
            latents = self._sample_latents(
                requests.rows(start, stop), draw_latents, n_steps, guidance, seed, first_trial + start, kernels
            )  # fmt: skip
            rates = self.decode(latents)
            out.spikes.extend(self.observe(rates, seed=seed, first_trial=first_trial + start))
            out.rates.extend(rates)
            out.latents.extend(latents)
            start = stop
        return out

    def check_sampling(self, sampler: str, n_steps: int, guidance: float) -> Sampler:
        """The sampler of this name. Raises ValueError for arguments that `sample` does not take."""
        draw_latents = sampler_named(sampler)
        if n_steps < 1:
            raise ValueError(f"n_steps must be at least 1, got {n_steps}.")
        check_guidance(guidance, self.denoiser, self.conditioning)
        return draw_latents

    def requests(
        self,
        n: int,
        n_bins: int | Sequence[int] | np.ndarray | None = None,
        condition: Mapping[str, np.ndarray] | None = None,
        covariates: Mapping[str, Arrays] | None = None,
        *,
        seed: int = 0,
        first_trial: int = 0,
    ) -> Requests:
        """What `sample` samples for, given the same arguments: checked, and drawn where nothing is given."""
        if n < 0:
            raise ValueError(f"n must be non-negative, got {n}.")
        check_seed("seed", seed)
        check_seed("first_trial", first_trial)
        return resolve(
            n, n_bins, condition, covariates, conditioning=self.conditioning, training=self.training,
            seed=seed, first_trial=first_trial,
        )  # fmt: skip

    def _sample_latents(
        self, requests: Requests, draw_latents: Sampler, n_steps: int, guidance: float, seed: int,
        first_trial: int, kernels: dict[int, Kernels],
    ) -> list[np.ndarray]:  # fmt: skip
        lengths = requests.n_bins
        longest, n_latents = int(lengths.max()), len(self.latent_mean_D)
        generators = [
            keyed_generator(seed, first_trial + i, LATENT_NOISE) for i in range(len(lengths))
        ]

        def draw_noise() -> Tensor:
            noise = np.zeros((len(lengths), longest, n_latents), np.float32)
            for i, (generator, length) in enumerate(zip(generators, lengths, strict=True)):
                noise[i, :length] = generator.standard_normal((length, n_latents), dtype=np.float32)
            return torch.from_numpy(noise).to(self.device)

        mask_BT = None
        if (lengths != longest).any():
            mask_BT = torch.from_numpy(np.arange(longest) < lengths[:, None]).to(self.device)
        given = {k: torch.tensor(v, device=self.device) for k, v in requests.conditions.items()}
        # The network cannot follow lengths that it was never told: to it, longer trials are as long as the
        # longest in training, shorter ones as short as the shortest.
        n_trained = self.trained_bins or int(self.training.n_bins_S.max())
        told_B = lengths.clip(min(self.training.n_bins_S.min(), n_trained), n_trained)
        condition_BC = self.conditioning.condition(torch.from_numpy(told_B).to(self.device), given)
        covariates_BTK = self.conditioning.covariate(
            {k: blocks.pad(v, self.device)[0] for k, v in requests.covariates.items()}
        )
        if longest not in kernels:
            kernels.clear()
            kernels[longest] = self.denoiser.kernels(longest, n_trained)

        predict_noise = noise_predictor(
            self.denoiser, self.conditioning, guidance, condition_BC=condition_BC,
            covariates_BTK=covariates_BTK, mask_BT=mask_BT, kernels=kernels[longest],
            n_trained=n_trained if longest > n_trained else None,
        )  # fmt: skip
        bound_D = None
        if self.latent_bound_D is not None:
            bound_D = torch.tensor(self.latent_bound_D, dtype=torch.float32, device=self.device)
        schedule = linear_schedule(self.noise.n_steps, self.noise.beta_start, self.noise.beta_end)
        z_BTD = draw_latents(predict_noise, schedule, draw_noise, n_steps, bound_D)
        z = z_BTD.cpu().numpy() * self.latent_std_D + self.latent_mean_D
        return [z[i, :length].astype(np.float32) for i, length in enumerate(lengths)]

    # -----------------------------------------------------------------------------------------

    def save(self, uri: str | os.PathLike[str]) -> None:
        """Write `model.safetensors`, then `config.json`, under a folder or URI."""
        from safetensors.torch import save

        from ldns_ray import storage
        from ldns_ray.redaction import redacted

        tensors = {f"autoencoder.{k}": v for k, v in self.autoencoder.state_dict().items()}
        tensors |= {f"denoiser.{k}": v for k, v in self.denoiser.state_dict().items()}
        c = self.conditioning
        arrays = {
            "latent_mean": self.latent_mean_D, "latent_std": self.latent_std_D,
            "condition_mean": c.condition_mean_C, "condition_std": c.condition_std_C,
            "covariate_mean": c.covariate_mean_K, "covariate_std": c.covariate_std_K,
            "training.n_bins": self.training.n_bins_S,
        }  # fmt: skip
        arrays |= {f"training.condition.{k}": v for k, v in self.training.conditions.items()}
        arrays |= {f"training.covariate.{k}": v for k, v in self.training.covariates.items()}
        if self.latent_bound_D is not None:
            arrays["latent_bound"] = self.latent_bound_D
        if self.observation is not None:
            o = self.observation
            arrays |= {
                "history": o.history_NJ,
                "history_gain": o.gain_N,
                "history_offset": o.offset_N,
            }
        tensors |= {k: torch.from_numpy(np.array(v, order="C")) for k, v in arrays.items()}
        config = {
            "format": FORMAT,
            "autoencoder": self.autoencoder_settings,
            "denoiser": self.denoiser_settings,
            "noise": asdict(self.noise),
            "conditions": c.conditions,
            "covariates": c.covariates,
            "bin_width_s": self.bin_width_s,
            "unit_names": self.unit_names,
            "count_cap": None if self.observation is None else self.observation.count_cap,
            "provenance": redacted(self.provenance),
            "trained_bins": self.trained_bins,
        }
        tensors = {k: v.detach().cpu().contiguous() for k, v in tensors.items()}
        storage.write_bytes(storage.join(uri, "model.safetensors"), save(tensors))
        storage.write_bytes(storage.join(uri, "config.json"), json.dumps(config, indent=1).encode())

    @classmethod
    def load(cls, uri: str | os.PathLike[str]) -> "LDNS":
        """Read what `save` wrote: two files of the folder and no other, of which nothing is unpickled.

        Raises FileNotFoundError, and ValueError for what is damaged, holds something else, or lies elsewhere.
        """
        from safetensors import SafetensorError
        from safetensors.torch import load

        from ldns_ray import storage

        if not storage.exists(storage.join(uri, "config.json")):
            raise FileNotFoundError(
                f"No LDNS model under {uri}. Train one with: python jobs/train.py --help"
            )
        storage.refuse_links_out(uri, ["config.json", "model.safetensors"])
        try:
            config = json.loads(storage.read_bytes(storage.join(uri, "config.json")))
            tensors = load(storage.read_bytes(storage.join(uri, "model.safetensors")))
            return cls._restore(config, tensors)
        # What others wrote in its place makes parsers and constructors raise nearly anything.
        except (SafetensorError, ValueError, LookupError, RuntimeError, TypeError, AttributeError) as error:  # fmt: skip
            raise ValueError(f"The LDNS model under {uri} cannot be read: {error}.") from error

    @classmethod
    def _restore(cls, config: dict[str, Any], tensors: dict[str, Tensor]) -> "LDNS":
        if config["format"] != FORMAT:
            raise ValueError(
                f"The model has format {config['format']}, this version reads {FORMAT}."
            )

        def part(prefix: str) -> dict[str, Tensor]:
            return {k.removeprefix(prefix): v for k, v in tensors.items() if k.startswith(prefix)}

        def arrays(prefix: str) -> dict[str, np.ndarray]:
            return {k: v.numpy() for k, v in part(prefix).items()}

        def array(name: str) -> np.ndarray:
            return tensors[name].numpy()

        autoencoder = Autoencoder(**config["autoencoder"])
        autoencoder.load_state_dict(part("autoencoder."))
        denoiser = Denoiser(**config["denoiser"])
        denoiser.load_state_dict(part("denoiser."))
        observation = None
        if config["count_cap"] is not None:
            observation = SpikeHistory(
                array("history"),
                array("history_gain"),
                array("history_offset"),
                config["count_cap"],
            )
        conditioning = Conditioning(
            dict(config["conditions"]), dict(config["covariates"]), array("condition_mean"), array("condition_std"),
            array("covariate_mean"), array("covariate_std"),
        )  # fmt: skip
        training = TrainingDraws(
            array("training.n_bins"), arrays("training.condition."), arrays("training.covariate.")
        )
        return cls(
            autoencoder, config["autoencoder"], denoiser, config["denoiser"], Noise(**config["noise"]),
            array("latent_mean"), array("latent_std"), conditioning, training,
            config["bin_width_s"], config["unit_names"], observation,
            array("latent_bound") if "latent_bound" in tensors else None, config["provenance"],
            config.get("trained_bins"),
        )  # fmt: skip
