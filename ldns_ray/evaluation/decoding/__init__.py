"""Decoders fitted on real trials that say whether samples have what they were asked for."""
