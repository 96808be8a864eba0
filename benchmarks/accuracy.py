"""How far from the truth the centre is, by edfast and by other programs: ``python -m benchmarks.accuracy [--peers]``.

All programs of the first table get the same simulated images in the same run. The second table is fit_ring's alone: errors in
units of the Cramer-Rao bound, and of the errors that it quotes, by what is in the image; the third the same for crystals,
whose rings overlap. The last one counts the images without rings in which it sees some.
"""

import argparse
import math
import os
import platform
import time
from dataclasses import dataclass, field

import numpy as np
from tqdm import tqdm

import edfast

from . import centre_peers, scenes

EXPOSURES = 2       # of each scene: what two of them have in common is bias
PEER_SECONDS = 240  # after which the other programs get no more scenes
CRYSTALS = 80       # scenes with these
GUESS = 3.0         # how far off a given centre is, at most [pixel]
CLEAR = 0.003       # bound below which errors are compared with it no more [pixel]
OURS = ("edfast fit_ring", "edfast fit_ring, centre given", "edfast fit_ring, like the other exposure")

CATEGORIES = {
    "all": lambda scene: True,
    "1 to 10 counts": lambda scene: scene.peak < 10,
    "10 to 100 counts": lambda scene: 10 <= scene.peak < 100,
    "100 to 1000 counts": lambda scene: 100 <= scene.peak < 1000,
    "1000 to 10 000 counts": lambda scene: scene.peak >= 1000,
    "beam stop": lambda scene: "beamstop" in scene.look,
    "ellipse": lambda scene: "ratio" in scene.look,
    "texture": lambda scene: "texture" in scene.look,
    "spots": lambda scene: "spots" in scene.look,
    "hot pixels": lambda scene: "hot_pixels" in scene.look,
    "dead lines": lambda scene: bool(scene.look["dead_columns"] or scene.look["dead_rows"]),
    "sloping background": lambda scene: "background_decay" in scene.look,
    "direct beam": lambda scene: "direct_beam" in scene.look,
    "integers": lambda scene: "int" in scene.look.get("dtype", ""),
    "off-centre by 15 % and more": lambda scene: scene.off_center > 0.15,
    "cut by the frame": lambda scene: scene.cut,
    "one ring": lambda scene: len(scene.radii) == 1,
    "several rings": lambda scene: len(scene.radii) > 1,
}


@dataclass
class Trial:
    """One scene: its bounds (cx, cy), what fit_ring makes of each exposure, and every program's Outcome on the first."""

    scene: scenes.Scene
    bound: np.ndarray
    fits: list = field(default_factory=list)
    outcomes: dict = field(default_factory=dict)

    def error(self, center):
        """Distance of a centre from the true one [pixel]."""
        return math.dist(center, self.scene.center)

    def failed(self, center, fit=None):
        """Whether a centre is plainly wrong: by 2 pixels (5 bounds, if that is more), or by ten of its own standard errors."""
        error = self.error(center)
        return error > max(2, 5 * math.hypot(*self.bound)) or (fit is not None and error > 10 * fit.center_err)


def timed_fit(image, **options):
    """(RingFit or None, Outcome) of fit_ring."""
    start = time.perf_counter()
    try:
        fit, problem = edfast.fit_ring(image, **options), ""
    except edfast.RingNotFoundError as error:
        fit, problem = None, str(error)
    return fit, centre_peers.Outcome(fit and fit.center, time.perf_counter() - start, problem)


def measure(seeds, sizes, programs):
    """Trials of fit_ring on all scenes, and of the other programs on as many as PEER_SECONDS allow."""
    edfast.fit_ring(scenes.render(scenes.draw(0, sizes=[(64, 64)])))  # loads the kernels
    trials, spent = [], 0.0
    for seed in tqdm(seeds, desc="scenes", unit="", disable=None):
        scene = scenes.draw(seed, sizes=sizes)
        images = scenes.exposures(scene, EXPOSURES)
        trial = Trial(scene, np.array(scenes.crb(scene)))
        guess = tuple(scene.center + np.random.default_rng([seed, 3]).uniform(-GUESS, GUESS, 2))
        first, *others = [timed_fit(image) for image in images]
        given = timed_fit(images[0], center=guess), timed_fit(images[0], like=others[0][0])
        trial.outcomes = dict(zip(OURS, (first, *given), strict=True))
        trial.fits = [fit for fit, _ in (first, *others)]
        if spent < PEER_SECONDS:
            for name in programs:
                trial.outcomes[name] = None, centre_peers.locate(name, images[0])
                spent += trial.outcomes[name][1].seconds
        trials.append(trial)
    return trials


