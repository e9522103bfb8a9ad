"""Where to look for good models of reaches: dotted setting → Tune domain.

The autoencoder's settings are a small grid, so that trials share trained autoencoders; what comes after
is continuous where it can be. Any setting of `ldns_ray.config.Experiment` may be added.
"""

from ray import tune

SPACE = {
    "autoencoder.n_latents": tune.choice([16, 32]),
    "autoencoder.smoothness_penalty": tune.choice([0.02, 0.2]),
    "autoencoder.bidirectional": tune.choice([False, True]),
    "diffusion.width": tune.choice([128, 256]),
    "diffusion.n_blocks": tune.choice([4, 6]),
    "diffusion.optimisation.learning_rate": tune.loguniform(3e-4, 4e-3),
    "diffusion.smooth_l1_beta": tune.uniform(0.02, 0.1),
    "observation.history_bins": tune.choice([10, 20]),
}
"""Around the paper's settings: eight autoencoders."""

WIDE = SPACE | {
    "autoencoder.width": tune.choice([128, 256]),
    "autoencoder.n_blocks": tune.choice([2, 4]),
    "autoencoder.dropout": tune.choice([0.2, 0.5]),
    "autoencoder.latent_penalty": tune.choice([0.001, 0.01]),
    "diffusion.loss": tune.choice(["smooth_l1", "mse"]),
    "observation.kind": tune.choice(["poisson", "spike_history"]),
}
"""Everything that the paper chose by hand; few trials share an autoencoder."""

SMALL = {
    "autoencoder.n_latents": tune.choice([8, 16]),
    "diffusion.width": tune.choice([48, 64]),
    "diffusion.optimisation.learning_rate": tune.loguniform(1e-3, 6e-3),
    "diffusion.smooth_l1_beta": tune.uniform(0.02, 0.1),
    "observation.kind": tune.choice(["poisson", "spike_history"]),
}
"""Around the small experiments, for two CPU cores: two autoencoders."""
