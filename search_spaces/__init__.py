"""Search spaces of sweeps: one module each, with `SPACE`, dotted setting → Tune domain."""
