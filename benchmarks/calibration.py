"""Simulated calibrations with a known truth, for ``make bench-calibration`` and the tests of `edfast.calibrate`.

A scene is drawn from a seed: one of five substances, camera length, voltage, a beam stop, noise, preferred orientation, and
what spoils a pattern: a ring that is missing, one that is forbidden, one that belongs to something else.
"""

import argparse
import math
import time
from dataclasses import dataclass, replace
from functools import lru_cache

import numpy as np

from edfast._crystal import read_crystal, reflections
from edfast.calibration import CalibrationError, calibrate, example_cif
from edfast.geometry import Poni, electron_wavelength, poni_with_center
from edfast.simulate import BeamStop, powder_pattern

SUBSTANCES = ("aluminium", "bismuth", "gold", "silicon", "thallium_chloride")
FORBIDDEN = {"aluminium": (1, 1, 0), "gold": (1, 1, 0), "silicon": (2, 2, 2), "bismuth": (1, 1, 1), "thallium_chloride": None}


@dataclass
class Scene:
    """What is drawn. Lengths in metres, d-spacings in Angstrom."""

    seed: int
    substance: str
    shape: tuple
    poni: Poni
    center: tuple
    d: np.ndarray
    amplitudes: np.ndarray
    look: dict
    spoilt: str

    def render(self):
        """(image, truth)"""
        return powder_pattern(self.d, self.poni, random_state=self.seed, amplitudes=self.amplitudes, **self.look)


@lru_cache
def powder(substance, d_min=0.6):
    """(d, height of the ring for electrons, relative) of a substance; heights fall faster than those of X-rays do."""
    found = reflections(read_crystal(example_cif(substance)), 0.02, (0, 2 * math.degrees(math.asin(0.01 / d_min))))
    d = np.array([peak["d"] for peak in found])
    height = np.array([peak["intensity"] for peak in found]) * np.exp(-1.0 / d**2 * 0.6)
    return d, height / height.max()


def draw(seed, substance=None, size=512):
    """A random `Scene`."""
    rng = np.random.default_rng(seed)
    substance = substance or SUBSTANCES[seed % len(SUBSTANCES)]
    distance, voltage = math.exp(rng.uniform(math.log(0.1), math.log(2))), rng.uniform(80, 300)
    wavelength = electron_wavelength(voltage)
    d, height = powder(substance)
    # The camera is as large as the pattern: so many d-spacings are on it.
    finest = rng.uniform(0.75, 1.2)
    pixel = distance * math.tan(2 * math.asin(wavelength / 2 / finest)) / (0.47 * size)
    center = tuple((size - 1) / 2 + size * rng.uniform(-0.05, 0.05, 2))
    poni = poni_with_center(Poni(distance, 0, 0, 0, 0, 0, wavelength * 1e-10, pixel, pixel, (size, size)), *center)
    inside = d > finest * 0.8
    d, height = d[inside], height[inside] * np.exp(rng.normal(0, 0.2, inside.sum()))
    peak = math.exp(rng.uniform(math.log(30), math.log(3000)))
    d, height, spoilt = _spoil(rng, substance, d, height)
    stop = rng.uniform(0.03, 0.07) * size
    look = {"widths": rng.uniform(1.4, 2.6), "background": peak * rng.uniform(0.05, 0.5),
            "background_decay": size * rng.uniform(0.1, 0.4),
            "beamstop": BeamStop(stop, rng.uniform(-math.pi, math.pi), stop * rng.uniform(0.4, 0.8)), "direct_beam": 20 * peak,
            "direct_beam_width": stop / 4, "texture": rng.uniform(0, 0.25), "read_noise": rng.uniform(0, 2),
            "offset": rng.uniform(-50, 50), "hot_pixels": int(rng.integers(0, 30))}
    return Scene(seed, substance, (size, size), poni, center, d, peak * height, look, spoilt)


def tilt(scene, most=0.3):
    """The `Scene` with its detector tilted, in any direction."""
    rng = np.random.default_rng(scene.seed + 10**6)
    size, direction = math.exp(rng.uniform(math.log(most / 15), math.log(most))), rng.uniform(-math.pi, math.pi)
    poni = replace(scene.poni, rot1=size * math.cos(direction), rot2=size * math.sin(direction))
    return replace(scene, poni=poni_with_center(poni, *scene.center))


def _spoil(rng, substance, d, height):
    kind = rng.choice(["", "missing", "extra", "forbidden"], p=[0.55, 0.15, 0.15, 0.15])
    if kind == "missing":
        strong = np.argsort(-height)[1:6]
        gone = rng.choice(strong)
        d, height = np.delete(d, gone), np.delete(height, gone)
    elif kind == "extra":
        d, height = np.append(d, rng.uniform(1.0, 3.0)), np.append(height, rng.uniform(0.05, 0.3))
    elif kind == "forbidden" and FORBIDDEN[substance]:
        crystal = read_crystal(example_cif(substance)).structure
        d = np.append(d, crystal.lattice.d_hkl(FORBIDDEN[substance]))
        height = np.append(height, rng.uniform(0.03, 0.12))
    return d, height, str(kind)


