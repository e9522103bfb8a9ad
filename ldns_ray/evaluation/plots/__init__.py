"""Figures: real spikes beside sampled ones, what samples were asked for, and how training went.

`style` holds their common look, and writes them.
"""