def print_programs(trials, programs):
    """The first table, over the scenes that all programs had."""
    shared = [trial for trial in trials if all(name in trial.outcomes for name in programs)]
    print(f"\nThe first {len(shared)} scenes:\n")
    print("| program | found | failures | median error | RMS error | median error / bound | median time |")
    print("| --- | ---: | ---: | ---: | ---: | ---: | ---: |")
    for name in (*OURS, *programs):
        answers = [(trial, *trial.outcomes[name]) for trial in shared]
        found = [(trial, fit, outcome.center) for trial, fit, outcome in answers if outcome.center is not None]
        errors = np.array([trial.error(center) for trial, _, center in found] or [np.nan])
        ratios = errors / np.array([math.hypot(*trial.bound) for trial, *_ in found] or [np.nan])
        failures = sum(trial.failed(center, fit) for trial, fit, center in found)
        seconds = np.median([outcome.seconds for *_, outcome in answers])
        print(f"| {name} | {len(found)} of {len(shared)} | {failures} | {np.median(errors):.3g} | "
              f"{math.sqrt(np.mean(errors ** 2)):.3g} | {np.median(ratios):.2f} | {1e3 * seconds:.3g} ms |")


def print_categories(trials):
    """The second table: fit_ring by what is in the image."""
    print("\n| fit_ring, images with | found | failures | not converged | RMS error / bound | bias / bound | "
          "pull width, robust | pull width |")
    print("| --- | ---: | ---: | ---: | ---: | ---: | ---: | ---: |")
    for name, applies in CATEGORIES.items():
        chosen = [trial for trial in trials if applies(trial.scene)]
        fits, right = _answers(chosen)
        failures, slow = len(fits) - len(right), sum(not fit.converged for _, fit in fits)
        print(f"| {name} | {len(fits)} of {EXPOSURES * len(chosen)} | {failures} | {slow} | {_over_bound(right)} | "
              f"{_bias(chosen)} | {' | '.join(_pulls(right))} |")
    worst = sorted({trial.scene.seed for trial in trials for fit in trial.fits if not fit or trial.failed(fit.center, fit)})
    print(f"\nSeeds of the scenes that were missed or failed: {', '.join(map(str, worst)) or 'none'}.")
    sharp = [_deviation(trial, fit) for trial in trials for fit in trial.fits if fit and trial.bound.max() < CLEAR]
    if sharp:
        print(f"\nWhere the bound is below {CLEAR} pixel ({len(sharp)} images): RMS error per axis "
              f"{math.sqrt(np.mean(np.square(sharp))):.2g} pixel, worst {np.abs(sharp).max():.2g} pixel.")


def _answers(trials):
    """(trial, fit) of all fits, and of those that are no failures."""
    fits = [(trial, fit) for trial in trials for fit in trial.fits if fit]
    return fits, [(trial, fit) for trial, fit in fits if not trial.failed(fit.center, fit)]


def _deviation(trial, fit):
    return np.subtract(fit.center, trial.scene.center)


def _over_bound(right):
    """RMS of errors over bounds, both axes, where the bound is above CLEAR."""
    ratios = [_deviation(trial, fit) / trial.bound for trial, fit in right if trial.bound.min() > CLEAR]
    return f"{math.sqrt(np.mean(np.square(ratios))):.2f}" if ratios else ""


def _bias(chosen):
    """Root of the mean product of the errors of two exposures, over the bounds; a limit (2 sigma) where noise hides it."""
    products = [np.prod([_deviation(trial, fit) / trial.bound for fit in trial.fits], axis=0) for trial in chosen
                if trial.bound.min() > CLEAR and all(fit and not trial.failed(fit.center, fit) for fit in trial.fits)]
    if len(products) < 5:
        return ""
    mean, error = np.mean(products), np.std(products) / math.sqrt(np.size(products))
    return f"{math.sqrt(mean):.2f}" if mean > 2 * error else f"< {math.sqrt(max(mean, 0) + 2 * error):.2f}"


