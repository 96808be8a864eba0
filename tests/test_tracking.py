"""The tracker: exact on drifts, fast to notice, and it keeps nothing but what it needs."""

import itertools
import math
import threading
import tracemalloc

import h5py
import numpy as np
import pytest

from edfast import tracking
from edfast.kernels import tracking as kernels
from edfast.kernels.rings import eliminate_each
from edfast.simulate import BeamStop, drift_series, ring_pattern
from edfast.tracking import CenterTracker, track_stack
from tests import naive_tracking

SHAPE = (128, 160)
LOOK = {"radii": [36, 52], "widths": 2.5, "amplitudes": [150, 80]}


def follow(frames, tracker):
    """(results, truths) of a tracker on a drift series."""
    pairs = [(tracker.update(frame), truth) for frame, truth in frames]
    return [result for result, _ in pairs], [truth for _, truth in pairs]


def deviations(results, truths):
    """Errors (frames, 2) [pixel], and the same over the standard errors."""
    off = np.array([np.subtract(result.center, truth.center) for result, truth in zip(results, truths, strict=True)])
    return off, off / [(result.cx_err, result.cy_err) for result in results]


@pytest.fixture
def searches(monkeypatch):
    """List that gets an entry whenever a frame is searched by fit_ring."""
    calls = []

    def counting(*args, **options):
        calls.append(args)
        return search(*args, **options)

    search = tracking.fit_ring
    monkeypatch.setattr(tracking, "fit_ring", counting)
    return calls


# ------------------------------------------------------------------------------------------------------------- kernels


@pytest.mark.small
@pytest.mark.parametrize(("size", "strain"), [(1, (0.0, 0.0)), (2, (0.03, -0.02)), (4, (0.0, 0.05))])
def test_blocks_are_listed_once_with_their_cell(size, strain):
    first, lo, step = np.array([0, 4, 7]), np.array([6.0, 14.0]), np.array([1.5, 2.0])
    expected = naive_tracking.blocks_of_annuli(lo, step, first, size, *strain, 16)
    number = kernels.list_blocks(lo, step, first, size, *strain, 16, False, *[np.empty(0, np.int32)] * 2,
                                 np.empty(0, np.uint16), np.empty(0, np.float32))
    dx, dy = np.empty((2, number), np.int32)
    cell, radius = np.empty(number, np.uint16), np.empty(number, np.float32)
    kernels.list_blocks(lo, step, first, size, *strain, 16, True, dx, dy, cell, radius)
    found = {(x, y): (c, r) for x, y, c, r in zip(*(a.tolist() for a in (dx, dy, cell, radius)), strict=True)}
    assert len(found) == number
    assert found.keys() == expected.keys()
    assert all(found[key][0] == expected[key][0] and abs(found[key][1] - expected[key][1]) < 1e-5 for key in found)


@pytest.mark.small
@pytest.mark.parametrize("dtype", ["uint8", "int32", "float32", "float64"])
@pytest.mark.parametrize("size", [1, 2, 4, 8])
def test_sums_of_blocks(size, dtype):
    rng = np.random.default_rng(size)
    image = rng.integers(0, 200, (40, 50)).astype(dtype)
    y, x = rng.integers(0, 40 - size, 60), rng.integers(0, 50 - size, 60)
    offsets, cells, sums = (y * 50 + x).astype(np.uint32), rng.integers(0, 9, 60).astype(np.uint16), np.empty(9)
    kernels.gather(image.reshape(-1), 50, size, offsets, cells, sums)
    np.testing.assert_array_equal(sums, naive_tracking.gather(image, size, offsets, cells, 9))


@pytest.mark.small
def test_blocks_outside_and_bad_blocks_stay_away():
    dx, dy = np.array([0, 3, -3, 5], np.int32), np.array([0, 1, 0, 9], np.int32)
    cell, radius = np.array([0, 1, 1, 0], np.uint16), np.array([1, 2, 3, 4], np.float32)
    bad = np.zeros((10, 10), np.uint8)
    bad[2, 2] = 1
    offsets, cells, chosen = np.zeros(4, np.uint32), np.zeros(4, np.uint16), np.zeros(4, np.int32)
    count, place = np.zeros((2, 2))
    number = kernels.place_blocks(dx, dy, cell, radius, 2, 2, 2, bad, 10, 10, offsets, cells, chosen, count, place)
    assert (number, chosen[0], offsets[0], count.tolist(), place.tolist()) == (1, 1, 35, [0, 1], [0, 2])
    number = kernels.place_blocks(dx, dy, cell, radius, 4, 2, 2, np.zeros((0, 0), np.uint8), 10, 10, offsets, cells, chosen,
                                  count, place)
    assert chosen[:number].tolist() == [0, 1, 2]
    assert place.tolist() == [1, 2.5]


