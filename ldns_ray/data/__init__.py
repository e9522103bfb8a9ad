"""Recordings as trials: schema, simulators, ingestion, shards on disk, training batches."""
