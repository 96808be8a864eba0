"""The centre of every frame while the detector is acquiring."""

import math
import time

from ._results import TrackResult
from ._validation import as_count, as_image, as_mask, as_number
from .rings import RingNotFoundError, fit_ring

__all__ = ["CenterTracker", "TrackResult"]


class CenterTracker:
    """Follows the centre of a ring pattern from frame to frame.

    Parameters
    ----------
    shape : (int, int)
        Rows and columns of the frames.
    mask : array_like of shape (H, W), optional
        True (or non-zero) = masked out. A beam stop is found without it.
    radius : float, optional
        Radius of the ring [pixel] that is followed, roughly; all rings without it.
    ellipse : bool, default True
        Rings may be ellipses of one common shape; False: circles.
    """

    def __init__(self, shape, *, mask=None, radius=None, ellipse=True):
        if not isinstance(shape, (tuple, list)) or len(shape) != 2:
            raise ValueError(f"shape must be (rows, columns), not {shape!r}")
        self.shape = tuple(as_count(size, "shape", minimum=1) for size in shape)
        self._mask = as_mask(mask, self.shape)
        self._radius = None if radius is None else as_number(radius, "radius", above=0, unit="pixel")
        self._ellipse = bool(ellipse)
        self.reset()

    def reset(self):
        """Forget all frames: the next one is searched for its rings."""
        self.fit, self._last = None, None

    def update(self, frame):
        """The centre of the next frame, as a `TrackResult`."""
        start = time.perf_counter()
        frame = as_image(frame, "frame")
        if frame.shape != self.shape:
            raise ValueError(f"frame has shape {frame.shape}, but the tracker was made for {self.shape}")
        try:
            self.fit = fit_ring(frame, mask=self._mask, center=self.fit and self.fit.center, radius=self._radius,
                                ellipse=self._ellipse)
        except RingNotFoundError:
            self.fit = None
            return TrackResult(*[math.nan] * 4, True, False, time.perf_counter() - start)
        last, self._last = self._last, self.fit
        jumped = last is not None and math.dist(last.center, self.fit.center) > 5 * math.hypot(last.center_err,
                                                                                               self.fit.center_err) + 1
        return TrackResult(*self.fit.center, self.fit.cx_err, self.fit.cy_err, False, jumped, time.perf_counter() - start)
