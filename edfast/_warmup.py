"""Compilation of all kernels ahead of time, by running what calls them on small images of each dtype."""

import time

import numpy as np

from ._recalibrate import WITH_BEAMSTOP, WITHOUT_BEAMSTOP, Options, find_center
from .simulate import BeamStop, ring_pattern

DTYPES = ("float32", "float64", "uint8", "uint16", "uint32", "int8", "int16", "int32")


def warm_up(dtypes=DTYPES):
    """Compile the kernels for each of `dtypes`; yields its name and the seconds that it took."""
    rings, _ = ring_pattern((192, 192), radii=[40, 60], amplitudes=80.0, beamstop=BeamStop(15), random_state=0)
    beam, _ = ring_pattern((192, 192), radii=[40, 60], amplitudes=30.0, direct_beam=80.0, random_state=0)
    mask = np.zeros(rings.shape, bool)
    mask[0] = True
    for name in dtypes:
        start = time.perf_counter()
        for image, beamstop, methods in ((rings, True, WITH_BEAMSTOP), (beam, False, WITHOUT_BEAMSTOP)):
            for variant in _variants(image, np.dtype(name)):
                for method in methods:
                    for masked in (None, mask):
                        find_center(variant, Options(beamstop, method), masked)
        yield name, time.perf_counter() - start


def _variants(image, dtype):
    """`image` in `dtype`, and in forms that take other kernels: with fractions and a NaN, with a wide span of integers."""
    yield image.astype(dtype)
    if dtype.kind == "f":
        broken = (image / 7).astype(dtype)
        broken[0, 0] = np.nan
        yield broken
    elif dtype.itemsize > 2:
        yield image.astype(dtype) * dtype.type(2000)
