"""Ring patterns with a known truth and their Cramer-Rao bound, and frames without rings: for benchmarks/accuracy.py and tests.

A scene is drawn from a seed. Everything that real frames do (stop, ellipse, texture, spots, hot pixels, dead lines, module
gaps, steep background, direct beam, rings cut by the frame, integers, offsets) is switched on at random, independently.
"""

import math
from dataclasses import dataclass

import numpy as np

from edfast.simulate import BeamStop, drift_series, ring_pattern

SIZES = ((64, 64), (96, 80), (128, 128), (192, 160), (200, 256), (256, 256), (384, 320), (512, 512))
# 1 / d^2 of the first reflections, up to a factor; hcp with the ideal c / a.
CRYSTALS = {"fcc": (3, 4, 8, 11, 12, 16, 19, 20, 24, 27), "bcc": (2, 4, 6, 8, 10, 12, 14, 16, 18),
            "hcp": (32, 36, 41, 68, 96, 113, 128, 132, 137, 144), "amorphous": (3, 9.2)}
RING_FREE = ("flat", "noise", "ramp", "blob", "disc", "spots", "stop", "slope", "spots and blob", "constant", "rubbish")


@dataclass(frozen=True, slots=True)
class Scene:
    """What is photographed: the arguments of `edfast.simulate.ring_pattern`, and the camera's gain, applied to the result."""

    seed: int
    look: dict
    gain: float = 1.0

    @property
    def shape(self):
        """(H, W)."""
        return self.look["shape"]

    @property
    def center(self):
        """(cx, cy), column and row [pixel]."""
        return self.look["center"]

    @property
    def radii(self):
        """Of the rings, the innermost first [pixel]."""
        return self.look["radii"]

    @property
    def peak(self):
        """Height of the strongest ring [counts]."""
        return max(self.look["amplitudes"])

    @property
    def off_center(self):
        """Distance of the centre from the middle of the frame, over the frame's size, on the worse axis."""
        return max(abs(c / (n - 1) - 0.5) for c, n in zip(self.center, self.shape[::-1], strict=True))

    @property
    def cut(self):
        """Whether the frame cuts the innermost ring already."""
        room = min(*self.center, *(n - 1 - c for c, n in zip(self.center, self.shape[::-1], strict=True)))
        return room < self.radii[0]


def draw(seed, *, sizes=SIZES, gain=None, **fixed):
    """A random scene; keywords replace what is drawn."""
    rng = np.random.default_rng(seed)
    shape = tuple(int(n) for n in sizes[rng.integers(len(sizes))])
    reach = 1 / 3 if rng.random() < 0.35 else 0.06
    center = tuple(float((n - 1) / 2 + reach * n * rng.uniform(-1, 1)) for n in shape[::-1])
    first, peak = float(min(shape) * rng.uniform(0.15, 0.3)), _log_uniform(rng, 1, 1e4)
    look = {"shape": shape, "center": center, **_rings(rng, min(shape), first, peak), **_background(rng, first, peak)}
    if rng.random() < 0.5:
        look |= {"ratio": math.exp(2 * rng.uniform(0, 0.03)), "angle": rng.uniform(0, math.pi)}
    if rng.random() < 0.5:
        look |= {"texture": rng.uniform(0.1, 0.6), "texture_harmonics": int(rng.integers(2, 10))}
    if rng.random() < 0.25:
        look["spots"] = int(rng.integers(1, 15))
    if rng.random() < 0.5:
        look["beamstop"] = _stop(rng, first, center)
    look |= _damage(rng, shape)
    camera, drawn_gain = _camera(rng, look)
    return Scene(seed, look | camera | fixed, drawn_gain if gain is None else gain)


def draw_crystal(seed):
    """(kind, scene) of a polycrystal or a glass: many rings, of which some overlap. The kinds of `CRYSTALS` take turns."""
    rng, kind = np.random.default_rng([seed, 9]), list(CRYSTALS)[seed % len(CRYSTALS)]
    scene = draw(seed, sizes=((256, 256), (384, 320), (512, 512), (300, 420)))
    size, ratios = min(scene.shape), np.sqrt(np.divide(CRYSTALS[kind], CRYSTALS[kind][0]))
    radii = size * rng.uniform(0.1, 0.25) * ratios
    radii = radii[radii < 0.75 * size]
    far = radii / radii[0] - 1
    if kind == "amorphous":
        widths = radii * rng.uniform(0.08, 0.2)
    else:
        widths = max(1.2, size * _log_uniform(rng, 0.004, 0.015)) * (1 + 0.3 * rng.uniform() * far)
    amplitudes = np.exp(-far * rng.uniform(0.3, 1.5)) * rng.uniform(0.25, 1, len(radii))
    look = {"radii": radii.tolist(), "widths": widths.tolist(),
            "amplitudes": (scene.peak * amplitudes / amplitudes.max()).tolist(), "spots": min(scene.look.get("spots", 0), 4)}
    return kind, Scene(seed, scene.look | look, scene.gain)


