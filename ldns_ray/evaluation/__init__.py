"""Does a sample look like the recording? Spike statistics, likelihoods, baselines and figures.

- `metrics`: the four distances between real and sampled spikes, their noise floor and intervals.
- `score`: `realism`, one number in which 1 means "as close as the data is to itself".
- `statistics`: the per-trial sums that make any subset of trials cheap to evaluate.
- `likelihood`: Poisson likelihood on entries the encoder did not see.
- `baselines`: smoothed PSTHs, and Poisson samples from them.
- `factor_var`: a linear-Gaussian model of single trials, and Poisson samples from it.
- `plots`: figures for all of the above.
"""