@pytest.mark.small
def test_blocks_that_do_not_fit_in_are_dropped():
    image = np.ones((6, 6), np.float32)
    image[2, 2], image[4, 4] = 50, np.nan
    offsets = np.array([0, 14, 21, 28], np.uint32)
    cells, chosen, radius = np.zeros(4, np.uint16), np.arange(4, dtype=np.int32), np.array([1, 2, 3, 4], np.float32)
    count, place = np.array([4.0]), np.array([2.5])
    number = kernels.drop_blocks(image.reshape(-1), 6, 1, np.array([0.0]), np.array([9.0]), radius, offsets, cells, chosen,
                                 count, place)
    assert (number, chosen[:2].tolist(), count[0], place[0]) == (2, [0, 2], 2, 2)


@pytest.mark.small
def test_model_columns():
    rng = np.random.default_rng(1)
    bins, lanes, n = 11, 4, 2
    cells = rng.random((3, bins, lanes))
    cells[2] = np.linspace(10, 30, bins)[:, None] + rng.random((bins, lanes))
    here, widths, along = 18 + 4 * rng.random((n, lanes)), np.array([2.0, 2.5]), rng.random(lanes)
    signal, used = rng.random((2, n + 2, lanes))
    f, (expected, u) = np.empty((3 * n + 3, bins, lanes)), np.empty((2, bins, lanes))
    level, lean = rng.random((2, bins))
    kernels.model_columns(0, cells, 20.0, 10.0, here, along, widths, 2.0, level, lean, signal, used, True, f, expected, u)
    for i, j in itertools.product(range(bins), range(lanes)):
        wanted = naive_tracking.columns(cells[2, i, j:j + 1], here[:, j], widths, used[:n, j], 20.0, 10.0, along[j])[:, 0]
        np.testing.assert_allclose(f[:-1, i, j], wanted, atol=1e-7)
        ground = 2 * (level[i] - lean[i] * along[j])
        np.testing.assert_allclose(f[-1, i, j], cells[0, i, j] - ground - wanted[:n + 2] @ signal[:, j], atol=1e-5)
        np.testing.assert_allclose(expected[i, j], ground + wanted[:n + 2] @ used[:, j], atol=1e-5)


@pytest.mark.small
@pytest.mark.parametrize("bins", [1, 21])
def test_products_of_columns(bins):
    rng = np.random.default_rng(bins)
    f, weights, full = rng.normal(size=(6, bins, 32)), rng.random((bins, 32)), np.full((5, 7, 32), np.nan)
    kernels.products(f, weights, np.empty((bins, 32)), full)
    expected = np.einsum("ij,pij,qij->pqj", weights, f[:5], f)
    for p in range(5):
        np.testing.assert_allclose(full[p, p:6], expected[p, p:], rtol=1e-12, atol=1e-12)


@pytest.mark.small
def test_variances_of_each_sector():
    rng = np.random.default_rng(0)
    columns = rng.normal(size=(16, 20, 5))
    columns[3, :, 1] = 0            # nothing tells of the second unknown of this sector
    full, out = np.zeros((5, 7, 16)), np.empty((3, 16))
    full[:, :5] = np.einsum("jip,jiq->pqj", columns, columns)
    expected = [np.diag(np.linalg.pinv(full[:3, :3, j])) for j in range(16)]
    eliminate_each(full, 3, *np.empty((2, 16)))
    kernels.variances_each(full, 3, np.empty((5, 16)), out)
    assert out[1, 3] == np.inf
    out[1, 3] = 0
    np.testing.assert_allclose(out, np.transpose(expected), rtol=1e-9, atol=1e-12)


@pytest.mark.small
def test_cells_without_anything_weigh_nothing():
    cells, (residual, expected), weights = np.ones((3, 2, 4)), np.ones((2, 2, 4)), np.empty((2, 4))
    cells[1, 0], cells[1, 1], residual[1, 0] = 0, 4, 100
    kernels.weigh_cells(0, cells, residual, expected, np.array([2.0, 0.0, 0.1, 1.0]), weights)
    np.testing.assert_array_equal(weights[0], 0)
    np.testing.assert_allclose(weights[1], [2 * 36 * 4 * 2 / 400 ** 2, 2, 2, 2])


# --------------------------------------------------------------------------------------------------------------- drifts


