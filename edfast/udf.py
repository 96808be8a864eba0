"""The centre of every frame as a LiberTEM UDF: on data sets, on a Dask cluster, and on live acquisitions (LiberTEM-live).

Needs the extra ``edfast[live]``.
"""

from typing import Any

import numpy as np

from ._validation import as_flag, as_number
from .tracking import CenterTracker

try:
    from libertem.udf import UDF
except ImportError as error:  # pragma: no cover
    raise ImportError("edfast.udf needs LiberTEM: pip install 'edfast[live]'") from error

__all__ = ["CenterUDF"]


class CenterUDF(UDF):
    """Centre of the rings in every frame of a scan.

    Each partition of the data set has a tracker of its own, which looks for rings in the first frame that it gets and follows
    them from there on: where the scan is cut changes a result by less than its error. Frames in which nothing is found are
    ``lost``, with NaN for everything else.

    Parameters
    ----------
    mask : array_like of shape (H, W), optional
        True (or non-zero) = masked out. A beam stop is found without it.
    radius : float, optional
        Radius of the ring [pixel] that is followed, roughly. Without it those that tell most of the centre.
    ellipse : bool, default True
        Rings may be ellipses of one common shape; False: circles.

    Notes
    -----
    Results are buffers of the shape of the scan: ``cx``, ``cy`` (column, row) [pixel], their standard errors ``cx_err`` and
    ``cy_err`` (float64), ``lost`` and ``jumped`` (bool), as in `edfast.tracking.TrackResult`.

    Examples
    --------
    >>> from edfast.simulate import drift_series
    >>> from edfast.udf import CenterUDF
    >>> from libertem.api import Context
    >>> frames = np.stack([frame for frame, _ in drift_series(4, (64, 64), radii=[20], amplitudes=500, random_state=0)])
    >>> with Context.make_with("inline") as context:
    ...     dataset = context.load("memory", data=frames.reshape(2, 2, 64, 64), sig_dims=2)
    ...     result = context.run_udf(dataset, CenterUDF())
    >>> result["cx"].data.shape, bool(result["lost"].data.any())
    ((2, 2), False)
    """

    def __init__(self, mask=None, radius=None, ellipse=True):
        if radius is not None:
            radius = as_number(radius, "radius", above=0, unit="pixel")
        super().__init__(mask=None if mask is None else np.asarray(mask), radius=radius, ellipse=as_flag(ellipse, "ellipse"))

    def get_result_buffers(self):
        """Buffers of one number per frame."""
        numbers = {name: self.buffer(kind="nav", dtype="float64") for name in ("cx", "cy", "cx_err", "cy_err")}
        return numbers | {name: self.buffer(kind="nav", dtype="bool") for name in ("lost", "jumped")}

    def get_task_data(self):
        """The tracker of one partition."""
        shape = tuple(self.meta.dataset_shape.sig)
        return {"tracker": CenterTracker(shape, mask=self.params.mask, radius=self.params.radius, ellipse=self.params.ellipse)}

    def get_preferred_input_dtype(self):
        """Frames are taken as they are."""
        return self.USE_NATIVE_DTYPE

    def process_frame(self, frame):
        """Follow the rings into one frame."""
        result = self.task_data.tracker.update(frame)
        buffers: Any = self.results
        for name in ("cx", "cy", "cx_err", "cy_err", "lost", "jumped"):
            getattr(buffers, name)[:] = getattr(result, name)
