"""A usable model from the checkpoints of the paper's authors: networks, latent statistics, what to sample for.

Shapes: S training trials, N units, D latents.
"""

import contextlib
import hashlib
from collections.abc import Iterator, Mapping
from typing import Any, NamedTuple

import numpy as np

from ldns_ray import storage
from ldns_ray.archives import UnreadableError, read_npz
from ldns_ray.data.batches import TrialSet
from ldns_ray.data.card import Card
from ldns_ray.data.moments import latent_statistics
from ldns_ray.data.shards import load_trialset, read_card
from ldns_ray.models.autoencoder import Autoencoder
from ldns_ray.models.checkpoints import read_checkpoint
from ldns_ray.models.conditioning import LENGTH, Conditioning
from ldns_ray.models.denoiser import Denoiser
from ldns_ray.models.interop import Imported, denoiser_channels, import_network
from ldns_ray.models.ldns import LDNS, Noise
from ldns_ray.models.requests import TrainingDraws
from ldns_ray.revision import commit
from ldns_ray.stages import check_units, encoded, statistics_split

Sizes = Mapping[str, int]
"""Entries of conditions, or channels of covariates, by name."""


class LatentStatistics(NamedTuple):
    """Mean and standard deviation (D,) of the training latents, and the training trials' bins (S,), if known."""

    mean_D: np.ndarray
    std_D: np.ndarray
    n_bins_S: np.ndarray | None = None


def import_model(
    autoencoder: str,
    denoiser: str,
    *,
    conditions: Sizes,
    covariates: Sizes,
    data: str | None = None,
    statistics: str | None = None,
    bin_width_s: float | None = None,
    noise: Noise,
) -> LDNS:
    """The authors' autoencoder and denoiser as one model, whose inputs are what theirs are.

    Args:
        autoencoder, denoiser: checkpoint files, see `read_checkpoint`.
        conditions, covariates: the denoiser's inputs, in order. They go into the network as they are given, not
            standardised: the reach angle as (cos, sin), hand velocity in m/s.
        data: a dataset. Its training trials give what is sampled for by default, the bin width, the unit names
            and, without `statistics`, the latents' mean and standard deviation.
        statistics: a `.npz` file, see `read_statistics`.
        bin_width_s: seconds; needed without `data`.
        noise: the noise schedule of the denoiser's training.

    Samples are not bounded and spikes are Poisson: the authors store no filters of spike history. Raises
    FileNotFoundError, and ValueError for files that are no such networks or do not fit each other.
    """
    _check_noise(noise)
    _check_names(conditions, covariates)
    encoder, predictor = read_networks(autoencoder, denoiser, conditions, covariates)
    network = encoder.model
    assert isinstance(network, Autoencoder)
    assert isinstance(predictor.model, Denoiser)
    z = None if statistics is None else read_statistics(statistics, network.n_latents)
    files = {"autoencoder": autoencoder, "denoiser": denoiser}
    provenance: dict[str, Any] = {
        "imported": {
            name: {"file": path, "sha256": hashlib.sha256(storage.read_bytes(path)).hexdigest()}
            for name, path in files.items()
        },
        "latent_statistics": statistics or data,
        "commit": commit(),
    }
    if data is None:
        if z is None:
            raise ValueError(
                "The mean and standard deviation of the latents are not in the checkpoints. Give a dataset "
                "(--data) or a file (--latent-statistics)."
            )
        if bin_width_s is None:
            raise ValueError(
                "The bin width is not in the checkpoints. Give it in milliseconds (--bin-ms)."
            )
        unit_names = [f"unit{i:03d}" for i in range(network.n_units)]
        training = TrainingDraws(_training_bins(z, predictor, denoiser), {}, {})
    else:
        card = read_card(data)
        check_units(network, card, data)
        bin_width_s, unit_names = _bin_width(card, data, bin_width_s), list(card.unit_names)
        trials = _training_trials(card, data, conditions, covariates)
        z = z or _statistics(network, card, data, trials)
        training = TrainingDraws(trials.n_bins_S, dict(trials.conditions), dict(trials.covariates))
        provenance |= {"dataset": card.fingerprint, "dataset_name": card.name}
    return LDNS(
        network, encoder.settings, predictor.model, predictor.settings, noise, z.mean_D, z.std_D,
        as_given(conditions, covariates), training, bin_width_s, unit_names, provenance=provenance,
        trained_bins=predictor.trained_bins or None,
    )  # fmt: skip


