"""Examples and figures as pictures inside the page."""

import base64
from io import BytesIO

import numpy as np
from jaxtyping import Float
from matplotlib.figure import Figure
from PIL import Image

from plots.style import Style, save


def grey_levels(
    features: Float[np.ndarray, "b features"], low: float, high: float, shape: tuple[int, int]
) -> np.ndarray:
    """Bytes of shape (b, height, width), as ink on paper: `low` is white and `high` black."""
    spread = high - low or 1.0
    levels = np.clip((high - features) / spread, 0, 1) * 255
    return levels.round().astype(np.uint8).reshape(-1, *shape)


def png_uri(levels: np.ndarray) -> str:
    """A picture of shape (height, width), dtype uint8, as a `data:` address that needs no file."""
    buffer = BytesIO()
    Image.fromarray(levels, mode="L").save(buffer, format="PNG", optimize=True)
    return _uri(buffer)


def figure_uri(figure: Figure, style: Style) -> str:
    """The same of a figure, for paper and for browsers without scripts."""
    buffer = BytesIO()
    save(figure, buffer, "png", style)
    return _uri(buffer)


def _uri(buffer: BytesIO) -> str:
    return "data:image/png;base64," + base64.b64encode(buffer.getvalue()).decode("ascii")