def _pulls(right):
    """Widths of the distributions of error over quoted error, cx and cy: from the median deviation, and the RMS."""
    if len(right) < 5:
        return "", ""
    pulls = np.array([_deviation(trial, fit) / (fit.cx_err, fit.cy_err) for trial, fit in right])
    return tuple(", ".join(f"{width:.2f}" for width in widths)
                 for widths in (np.median(np.abs(pulls), axis=0) / 0.6745, np.sqrt(np.mean(pulls ** 2, axis=0))))


def print_crystals(seeds):
    """The third table: fit_ring by the kind of crystal; half of all errors are below the median."""
    kinds = {kind: [] for kind in scenes.CRYSTALS}
    for seed in tqdm(seeds, desc="crystals", unit="", disable=None):
        kind, scene = scenes.draw_crystal(seed)
        fits = [timed_fit(image)[0] for image in scenes.exposures(scene, EXPOSURES)]
        kinds[kind].append(Trial(scene, np.array(scenes.crb(scene)), fits))
    print("\n| crystals, whose rings overlap | found | failures | RMS error / bound | median error / bound | "
          "pull width, robust | pull width |\n| --- | ---: | ---: | ---: | ---: | ---: | ---: |")
    for kind, trials in kinds.items():
        fits, right = _answers(trials)
        ratios = [trial.error(fit.center) / math.hypot(*trial.bound) for trial, fit in fits]
        print(f"| {kind} | {len(fits)} of {EXPOSURES * len(trials)} | {len(fits) - len(right)} | {_over_bound(right)} | "
              f"{np.median(ratios):.2f} | {' | '.join(_pulls(right))} |")


def print_ring_free(seeds, sizes):
    """The last table: images without rings, by what is in them."""
    kinds = {kind: [0, 0] for kind in scenes.RING_FREE}
    for seed in tqdm(seeds, desc="without rings", unit="", disable=None):
        kind, image = scenes.ring_free(seed, sizes=sizes)
        kinds[kind][0] += 1
        kinds[kind][1] += timed_fit(image)[0] is not None
    print("\n| images without rings | number | answered with a ring |\n| --- | ---: | ---: |")
    for kind, (number, answered) in kinds.items():
        print(f"| {kind} | {number} | {answered} |")
    print(f"| all | {sum(n for n, _ in kinds.values())} | {sum(n for _, n in kinds.values())} |")


def main():
    """Print the four tables."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--scenes", type=int, default=200, metavar="N", help="number of simulated scenes")
    parser.add_argument("--seed", type=int, default=0, metavar="S", help="the scenes are those of S, S + 1 ...")
    parser.add_argument("--sizes", type=int, nargs="+", metavar="PIXELS", help="sides of square images; a mixture by default")
    parser.add_argument("--peers", action="store_true", help="the other programs too, as far as they are installed")
    options = parser.parse_args()
    sizes = [(side, side) for side in options.sizes] if options.sizes else scenes.SIZES
    seeds = range(options.seed, options.seed + options.scenes)
    programs = centre_peers.PEERS if options.peers else ("documented centroid",)
    missing = {name: centre_peers.absent(name) for name in programs}
    trials = measure(seeds, sizes, [name for name, problem in missing.items() if not problem])
    sides = [math.sqrt(math.prod(size)) for size in sizes]
    print(f"Measured by `python -m benchmarks.accuracy` on {os.cpu_count()} cores ({platform.machine()}), Python "
          f"{platform.python_version()}: {len(trials)} simulated scenes, {EXPOSURES} exposures of each; images from "
          f"{min(sides):.0f} to {max(sides):.0f} pixels a side, rings of 1 to 10 000 counts. Errors in pixels; the bound is "
          f"Cramer and Rao's.")
    print_programs(trials, [name for name, problem in missing.items() if not problem])
    print_categories(trials)
    print_crystals(seeds[:CRYSTALS])
    print_ring_free(seeds, sizes)
    for name, problem in missing.items():
        if problem:
            print(f"\n{name} did not run: {problem}")


if __name__ == "__main__":
    main()