def test_a_drift_is_followed_within_the_errors(searches):
    tracker = CenterTracker(SHAPE)
    results, truths = follow(drift_series(120, SHAPE, velocity=(0.13, -0.08), random_state=1, **LOOK), tracker)
    _, pulls = deviations(results, truths)
    assert len(searches) == 1
    assert not any(result.lost or result.jumped for result in results)
    assert 0.8 < np.sqrt(np.mean(pulls[1:] ** 2)) < 1.2
    assert np.abs(pulls).max() < 5
    assert abs(pulls[1:].mean()) < 0.3
    assert tracker.fit.center == results[-1].center
    assert results[-1].center_rc == (results[-1].cy, results[-1].cx)
    assert 0 < results[-1].latency < 10


@pytest.mark.parametrize("look", [
    {"beamstop": BeamStop(14, direction=0.6, width=9), "texture": 0.4, "hot_pixels": 20},
    {"amplitudes": 4, "background": 1},
    {"ratio": 1.05, "angle": 0.7},
    {"background": 2000, "background_decay": 25.0},
    {"center": (40.3, 52.8), "texture": 0.3},
], ids=["stop, texture, hot pixels", "few counts", "ellipse", "steep background", "cut by the frame"])
def test_errors_tell_the_truth(look):
    series = drift_series(60, SHAPE, velocity=(0.05, 0.08), random_state=5, **LOOK | look)
    results, truths = follow(series, CenterTracker(SHAPE))
    off, pulls = deviations(results, truths)
    assert not any(result.lost for result in results)
    assert 0.7 < np.sqrt(np.mean(pulls[1:] ** 2)) < 1.35
    assert np.abs(off).max() < 1


def test_wide_rings_are_summed_in_blocks():
    tracker = CenterTracker((512, 512))
    look = {"radii": [150], "widths": 9.0, "amplitudes": 100}
    results, truths = follow(drift_series(20, (512, 512), velocity=(0.3, 0.2), random_state=2, **look), tracker)
    assert tracker._rings.size == 4
    assert np.abs(deviations(results, truths)[1]).max() < 4.5


def test_ring_of_a_radius_is_followed():
    frame, _ = ring_pattern(SHAPE, random_state=0, **LOOK | {"radii": [30, 55]})
    tracker = CenterTracker(SHAPE, radius=54)
    tracker.update(frame)
    assert tracker._rings.radii == pytest.approx([55], abs=0.2)


def test_a_circle_stays_one():
    tracker = CenterTracker(SHAPE, ellipse=False)
    results, truths = follow(drift_series(5, SHAPE, random_state=3, **LOOK), tracker)
    assert np.abs(deviations(results, truths)[1]).max() < 5
    np.testing.assert_array_equal(tracker._rings.geometry[2:], 0)


def test_slow_changes_of_the_rings_are_followed(searches):
    tracker, truths, results = CenterTracker(SHAPE), [], []
    for number in range(60):
        grow = 1 + 0.001 * number
        look = {"radii": [36 * grow, 52 * grow], "widths": 2.5 * grow, "amplitudes": [150 / grow ** 8, 80]}
        frame, truth = ring_pattern(SHAPE, ratio=1 + 2e-4 * number, random_state=number, **look)
        results.append(tracker.update(frame))
        truths.append(truth)
    assert len(searches) == 1
    assert np.sqrt(np.mean(deviations(results, truths)[1] ** 2)) < 1.3


# ------------------------------------------------------------------------------------------------------ jumps and losses


def test_a_jump_shows_at_once_and_at_full_length():
    tracker = CenterTracker(SHAPE)
    center = np.array([80.0, 63.0])
    for number in range(30):
        shift = (0.5, 0.0) if number >= 20 else (0.0, 0.0)
        frame, truth = ring_pattern(SHAPE, tuple(center + shift), random_state=number, **LOOK)
        result = tracker.update(frame)
        assert result.jumped == (number == 20)
        assert abs(result.cx - truth.cx) < 5 * result.cx_err


def test_a_far_jump_is_searched(searches):
    tracker = CenterTracker(SHAPE)
    for number in range(12):
        place = (70.0, 60.0) if number < 6 else (95.0, 70.0)
        frame, truth = ring_pattern(SHAPE, place, random_state=number, **LOOK)
        result = tracker.update(frame)
        assert not result.lost
        assert result.jumped == (number == 6)
        assert math.dist(result.center, truth.center) < 0.1
    assert len(searches) == 2


