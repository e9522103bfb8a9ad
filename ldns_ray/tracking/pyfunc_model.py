"""The code of a logged LDNS model: MLflow copies this file beside the weights and runs it to load them."""

from mlflow.models import ModelConfig, set_model

from ldns_ray.tracking.sampler import spike_sampler

_config = ModelConfig()
set_model(spike_sampler(_config.get("conditions"), _config.get("covariates")))