def run(number):
    """Calibrate `number` scenes with the right and with a wrong structure: a row of figures for each, None where refused."""
    right, wrong = [], []
    for seed in range(number):
        scene = draw(seed)
        image, truth = scene.render()
        known = {"wavelength": scene.poni.wavelength * 1e10, "pixel_size": scene.poni.pixel1 * 1e6}
        start = time.perf_counter()
        found = _attempt(scene.substance, image, known)
        seconds = time.perf_counter() - start
        if found is None:
            right.append((scene.substance, None))
        else:
            off, error = found.distance / scene.poni.distance - 1, found.distance_err / found.distance
            miss = math.dist(found.center, truth.center)
            pulls = [ring.residual / ring.error for ring in found.rings]
            right.append((scene.substance, (off, off / error, miss, miss / found.fit.center_err, seconds, pulls)))
        other = np.random.default_rng(seed).choice([name for name in SUBSTANCES if not _alike(name, scene.substance)])
        wrong.append((scene.substance, other, _attempt(other, image, known)))
    return right, wrong


def run_tilted(number):
    """Calibrate `number` scenes straight and tilted, with the tilt refined: (scene, calibration or None) of each."""
    rows = []
    for seed in range(number):
        for scene in (draw(seed), tilt(draw(seed))):
            known = {"wavelength": scene.poni.wavelength * 1e10, "pixel_size": scene.poni.pixel1 * 1e6, "tilt": True}
            rows.append((scene, _attempt(scene.substance, scene.render()[0], known)))
    return rows


def report_tilted(rows):
    """How many tilts were found, and how far all is from the truth, in standard errors, as text."""
    done = [(scene, found) for scene, found in rows if found is not None]
    seen = [(scene.poni, found) for scene, found in done if found.tilt_err]
    lines = [f"refined with a tilt: {len(done)} of {len(rows)}; false tilts "
             f"{sum(truth.rot1 == truth.rot2 == 0 for truth, _ in seen)}, missed "
             f"{sum(found.tilt_err is None and math.hypot(scene.poni.rot1, scene.poni.rot2) > 0 for scene, found in done)} of "
             f"{sum(math.hypot(scene.poni.rot1, scene.poni.rot2) > 0 for scene, _ in done)}"]
    pulls = {"tilt": [(getattr(found.poni, name) - getattr(truth, name)) / error for truth, found in seen
                      for name, error in zip(("rot1", "rot2"), found.tilt_err, strict=True)],
             "distance": [(found.distance - scene.poni.distance) / found.distance_err for scene, found in done],
             "centre": [(place - true) / error for scene, found in done for place, true, error in zip(
                 found.center, scene.center, (found.cx_err, found.cy_err), strict=True)]}
    return "\n".join([*lines, *(f"  pulls of the {name:10}{_spread(values)}" for name, values in pulls.items())])


def _spread(pulls):
    size = np.abs(pulls)
    return (f"{len(size)}: root mean square {np.sqrt(np.mean(size**2)):.2f}, from the median {np.median(size) / 0.6745:.2f}, "
            f"beyond 4 {np.count_nonzero(size > 4)}")


def _attempt(substance, image, known):
    try:
        return calibrate(example_cif(substance), image, **known)
    except CalibrationError:
        return None


def _alike(one, other):
    """The same ratios: gold and aluminium, both face-centred cubic, differ by their cells alone."""
    return one == other or {one, other} == {"gold", "aluminium"}


def report(right, wrong):
    """The figures as text."""
    lines = [f"{'substance':20}{'calibrated':>12}{'wrong':>7}{'|dL|/L median':>15}{'95 %':>9}{'< 0.02 %':>10}{'pull':>7}"
             f"{'centre 95 %/px':>16}{'seconds':>9}"]
    for name in (*SUBSTANCES, "all"):
        rows = [row for substance, row in right if name in (substance, "all")]
        good = np.array([row[:5] for row in rows if row is not None])
        off = np.abs(good[:, 0])
        lines.append(f"{name:20}{len(good):5d} of {len(rows):3d}{np.count_nonzero(off > 5e-3):7d}{np.median(off):15.1e}"
                     f"{np.percentile(off, 95):9.1e}{100 * np.mean(off < 2e-4):9.0f}%{np.sqrt(np.mean(good[:, 1]**2)):7.2f}"
                     f"{np.percentile(good[:, 2], 95):16.3f}{np.median(good[:, 4]):9.2f}")
    lines.append("pulls of the rings " + _spread([pull for _, row in right if row is not None for pull in row[5]]))
    refused = sum(found is None for _, _, found in wrong)
    lines.append(f"wrong structures refused: {refused} of {len(wrong)}")
    lines += [f"  accepted: {other} for {substance}" for substance, other, found in wrong if found is not None]
    return "\n".join(lines)


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("-n", "--number", type=int, default=200, help="scenes")
    parser.add_argument("--tilt", action="store_true", help="refine the tilt, of straight and of tilted detectors")
    options = parser.parse_args()
    print(report_tilted(run_tilted(options.number)) if options.tilt else report(*run(options.number)))
