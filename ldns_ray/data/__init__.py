"""Recordings as trials, trials as datasets, datasets as batches.

- a trial, and trials together: schema, splits, batches, tables, resampling
- into a dataset: recordings, which formats/ reads and ingestion/ brings together; simulation/
- a dataset on disk: card, card_checks, card_writer, facts; parquet, shard_writer, publishing, verification; shards,
  where all of it is written and read
- a dataset in parts: passes, description, moments; pieces, regrouping, streaming; residence
- what trials are to be sampled for: conditions
"""