def as_given(conditions: Sizes, covariates: Sizes) -> Conditioning:
    """Conditioning that standardises nothing: the authors' networks take inputs as they are."""
    n_conditions, n_covariates = sum(conditions.values()), sum(covariates.values())
    return Conditioning(
        dict(conditions), dict(covariates),
        np.zeros(n_conditions, np.float32), np.ones(n_conditions, np.float32),
        np.zeros(n_covariates, np.float32), np.ones(n_covariates, np.float32),
    )  # fmt: skip


def read_networks(
    autoencoder: str, denoiser: str, conditions: Sizes, covariates: Sizes
) -> tuple[Imported, Imported]:
    """Autoencoder and denoiser. Raises ValueError where they, or the inputs named, do not fit each other."""
    with _naming(autoencoder):
        encoder = import_network(read_checkpoint(autoencoder))
    if not isinstance(encoder.model, Autoencoder):
        raise ValueError(
            f"The first checkpoint must be the autoencoder, got {autoencoder}, a denoiser. Swap the two."
        )
    theirs = read_checkpoint(denoiser)
    with _naming(denoiser):
        n_channels = denoiser_channels(theirs)
    n_latents, n_named = encoder.model.n_latents, sum(covariates.values())
    if n_channels < n_latents:
        raise ValueError(
            f"{denoiser} must have the {n_latents} latents of {autoencoder}, got {n_channels} channels. "
            "Give the two checkpoints of one model."
        )
    if n_channels != n_latents + n_named:
        raise ValueError(
            f"{denoiser} has {n_channels} channels, {n_latents} of them the latents of {autoencoder}: covariates must "
            f"have {n_channels - n_latents}, got {n_named} ({_listed(covariates)}). Name them as in --covariates "
            "velocity:2, or give the two checkpoints of one model."
        )
    with _naming(denoiser):
        predictor = import_network(theirs, n_covariates=n_named)
    n_conditions, n_named = predictor.settings["n_conditions"], sum(conditions.values())
    if n_conditions != n_named:
        raise ValueError(
            f"{denoiser} takes {n_conditions} condition entries, got {n_named} ({_listed(conditions)}). "
            "Name them as in --conditions angle:2."
        )
    return encoder, predictor


def read_statistics(path: str, n_latents: int) -> LatentStatistics:
    """Latent statistics from a `.npz` file: `mean` and `std` of D numbers each, optionally `n_bins` (S,).

    `n_bins` are the lengths of training trials, which samples have by default. Raises FileNotFoundError, and
    ValueError naming the file and the array.
    """
    if not storage.exists(path):
        raise FileNotFoundError(
            f"No file {path}. Save one with numpy.savez({path!r}, mean=…, std=…)."
        )
    try:
        arrays = read_npz(storage.read_bytes(path))
    except (UnreadableError, OSError) as error:
        raise ValueError(
            f"{path} is no .npz file of numbers: {error}. Save one with numpy.savez(PATH, mean=…, std=…)."
        ) from error
    for name in ("mean", "std", *arrays):
        if name not in arrays or name not in ("mean", "std", "n_bins"):
            raise ValueError(
                f"{path} must hold the arrays mean and std, and may hold n_bins, got {', '.join(arrays) or 'none'}."
            )
        array = arrays[name]
        if array.dtype.kind not in ("iu" if name == "n_bins" else "iuf"):
            raise ValueError(f"{path}: {name} must be numbers, got {array.dtype}.")
        if name != "n_bins" and array.size != n_latents:
            raise ValueError(
                f"{path}: {name} must have {n_latents} numbers, one per latent, got {array.shape}."
            )
    mean_D, std_D = (arrays[name].reshape(-1).astype(np.float32) for name in ("mean", "std"))
    if not (np.isfinite(mean_D).all() and np.isfinite(std_D).all() and (std_D > 0).all()):
        raise ValueError(f"{path}: mean and std must be finite, and std positive, got {std_D}.")
    n_bins_S = arrays.get("n_bins")
    if n_bins_S is not None and (n_bins_S.ndim != 1 or not n_bins_S.size or n_bins_S.min() < 1):
        raise ValueError(f"{path}: n_bins must be a list of lengths of at least 1, got {n_bins_S}.")
    return LatentStatistics(mean_D, std_D, None if n_bins_S is None else n_bins_S.astype(np.int64))


