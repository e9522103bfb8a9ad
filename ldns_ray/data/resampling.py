"""The same course over time in another number of bins.

Legend: T bins, K channels.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray


def resampled(x_TK: NDArray[np.floating], n_bins: int) -> NDArray[np.float64]:
    """(n_bins, K): the values at the middles of `n_bins` bins that last as long as the T bins together.

    Values are those of the middles of bins; between them they are interpolated linearly, and the ends keep theirs.
    """
    middles = (np.arange(n_bins) + 0.5) / (n_bins / len(x_TK)) - 0.5
    return np.stack([np.interp(middles, np.arange(len(x_TK)), x_T) for x_T in x_TK.T], axis=1)
