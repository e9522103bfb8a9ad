"""How to read each picture, in a sentence or two, for reports."""

from __future__ import annotations

CAPTIONS = {
    "overview": "Each dot is the distance of a candidate's trials from the real ones over the distance of real trials "
    "from other real trials (the noise floor, on the right): at 1 the candidate is as close as the data is to itself, "
    "and the shaded band is where real trials themselves mostly lie. The score on top is made of the four metrics "
    "below it, the others are told beside it; bars are bootstrap intervals.",
    "rasters": "Spikes of the first trials, a line for each unit, units with higher real rates higher up. Sampled "
    "trials should be as dense, and as uneven over time and units, as real ones.",
    "population_counts": "How often all units together fire so many spikes in a bin: bars are shares of bins, lines "
    "their kernel density, of which the Kullback-Leibler divergence is taken. Bins of many spikes, far on the right, "
    "are those of units that fire together.",
    "correlations": "Spike-count correlations of all pairs of units as matrices of one colour scale, and pair by pair. "
    "Points below the diagonal are correlations that the samples lack.",
    "isi": "Mean and standard deviation of each unit's inter-spike intervals. Units on the diagonal fire at real "
    "intervals; open markers are other candidates, at the edge where they are out of range.",
    "rates": "A dot for each unit: mean rate, how much the rate varies from trial to trial, and Fano factor (variance "
    "over mean of spike counts). Below the diagonal samples have less than the data.",
    "correlograms": "How a unit's spikes follow its own (above) and those of other units (below) at each lag, averaged "
    "over the units of a group; a dip beside lag 0 is refractoriness, a peak is bursts or common input. Each panel "
    "has its own scale.",
    "spectra": "Power of the latents by frequency. On the right the difference in decibels, latent by latent: 0 is "
    "real, above it the samples move too much at that frequency.",
    "latents": "Trajectories of a few trials along the principal axes of the real latents, in the same view and limits "
    "on both sides, each starting at its dot, with further trials in grey; below, single latents of the same trials "
    "over time.",
    "training_curves": "Training and validation loss by optimiser step. The star marks the best validation loss; a "
    "validation loss that rises after it tells of overfitting.",
    "history": "A dot for each trial of a sweep that finished, and the best score so far as a line. At 1, the noise "
    "floor, samples are as close to the data as the data is to itself. A line that has long been flat says that more "
    "trials will gain little.",
    "halving": "Scores at the epochs where trials were compared, and where they ended. Stopping was right if the lines "
    "that went on were the lowest from early on; many crossings say that it came too soon.",
    "importances": "Share of the variance of the log scores that each setting explains by itself (functional analysis "
    "of variance with a random forest; Hutter et al. 2014). What is left is due to settings together, and to noise. "
    "With fewer than some 50 trials only large differences count.",
    "parallel_coordinates": "Each line is a trial that finished: where it crosses an axis is its value of that setting, "
    "and its colour the score, on the right. Where dark lines meet, good models have that setting in common.",
    "slices": "Score against each setting, a dot for each trial, the most important settings first. A slope or a valley "
    "is a setting that matters; a best trial at an edge says to widen the range.",
}
"""By the name of the picture."""

DECODED_CLASSES = (
    "Share of the trials of each class (rows) that a decoder of real training trials takes for each class (columns), "
    "in percent. Samples do what they were asked for when the right matrix is as diagonal as the left."
)


def caption(name: str) -> str:
    """Of any picture of an evaluation or a sweep, those of covariates and conditions (`decoded_…`, `reached_…`) too.

    Raises KeyError for a name that no picture has.
    """
    if name in CAPTIONS:
        return CAPTIONS[name]
    if name == "decoded_classes":
        return DECODED_CLASSES
    kind, _, what = name.partition("_")
    if kind == "decoded" and what:
        return (
            f"What a decoder of real training trials reads from the samples, beside the {what} that they were asked "
            "for. The decoder's score on real held-out trials is the best that samples can be expected to reach."
        )
    if kind == "reached" and what:
        return (
            f"Paths integrated from the {what} asked for, and from the one decoded from the samples, in the colour of "
            "the direction that was asked for (wheel). Samples do what they were asked for when colours end where "
            "they end on the left."
        )
    known = ", ".join([*CAPTIONS, "decoded_…", "reached_…"])
    raise KeyError(f"No picture is called {name!r}. There are: {known}.")