def _log_uniform(rng, low, high):
    return float(np.exp(rng.uniform(math.log(low), math.log(high))))


def _rings(rng, size, first, peak):
    number = int(rng.integers(1, 6))
    radii = first * np.sort(np.append(1.0, rng.uniform(1.1, 2.6, number - 1)))
    widths = np.maximum(max(1.0, size * _log_uniform(rng, 0.006, 0.022)) * rng.uniform(0.9, 1.2, number), 1.0)
    apart = np.append(True, np.diff(radii) > 2.5 * widths[1:])
    amplitudes = peak * np.append(1.0, rng.uniform(0.15, 1.0, apart.sum() - 1))
    rng.shuffle(amplitudes)
    return {"radii": radii[apart].tolist(), "widths": widths[apart].tolist(), "amplitudes": amplitudes.tolist()}


def _stop(rng, first, center):
    place = tuple(c + 0.2 * first * rng.uniform(-1, 1) for c in center)
    return BeamStop(radius=first * rng.uniform(0.3, 0.75), direction=rng.uniform(0, 2 * math.pi), center=place,
                    width=first * rng.uniform(0.16, 0.5), transmission=rng.choice([0.0, 0.01]), edge=rng.uniform(0.5, 3))


def _background(rng, first, peak):
    if rng.random() < 0.5:
        look = {"background": peak * _log_uniform(rng, 0.02, 1)}
    else:
        look = {"background": peak * _log_uniform(rng, 0.3, 20), "background_decay": first * rng.uniform(0.25, 1.5)}
    if rng.random() < 0.25:
        look["direct_beam"] = peak * _log_uniform(rng, 1, 100)
        look["direct_beam_width"] = max(1.0, first * rng.uniform(0.05, 0.2))
    return look


