"""Search spaces of sweeps: one module each, with `SPACE`, `WIDE` and `SMALL`, dotted setting → Tune domain."""
