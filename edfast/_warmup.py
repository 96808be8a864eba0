"""Compilation of all kernels ahead of time, by running what calls them on small images of each dtype."""

import time

import numpy as np

from ._recalibrate import WITH_BEAMSTOP, WITHOUT_BEAMSTOP, Options, find_center
from .rings import fit_ring
from .simulate import BeamStop, ring_pattern
from .tracking import CenterTracker

DTYPES = ("float32", "float64", "uint8", "uint16", "uint32", "int8", "int16", "int32")


def warm_up(dtypes=DTYPES, *, begin=lambda name: None):
    """Compile the kernels for each of `dtypes`, whose name `begin` is told; yields its name and the seconds that it took."""
    rings, _ = ring_pattern((192, 192), radii=[40, 60], amplitudes=60.0, texture=0.3, beamstop=BeamStop(15), random_state=0)
    beam, _ = ring_pattern((192, 192), radii=[40, 60], amplitudes=30.0, direct_beam=80.0, random_state=0)
    mask = np.zeros(rings.shape, bool)
    mask[0] = True
    _warm_up_fringes(rings.shape)
    for name in dtypes:
        begin(name)
        start = time.perf_counter()
        for image, beamstop, methods in ((rings, True, WITH_BEAMSTOP), (beam, False, WITHOUT_BEAMSTOP)):
            for variant in _variants(image, np.dtype(name)):
                for method in methods:
                    for masked in (None, mask):
                        find_center(variant, Options(beamstop, method), masked)
        _warm_up_image(rings.astype(np.dtype(name)), mask)
        tracker = CenterTracker(rings.shape)
        for _ in range(2):
            tracker.update(rings.astype(np.dtype(name)))
        yield name, time.perf_counter() - start


def _warm_up_fringes(shape):
    """The kernels for more than rings can explain."""
    away = np.hypot(*(np.indices(shape) - 95.5))
    fit_ring((3e4 * np.sin(away / 4) ** 2 / (1 + (away / 20) ** 2)).astype(np.float32))


def _warm_up_image(image, mask):
    """The kernels of `edfast.image` that go over pixels."""
    from . import image as toolbox
    from .image._density import density_cube
    from .image._features import pattern_features

    stack, center = np.stack([image, image[::-1]]), (95.5, 95.5)
    background = image.astype(np.float64)
    for method in ("chi2", "pearson"):
        toolbox.hit_scores(stack, background, [*center, 5, 80], method=method)
        toolbox.hit_scores(stack, background, [None, None, 5, 80], mask, method=method)
    for statistic in ("mean", "median", "clipped"):
        toolbox.radial_profile(image, center, mask, statistic=statistic)
        toolbox.radial_profile_stack(stack, center, statistic=statistic)
    toolbox.fix_artifact_auto(stack, center, mask=mask)
    toolbox.avg_pooling(image, 2)
    pattern_features(stack, mask, 0.3)
    atom, one = np.zeros((1, 3)), np.ones(1)
    density_cube(atom, np.zeros(1, np.intp), one, one, one[None], one[None], 2.0, 1.0)


def _variants(image, dtype):
    """`image` in `dtype`, and in forms that take other kernels: with fractions and a NaN, with a wide span of integers."""
    yield image.astype(dtype)
    if dtype.kind == "f":
        broken = (image / 7).astype(dtype)
        broken[0, 0] = np.nan
        yield broken
    elif dtype.itemsize > 2:
        yield image.astype(dtype) * dtype.type(2000)
