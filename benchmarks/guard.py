"""Fail when the documented fit has become slow: ``python -m benchmarks.guard``, called by ``make bench-guard``.

At 2048 x 2048 float32 it must take under 100 ms and at most a twelfth of scikit-image's time in the same run. The target is
far beyond; this is loose because machines are noisy.
"""

import sys
import time

import numpy as np

import edfast
from benchmarks.peers import scikit_image_fit
from edfast.simulate import ring_pattern

SIZE, LIMIT_MS, LEAST_RATIO = 2048, 100, 12


def median_ms(function, image, rounds):
    """Median time of `function` on `image`, after one call that is not counted."""
    function(image)
    times = []
    for _ in range(rounds):
        start = time.perf_counter()
        function(image)
        times.append((time.perf_counter() - start) * 1e3)
    return float(np.median(times))


def main():
    """Print both times and their ratio; exit with 1 when either limit is broken."""
    image, _ = ring_pattern((SIZE, SIZE), (980, 1040), [500], widths=20, amplitudes=1000, background=60, random_state=0)
    ours, theirs = median_ms(edfast.fit_ellipse_to_ring, image, 21), median_ms(scikit_image_fit, image, 5)
    ratio = theirs / ours
    print(f"fit_ellipse_to_ring, {SIZE} x {SIZE} float32: {ours:.2f} ms, scikit-image {theirs:.1f} ms, ratio {ratio:.1f} "
          f"(limits: {LIMIT_MS} ms, ratio {LEAST_RATIO})")
    if ours > LIMIT_MS or ratio < LEAST_RATIO:
        sys.exit("too slow")


if __name__ == "__main__":
    main()
