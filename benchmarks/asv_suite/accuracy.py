"""Errors of the centre on simulated patterns: a change that costs precision shows like one that costs time."""

import math

import numpy as np

import edfast
from edfast.simulate import BeamStop, ring_pattern

SCENES = 40
SIZE = 256


def scenes(stop, hot_pixels=5):
    """Images and true centres of three rings with a drifting centre, with and without a stop."""
    rng = np.random.default_rng(1)
    for seed in range(SCENES):
        center = SIZE / 2 + rng.uniform(-12, 12, 2)
        image, truth = ring_pattern((SIZE, SIZE), tuple(center), [45, 70, 88], widths=2.0, amplitudes=[60, 100, 40],
                                    background=30, ratio=1.01, angle=0.5, beamstop=BeamStop(18) if stop else None,
                                    hot_pixels=hot_pixels, random_state=seed)
        yield image, truth.center


class RingFit:
    """fit_ring: root mean square error and median pull of the centre."""

    params = (False, True)
    param_names = ("stop",)

    def setup(self, stop):
        self.fits = [(edfast.fit_ring(image), center) for image, center in scenes(stop)]

    def track_rms_error(self, stop):
        return math.sqrt(np.mean([math.dist(fit.center, center) ** 2 for fit, center in self.fits]))

    def track_median_pull(self, stop):
        pulls = [math.dist(fit.center, center) / math.hypot(fit.cx_err, fit.cy_err) for fit, center in self.fits]
        return float(np.median(pulls))

    track_rms_error.unit = "pixel"
    track_median_pull.unit = "standard errors"


class DocumentedFit:
    """fit_ellipse_to_ring on the same scenes without hot pixels, which are all that it would find."""

    params = (False, True)
    param_names = ("stop",)

    def track_rms_error(self, stop):
        errors = [math.dist(edfast.fit_ellipse_to_ring(image)[:2], center) for image, center in scenes(stop, hot_pixels=0)]
        return math.sqrt(np.mean(np.square(errors)))

    track_rms_error.unit = "pixel"
