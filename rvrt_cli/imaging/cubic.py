"""The cubic convolution kernel, shared by Matlab's resizing of pictures and the network's own enlargement."""

from __future__ import annotations

import numpy as np


def cubic(x: np.ndarray) -> np.ndarray:
    """Keys' kernel with a = -0.5 and support [-2, 2], as Matlab's imresize uses it (Keys 1981): any shape, float."""
    x = np.abs(x)
    near = (1.5 * x - 2.5) * x * x + 1.0
    far = ((-0.5 * x + 2.5) * x - 4.0) * x + 2.0
    return np.where(x <= 1.0, near, np.where(x <= 2.0, far, 0.0))
