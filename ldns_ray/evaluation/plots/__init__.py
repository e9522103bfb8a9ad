"""Figures: real spikes beside sampled ones, what samples were asked for, how training went, and sweeps.

`style` holds their common look, and writes them.
"""