def _statistics(network: Autoencoder, card: Card, data: str, trials: TrialSet) -> LatentStatistics:
    """Of the latents of the training trials, as those of a model trained here."""
    for name, values in trials.covariates.items():
        if values.shape[1] == 1 and set(np.unique(values)) == {0, 1}:
            raise ValueError(
                f"{data}: the covariate {name!r} is 0 or 1, as the mask of trials in a window: the latents' statistics "
                "must not count what is outside. Give them as a file (--latent-statistics)."
            )
    z = latent_statistics(encoded(network, data, statistics_split(card), columns=[]))
    network.to("cpu")
    return LatentStatistics(np.array(z["mean"], np.float32), np.array(z["std"], np.float32))


def _training_trials(card: Card, data: str, conditions: Sizes, covariates: Sizes) -> TrialSet:
    """The training trials with the inputs named. Raises ValueError where the dataset has others."""
    for kind, named, there in (
        ("condition", conditions, card.conditions), ("covariate", covariates, card.covariates),
    ):  # fmt: skip
        for name, size in named.items():
            if name not in there or there[name]["size"] != size:
                raise ValueError(
                    f"{data} has no {kind} {name!r} of size {size}; it has: "
                    f"{_listed({n: x['size'] for n, x in there.items()})}. Ingest the recording with it, or leave out "
                    "--data and give --latent-statistics and --bin-ms."
                )
            if there[name]["unit"] == "mm/s":
                raise ValueError(
                    f"{data}: the {kind} {name!r} must be in m/s, which the authors' models take, got mm/s. "
                    "Ingest the recording with it divided by 1000."
                )
    columns = [f"condition:{name}" for name in conditions]
    columns += [f"covariate:{name}" for name in covariates]
    return load_trialset(data, statistics_split(card), columns)


def _training_bins(z: LatentStatistics, predictor: Imported, denoiser: str) -> np.ndarray:
    """The lengths that samples have by default: as given, else the one for which the denoiser's C is stored."""
    if z.n_bins_S is not None:
        return z.n_bins_S
    if predictor.trained_bins < 1:
        raise ValueError(
            f"{denoiser} does not tell how long the training trials were (its l_kernel is 0). "
            "Add their lengths to the file of --latent-statistics, as n_bins."
        )
    return np.array([predictor.trained_bins], np.int64)


def _bin_width(card: Card, data: str, bin_width_s: float | None) -> float:
    if bin_width_s is not None and not np.isclose(bin_width_s, card.bin_width_s, rtol=1e-6):
        raise ValueError(
            f"{data} has bins of {1000 * card.bin_width_s:g} ms, got --bin-ms {1000 * bin_width_s:g}. "
            "Leave --bin-ms out, or give the dataset of that width."
        )
    return card.bin_width_s


def _check_noise(noise: Noise) -> None:
    if noise.n_steps < 2:
        raise ValueError(f"--n-steps must be at least 2, got {noise.n_steps}.")
    if not 0 < noise.beta_start <= noise.beta_end < 1:
        raise ValueError(
            f"--beta-start and --beta-end must be rising in (0, 1), got {noise.beta_start} and {noise.beta_end}."
        )


def _check_names(conditions: Sizes, covariates: Sizes) -> None:
    for name in (*conditions, *covariates):
        if name == LENGTH:
            raise ValueError(
                f"An input cannot be called {LENGTH!r}, which is what models trained here are told of a trial's "
                "bins. Choose another name."
            )
        if name in conditions and name in covariates:
            raise ValueError(f"{name!r} must be a condition or a covariate, got both.")


def _listed(sizes: Sizes) -> str:
    return ", ".join(f"{name}:{size}" for name, size in sizes.items()) or "none"


@contextlib.contextmanager
def _naming(path: str) -> Iterator[None]:
    """Errors that do not name the file do."""
    try:
        yield
    except ValueError as error:
        text = str(error)
        raise ValueError(text if text.startswith(path) else f"{path}: {text}") from error