def test_lost_without_burning_and_back_at_once(searches):
    rng = np.random.default_rng(0)
    tracker = CenterTracker(SHAPE)
    ring = ring_pattern(SHAPE, random_state=0, **LOOK)[0]
    assert not tracker.update(ring).lost
    dark = [tracker.update(rng.poisson(2.0, SHAPE).astype(np.float32)) for _ in range(100)]
    assert all(result.lost and math.isnan(result.cx) and math.isnan(result.cy_err) and not result.jumped for result in dark)
    assert tracker.fit is None
    assert 3 < len(searches) < 12
    back = tracker.update(ring)
    assert not back.lost
    assert back.center == pytest.approx((79.5, 63.5), abs=0.1)
    assert tracker.fit is not None


def test_another_ring_is_found_within_32_frames():
    rng = np.random.default_rng(0)
    tracker = CenterTracker(SHAPE)
    for _ in range(70):
        assert tracker.update(rng.poisson(20.0, SHAPE).astype(np.float32)).lost
    for number in range(33):
        frame, truth = ring_pattern(SHAPE, (90.0, 70.0), radii=[25], amplitudes=60, random_state=number)
        result = tracker.update(frame)
        if not result.lost:
            break
    assert number <= 32
    assert math.dist(result.center, truth.center) < 0.1


def test_flicker_does_not_search_each_frame(searches):
    rng = np.random.default_rng(0)
    tracker = CenterTracker(SHAPE)
    for number in range(80):
        assert tracker.update(rng.poisson(2.0 + 50 * (number % 2), SHAPE).astype(np.float32)).lost
    assert len(searches) < 30


def test_a_stop_that_moves_in(searches):
    tracker = CenterTracker(SHAPE)
    for number in range(16):
        stop = BeamStop(16, direction=0.4, width=22) if number > 7 else None
        frame, truth = ring_pattern(SHAPE, beamstop=stop, random_state=number, **LOOK)
        result = tracker.update(frame)
        assert not result.lost
        assert math.dist(result.center, truth.center) < 6 * math.hypot(result.cx_err, result.cy_err)
    assert len(searches) <= 4


def test_reset():
    tracker = CenterTracker(SHAPE)
    frame, _ = ring_pattern(SHAPE, random_state=0, **LOOK)
    first = tracker.update(frame)
    tracker.reset()
    assert tracker.fit is None
    again = tracker.update(frame)
    assert (first.center, again.jumped) == (again.center, False)


# ---------------------------------------------------------------------------------------------------------------- input


@pytest.mark.parametrize("dtype", ["uint8", "uint16", "int16", "int32", "uint32", "float32", "float64", ">u2", "float16"])
def test_every_dtype_says_the_same(dtype):
    tracker, plain = CenterTracker(SHAPE), CenterTracker(SHAPE)
    for frame, _ in drift_series(3, SHAPE, random_state=1, dtype=np.uint8, **LOOK | {"amplitudes": 100}):
        result, expected = tracker.update(frame.astype(dtype)), plain.update(frame)
        assert result.center == pytest.approx(expected.center, abs=1e-6)


def test_layouts_masks_and_broken_pixels():
    mask = np.zeros(SHAPE, int)
    mask[:, 100:104] = 1
    trackers = [CenterTracker(SHAPE, mask=mask) for _ in range(4)]
    for frame, truth in drift_series(4, SHAPE, random_state=1, **LOOK):
        wrong = frame.copy()
        wrong[:, 100:104] = 1e6
        broken = frame.copy()
        broken[::17, ::13] = np.nan
        broken[3::17, 5::13] = np.inf
        frozen = np.asfortranarray(frame)
        frozen.setflags(write=False)
        plain, *others = (tracker.update(image) for tracker, image in
                          zip(trackers, (frame, wrong, frozen, broken), strict=True))
        assert others[0].center == pytest.approx(plain.center, abs=1e-9)
        assert others[1].center == pytest.approx(plain.center, abs=1e-9)
        assert math.dist(others[2].center, truth.center) < 5 * math.hypot(others[2].cx_err, others[2].cy_err)


@pytest.mark.small
@pytest.mark.parametrize(("options", "message"), [
    ({"shape": 5}, "shape must be"), ({"shape": (4, 4, 4)}, "shape must be"), ({"shape": (4, 0)}, "shape must be"),
    ({"mask": np.zeros((3, 3))}, "mask has shape"), ({"mask": np.full(SHAPE, "a")}, "mask must be"),
    ({"radius": -1}, "radius must be"), ({"radius": "x"}, "radius must be"),
])
def test_bad_arguments(options, message):
    with pytest.raises((ValueError, TypeError), match=message):
        CenterTracker(**{"shape": SHAPE} | options)


