"""fit_ellipse_to_ring beside scikit-image, OpenCV and one thread, on the same image in the same run."""

import numpy as np
import pytest

import edfast
from benchmarks import peers
from edfast.kernels._bands import one_thread


def edfast_fit(image):
    return edfast.fit_ellipse_to_ring(image)[:2]


def edfast_fit_on_one_thread(image):
    with one_thread():
        return edfast_fit(image)


CONTENDERS = {"edfast": edfast_fit, "edfast, one thread": edfast_fit_on_one_thread, "scikit-image": peers.scikit_image_fit,
              "OpenCV": peers.opencv_fit}


@pytest.mark.parametrize("program", CONTENDERS)
@pytest.mark.parametrize("image", ["ring_image", "stop_image", "noise_image"])
@pytest.mark.benchmark(min_rounds=5, warmup=True, warmup_iterations=2)
def test_fit_ellipse_to_ring(benchmark, request, image, program, size):
    pixels = request.getfixturevalue(image)
    benchmark.group = f"fit_ellipse_to_ring, {image.removesuffix('_image')}, {size} x {size} {pixels.dtype}"
    benchmark.extra_info["program"] = program
    center = benchmark(CONTENDERS[program], pixels)
    if program != "OpenCV":
        np.testing.assert_allclose(center, peers.scikit_image_fit(pixels), atol=1e-9)
