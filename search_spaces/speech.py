"""Where to look for good models of speech recordings: dotted setting → domain of values.

The autoencoder's settings are a small grid, so that trials share trained autoencoders; what comes after
is continuous where it can be. Any setting of `ldns_ray.config.Experiment` may be added.
"""

from ray import tune

SPACE = {
    "autoencoder.n_latents": tune.choice([8, 16]),
    "diffusion.width": tune.choice([48, 64]),
    "diffusion.optimisation.learning_rate": tune.loguniform(1e-3, 6e-3),
    "diffusion.smooth_l1_beta": tune.uniform(0.02, 0.1),
    "observation.kind": tune.choice(["poisson", "spike_history"]),
}