def _damage(rng, shape):
    height, width = shape
    look, rows, columns = {}, [], []
    if rng.random() < 0.4:
        look["hot_pixels"] = round(height * width * _log_uniform(rng, 3e-5, 1e-3))
    if rng.random() < 0.15:
        rows, columns = [int(rng.integers(height))], [int(rng.integers(width))]
    if rng.random() < 0.1:
        gap = int(width * rng.uniform(0.2, 0.8))
        columns += range(gap, gap + max(2, width // 60))
    return look | {"dead_rows": rows, "dead_columns": columns}


def _camera(rng, look):
    """Sort of image, and gain: bare counts, gain with noise and offset, unsigned and signed integers."""
    brightest = look["background"] + look.get("direct_beam", 0) + 5 * max(look["amplitudes"])
    unsigned = "uint16" if brightest < 6e4 else "uint32"
    return (({}, 1.0),
            ({"offset": rng.uniform(-200, 200), "read_noise": rng.uniform(0, 2), "dtype": "float64"}, rng.uniform(0.5, 30)),
            ({"dtype": unsigned}, 1.0),
            ({"dtype": "int32", "offset": -100.0, "read_noise": rng.uniform(0, 1)}, 1.0))[rng.integers(4)]


def exposures(scene, number):
    """`number` frames of the same scene: the same pattern and the same defects, other noise."""
    frames = drift_series(number, velocity=(0, 0), jitter=0, random_state=scene.seed, **scene.look)
    return [image * scene.gain if scene.gain != 1.0 else image for image, _ in frames]


def render(scene):
    """The frame that a camera would have delivered."""
    return exposures(scene, 1)[0]


def crb(scene, ellipse=True):
    """Cramer-Rao bound of (cx, cy), standard deviations [pixel]: all rings together, Fisher matrix of all visible pixels.

    Nuisances: strain (if fitted), radius, width and amplitude of every ring, with texture its harmonics too, level and decay
    of the background, which itself is not counted as knowing the centre. Spots and direct beam are noise, at known places.
    """
    _, truth = ring_pattern(**scene.look, random_state=scene.seed)
    variance = np.maximum(truth.expected - truth.offset, 1e-9) + truth.read_noise ** 2
    if np.dtype(scene.look.get("dtype", float)).kind in "iu":
        variance += 1 / 12
    rings, fisher = _single_rings(scene), 0.0
    visible = np.flatnonzero(~truth.mask)
    for part in np.array_split(visible, 1 + len(visible) // 50_000):
        slopes = _slopes(scene, rings, part, ellipse)
        fisher = fisher + (slopes / variance.flat[part]) @ slopes.T
    scale = 1 / np.sqrt(np.diag(fisher) + 1e-300)
    inverse = np.linalg.pinv(fisher * np.outer(scale, scale), rcond=1e-12, hermitian=True) * np.outer(scale, scale)
    return math.sqrt(inverse[0, 0]), math.sqrt(inverse[1, 1])


def _single_rings(scene):
    """Expected counts of each ring alone, its texture included: (rings, H, W)."""
    amplitudes = np.diag(scene.look["amplitudes"])
    bare = scene.look | {"background": 0, "direct_beam": 0, "spots": 0, "hot_pixels": 0, "dead_rows": (), "dead_columns": (),
                         "read_noise": 0, "noise": False, "offset": 0, "dtype": np.float64}
    return np.array([ring_pattern(**bare | {"amplitudes": row}, random_state=scene.seed)[0] for row in amplitudes])


def _slopes(scene, rings, part, ellipse):
    """Derivatives of the expected counts in the pixels `part` by cx, cy, and all that is not known either."""
    y, x = np.divmod(part, scene.shape[1])
    dx, dy = x - scene.center[0], y - scene.center[1]
    stretch, angle = math.sqrt(scene.look.get("ratio", 1.0)), scene.look.get("angle", 0.0)
    turn = np.array([[math.cos(angle), math.sin(angle)], [-math.sin(angle), math.cos(angle)]])
    shape = turn.T @ np.diag([1 / stretch, stretch]) @ turn
    u, v = shape @ [dx, dy]
    r, azimuth, phi = np.hypot(u, v), np.arctan2(dy, dx), np.arctan2(v, u)
    moved, columns = 0.0, []
    for image, radius, width in zip(rings, scene.radii, scene.look["widths"], strict=True):
        ring, t = image.flat[part], (r - radius) / width
        columns += [ring, ring * t / width, ring * t * t / width]
        if scene.look.get("texture"):
            orders = range(1, 1 + scene.look["texture_harmonics"])
            columns += [ring * wave(m * azimuth) for m in orders for wave in (np.cos, np.sin)]
        moved = moved + ring * t / width
    if ellipse:
        columns += [moved * r * np.cos(2 * phi), moved * r * np.sin(2 * phi)]
    glow = np.exp(-r / scene.look.get("background_decay", math.inf))
    columns += [np.ones(len(part)), glow, glow * r]
    toward = shape @ [np.cos(phi), np.sin(phi)]
    return np.array([moved * toward[0], moved * toward[1], *columns])


def ring_free(seed, *, sizes=SIZES):
    """(kind, frame) without rings; the kinds of `RING_FREE` take turns."""
    rng = np.random.default_rng([seed, 2])
    shape = tuple(sizes[rng.integers(len(sizes))])
    kind, peak = RING_FREE[seed % len(RING_FREE)], _log_uniform(rng, 1, 1e4)
    if kind == "constant":
        return kind, np.full(shape, peak, np.float32)
    if kind == "noise":
        return kind, (peak * rng.normal(size=shape)).astype(np.float32)
    if kind == "rubbish":
        return kind, rng.integers(0, 65536, shape).astype(np.uint16)
    image = rng.poisson(peak * (rng.uniform(0.01, 0.5) + _ring_free_shape(rng, kind, shape))).astype(np.float32)
    if rng.random() < 0.4:
        image[rng.random(shape) < 1e-3] = 30 * image.max() + 10
    return kind, image


def _ring_free_shape(rng, kind, shape):
    """Expected counts of a ring-free frame, without its flat background, over their peak."""
    (height, width), size = shape, min(shape)
    y, x = np.mgrid[:height, :width].astype(float)
    cx, cy = width * rng.uniform(0.25, 0.75), height * rng.uniform(0.25, 0.75)
    r = np.hypot(x - cx, (y - cy) * rng.uniform(0.8, 1.25))
    total = np.zeros(shape)
    if kind == "ramp":
        total += x / width * rng.uniform(0, 1) + y / height * rng.uniform(0, 1)
    if kind in ("blob", "stop", "spots and blob"):
        total += np.exp(-0.5 * (r / (size * rng.uniform(0.02, 0.4))) ** 2)
    if kind == "slope":
        total += np.exp(-r / (size * rng.uniform(0.03, 0.3)))
    if kind == "disc":
        total += 1 / (1 + np.exp(np.clip((r - size * rng.uniform(0.05, 0.45)) / rng.uniform(0.5, 6), -50, 50)))
    if kind in ("spots", "spots and blob"):
        total += _lattice(rng, x, y, (cx, cy), size)
    if kind == "stop":
        stop = BeamStop(size * rng.uniform(0.05, 0.2), rng.uniform(0, 2 * math.pi), size * rng.uniform(0.02, 0.1), (cx, cy))
        total *= stop.lets_through(x, y)
    return total


def _lattice(rng, x, y, center, size):
    """Spots of a single crystal."""
    angle, skew = rng.uniform(0, math.pi), rng.uniform(math.pi / 3, math.pi / 2)
    step, width = size * rng.uniform(0.08, 0.25), max(1.0, size * rng.uniform(0.004, 0.015))
    basis = step * np.array([[math.cos(angle), math.sin(angle)], [math.cos(angle + skew), math.sin(angle + skew)]])
    total = np.zeros(x.shape)
    for h, k in np.ndindex(17, 17):
        if (h, k) == (8, 8):
            continue
        u, v = np.array(center) + (h - 8, k - 8) @ basis
        height = rng.exponential() * math.exp(-((h - 8) ** 2 + (k - 8) ** 2) / 30)
        total += height * np.exp(-0.5 * ((x[:1] - u) / width) ** 2) * np.exp(-0.5 * ((y[:, :1] - v) / width) ** 2)
    return total
