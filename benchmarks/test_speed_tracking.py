"""One frame of a drift: the tracker beside fit_ring with the last centre, and the registration of two frames."""

import itertools

import pytest
from skimage.registration import phase_cross_correlation

import edfast
from edfast.kernels._bands import one_thread
from edfast.simulate import drift_series


@pytest.fixture(scope="module", params=["one wide ring", "three narrow rings"])
def series(request, size):
    """(name, frames of a drift, centre of the first)."""
    look = {"one wide ring": {"radii": [0.25 * size], "widths": max(0.01 * size, 1), "amplitudes": 1000},
            "three narrow rings": {"radii": [0.15 * size, 0.25 * size, 0.3 * size], "widths": max(0.003 * size, 1.5)}}
    pairs = list(drift_series(8, (size, size), velocity=(0.05, 0.03), random_state=0, **look[request.param]))
    return request.param, [frame for frame, _ in pairs], pairs[0][1].center


def tracker(frames, center):
    track = edfast.CenterTracker(frames[0].shape)
    for frame in frames:
        track.update(frame)
    return lambda frame: track.update(frame).center


def fit_ring(frames, center):
    return lambda frame: edfast.fit_ring(frame, center=center).center


def fit_ring_again(frames, center):
    first = edfast.fit_ring(frames[0], center=center)
    return lambda frame: edfast.fit_ring(frame, like=first).center


def registration(frames, center):
    def locate(frame):
        shift = phase_cross_correlation(frame, frames[0], upsample_factor=20, normalization=None)[0]
        return center[0] + shift[1], center[1] + shift[0]

    return locate


CONTENDERS = {"edfast": tracker, "edfast fit_ring, centre given": fit_ring,
              "edfast fit_ring, like the first frame": fit_ring_again, "scikit-image phase_cross_correlation": registration}


@pytest.mark.parametrize("program", CONTENDERS)
@pytest.mark.benchmark(min_rounds=5, warmup=True, warmup_iterations=2)
def test_one_frame(benchmark, series, program, size):
    name, frames, center = series
    benchmark.group, benchmark.extra_info["program"] = f"one frame of a drift, {name}, {size} x {size} float32", program
    locate = CONTENDERS[program](frames, center)
    there_and_back = itertools.cycle(frames[::-1] + frames)
    with one_thread():
        found = benchmark(lambda: locate(next(there_and_back)))
    assert abs(found[0] - center[0]) < 1
    assert abs(found[1] - center[1]) < 1
