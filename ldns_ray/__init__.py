"""LDNS on Ray: latent diffusion models of neural spiking data, trained, searched and sampled at scale."""

__version__ = "0.1.0"