@pytest.mark.small
@pytest.mark.parametrize(("frame", "message"), [
    (np.zeros((3, 4)), "frame has shape"), (np.zeros((2, 128, 160)), "two-dimensional"),
    (np.zeros(SHAPE, complex), "real numbers"),
])
def test_bad_frames(frame, message):
    with pytest.raises((ValueError, TypeError), match=message):
        CenterTracker(SHAPE).update(frame)


@pytest.mark.small
def test_frames_without_rings():
    for frame in (np.zeros((20, 30)), np.full((20, 30), np.nan), np.ones((5, 5))):
        assert CenterTracker(frame.shape).update(frame).lost


# ------------------------------------------------------------------------------------------------- memory, threads, stacks


def test_constant_memory():
    frames = [frame for frame, _ in drift_series(40, (96, 96), radii=[30], velocity=(0.2, 0.1), random_state=1)]
    frames += frames[::-1]
    tracker = CenterTracker((96, 96))
    for frame in frames:
        tracker.update(frame)
    tracemalloc.start()
    before = tracemalloc.get_traced_memory()[0]
    for frame in itertools.islice(itertools.cycle(frames), 5000):
        tracker.update(frame)
    grown = tracemalloc.get_traced_memory()[0] - before
    tracemalloc.stop()
    assert grown < 50_000


def test_trackers_side_by_side():
    series = [[frame for frame, _ in drift_series(20, SHAPE, random_state=seed, **LOOK)] for seed in range(4)]
    alone = [[result.center for result in map(CenterTracker(SHAPE).update, frames)] for frames in series]
    together, barrier = [None] * 4, threading.Barrier(4)

    def run(number):
        tracker = CenterTracker(SHAPE)
        barrier.wait()
        together[number] = [result.center for result in map(tracker.update, series[number])]

    threads = [threading.Thread(target=run, args=(number,)) for number in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert together == alone


@pytest.fixture(scope="module")
def scan():
    """(frames (3, 4, H, W), true centres (12, 2))."""
    pairs = list(drift_series(12, (96, 96), radii=[30], amplitudes=200, velocity=(0.2, -0.1), dtype=np.uint16, random_state=4))
    return np.array([frame for frame, _ in pairs]).reshape(3, 4, 96, 96), np.array([truth.center for _, truth in pairs])


@pytest.mark.parametrize("kind", ["array", "list", "memory map", "contiguous", "chunked", "path", "npy", "dask"])
@pytest.mark.parametrize("axes", [3, 4])
def test_stacks_of_every_kind(kind, axes, scan, tmp_path):
    frames, truths = scan
    if axes == 3:
        frames = frames.reshape(12, 96, 96)
    with h5py.File(tmp_path / "scan.h5", "w") as file:
        file.create_dataset("data", data=frames, chunks=None if kind == "contiguous" else (1,) * (axes - 2) + (96, 96))
    np.save(tmp_path / "scan.npy", frames)
    file = h5py.File(tmp_path / "scan.h5", "r")
    stack = {"array": lambda: frames, "list": frames.tolist, "path": lambda: tmp_path / "scan.h5",
             "memory map": lambda: np.load(tmp_path / "scan.npy", mmap_mode="r"), "npy": lambda: str(tmp_path / "scan.npy"),
             "contiguous": lambda: file["data"], "chunked": lambda: file["data"],
             "dask": lambda: pytest.importorskip("dask.array").from_array(frames)}[kind]()
    track = track_stack(stack)
    file.close()
    assert track.cx.shape == frames.shape[:-2]
    assert len(track) == 12
    assert not track.lost.any()
    assert not track.jumped.any()
    off = np.stack([track.cx.ravel(), track.cy.ravel()], 1) - truths
    assert np.all(np.abs(off) < 5 * np.stack([track.cx_err.ravel(), track.cy_err.ravel()], 1))
    assert track.center_rc[0] is track.center[1]


@pytest.mark.small
def test_bad_stacks(tmp_path):
    with pytest.raises(ValueError, match="must be a stack"):
        track_stack(np.zeros((20, 20)))
    with pytest.raises(ValueError, match="is empty"):
        track_stack(np.zeros((0, 3, 20, 20)))
    with pytest.raises(ValueError, match="name is that"):
        track_stack(np.zeros((2, 20, 20)), name="data")
    with pytest.raises(FileNotFoundError, match="no such file"):
        track_stack(tmp_path / "missing.h5")
    (tmp_path / "bad.h5").write_bytes(b"rubbish")
    with pytest.raises(ValueError, match=r"bad\.h5: not an HDF5 file, or damaged"):
        track_stack(tmp_path / "bad.h5")
