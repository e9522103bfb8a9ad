"""Does a sample look like the recording? Spike statistics, likelihoods, baselines, figures and reports.

Distances between two sets of trials:

- `metrics`: of spike counts and intervals; `variability`, `correlograms`, `spectra`: of the units' firing and of latents.
- `statistics`, `recording`: the per-trial sums that make any subset of trials cheap to evaluate; `ragged`: their arrays.
- `resampling`: random halves and bootstrap resamples; `measurement`: distances and floors in them; `score`: `realism`, in
  which 1 means "as close as the data is to itself"; `comparison`: every candidate beside its noise floor, with intervals.

Beside them: `likelihood` on entries the encoder did not see, `novelty` of samples beside the training trials, `decoding`
of what samples were asked for, and `baselines`, simple models of the training trials.

What is made of it: `assessment` puts it together, `experiment` for a trained model and `datasets` for sampled datasets of
any origin; `plots` draws it, `reporting` writes it.
"""
