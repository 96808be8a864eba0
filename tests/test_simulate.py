"""The simulated truth against moments, pyFAI and counting statistics; the DM4 writer against two other programs' readers."""

import csv
import math
import tracemalloc
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from edfast import _scene
from edfast.filereader import load_data
from edfast.geometry import Poni, poni_with_center, read_poni, to_integrator
from edfast.simulate import BeamStop, drift_series, powder_pattern, ring_pattern, write_demo, write_dm4

PIXELS = ["int8", "int16", "int32", "uint8", "uint16", "uint32", "float32", "float64"]
CLEAN = {"noise": False, "background": 0.0, "dtype": np.float64}


def moments(image):
    """Centre (x, y) and covariance of an image taken as a density."""
    y, x = np.indices(image.shape, dtype=np.float64)
    total = image.sum()
    cx, cy = (x * image).sum() / total, (y * image).sum() / total
    dx, dy = x - cx, y - cy
    return (cx, cy), np.array([[(dx * dx * image).sum(), (dx * dy * image).sum()],
                               [(dx * dy * image).sum(), (dy * dy * image).sum()]]) / total


# ------------------------------------------------------------------------------------------------------- exact positions


@settings(deadline=None, max_examples=25)
@given(cx=st.floats(90, 110), cy=st.floats(90, 110), radius=st.floats(20, 70), width=st.floats(1, 3))
def test_ring_is_where_it_should_be(cx, cy, radius, width):
    image, truth = ring_pattern((200, 201), (cx, cy), radius, widths=width, **CLEAN)
    (x, y), _ = moments(image)
    assert math.hypot(x - cx, y - cy) < 1e-5
    # The mean radius of a Gaussian ring in the plane: R + s^2 / R, up to exp(-R^2 / 2 s^2).
    rows, columns = np.indices(image.shape)
    mean = (np.hypot(columns - cx, rows - cy) * image).sum() / image.sum()
    assert mean == pytest.approx(radius + width**2 / radius, abs=1e-4)
    assert truth.center == (cx, cy)
    assert truth.center_rc == (cy, cx)
    assert truth.radii == (pytest.approx(radius),)


@settings(deadline=None, max_examples=25)
@given(ratio=st.floats(1.01, 1.6), angle=st.floats(-10, 10))
def test_ellipse_has_its_ratio_and_angle(ratio, angle):
    image, truth = ring_pattern((220, 220), (108.3, 111.9), 60, ratio=ratio, angle=angle, **CLEAN)
    center, covariance = moments(image)
    values, vectors = np.linalg.eigh(covariance)
    ring = truth.ellipses[0]
    assert center == pytest.approx((108.3, 111.9), abs=1e-5)
    # A stretched isotropic pattern: the standard deviations along the axes are in the ratio of the semi-axes.
    assert math.sqrt(values[1] / values[0]) == pytest.approx(ratio, rel=1e-6)
    assert abs(vectors[0, 1] * math.cos(ring.angle) + vectors[1, 1] * math.sin(ring.angle)) == pytest.approx(1, abs=1e-9)
    assert ring.a / ring.b == pytest.approx(ratio)
    assert ring.a * ring.b == pytest.approx(3600)
    assert -math.pi / 2 < ring.angle <= math.pi / 2
    assert math.sin(ring.angle - angle) == pytest.approx(0, abs=1e-9)


@pytest.mark.parametrize(("given", "angle"), [(-math.pi / 2, math.pi / 2), (math.pi / 2, math.pi / 2), (math.pi, 0.0),
                                              (2.0, 2.0 - math.pi)])
def test_angle_is_that_of_an_axis(given, angle):
    assert ring_pattern((16, 16), ratio=1.2, angle=given)[1].ellipses[0].angle == pytest.approx(angle, abs=1e-15)


def test_profile_across_a_ring():
    image, _ = ring_pattern((101, 301), (20, 50), 200.25, widths=3, amplitudes=7, **CLEAN)
    x = np.arange(301)
    np.testing.assert_allclose(image[50], 7 * np.exp(-0.5 * ((np.abs(x - 20) - 200.25) / 3) ** 2), atol=1e-6)


def test_background_and_direct_beam():
    options = CLEAN | {"background": 40.0}
    image, _ = ring_pattern((64, 80), (30, 20), (), background_decay=25, direct_beam=500, direct_beam_width=2, **options)
    y, x = np.indices(image.shape)
    radius = np.hypot(x - 30, y - 20)
    np.testing.assert_allclose(image, 40 * np.exp(-radius / 25) + 500 * np.exp(-(radius**2) / 8), rtol=1e-6)
    flat, _ = ring_pattern((64, 80), radii=(), scale=0.5, offset=-3, **options)
    assert np.array_equal(flat, np.full((64, 80), 17.0))


@pytest.mark.parametrize("orientation", [1, 2, 3, 4])
@pytest.mark.parametrize("tilt", [(0.0, 0.0, 0.0), (0.3, -0.2, 0.7), (-0.4, 0.25, -1.0)])
def test_powder_equals_pyfais_two_theta(orientation, tilt):
    poni = Poni(0.05, 0.0, 0.0, *tilt, 2.5e-12, 4e-5, 3e-5, max_shape=(150, 180), orientation=orientation)
    poni = poni_with_center(poni, 88.3, 71.9)
    image, truth = powder_pattern([2.0, 1.2], poni, widths=2.0, amplitudes=[50, 30], **CLEAN)
    assert truth.center == pytest.approx((88.3, 71.9), abs=1e-9)
    two_theta = to_integrator(poni).center_array((150, 180), unit="2th_rad", scale=False)
    length = 0.05 / math.sqrt(4e-5 * 3e-5)
    expected = sum(height * np.exp(-0.5 * ((length * (np.tan(two_theta) - math.tan(2 * math.asin(0.025 / 2 / d)))) / 2) ** 2)
                   for height, d in ((50, 2.0), (30, 1.2)))
    np.testing.assert_allclose(image, expected, atol=2e-5)


@settings(deadline=None, max_examples=50)
@given(rot1=st.floats(-0.5, 0.5), rot2=st.floats(-0.5, 0.5), d=st.floats(0.5, 3), orientation=st.integers(1, 4))
def test_ellipses_of_a_tilted_detector(rot1, rot2, d, orientation):
    poni = Poni(0.05, 0.0, 0.0, rot1, rot2, 0.0, 2.5e-12, 3e-5, 3e-5, max_shape=(16, 24), orientation=orientation)
    poni = poni_with_center(poni, 11.0, 8.0)
    _, truth = powder_pattern([d], poni)
    ring = truth.ellipses[0]
    x, y = ring.point(np.linspace(0, 2 * np.pi, 50))
    expected = truth._scene.radii[0]
    np.testing.assert_allclose(truth._scene.geometry.radius(x, y), expected, rtol=1e-9)
    assert ring.a >= ring.b > 0
    assert -math.pi / 2 < ring.angle <= math.pi / 2


def test_powder_knows_binning_and_what_is_behind_the_sample():
    poni = Poni(0.05, 0.003, 0.003, 0, 0, 0, 2.5e-12, 3e-5, 3e-5, max_shape=(200, 200))
    _, fine = powder_pattern([1.0], poni)
    _, binned = powder_pattern([1.0], poni, (100, 100))
    assert binned.radii[0] == pytest.approx(fine.radii[0] / 2)
    assert binned.cx == pytest.approx((fine.cx + 0.5) / 2 - 0.5)
    tilted = Poni(0.001, 0.0, 0.0, 1.5, 0.0, 0.0, 2.5e-12, 3e-5, 3e-5, max_shape=(60, 3000))
    image, _ = powder_pattern([2.0], tilted, background=5.0, background_decay=100, direct_beam=3, noise=False)
    assert np.isfinite(image).all()


# ----------------------------------------------------------------------------------------------------------- appearance


def test_counts_are_poisson_around_the_expectation():
    image, truth = ring_pattern((300, 300), radii=[60, 100], read_noise=3, offset=-20, random_state=7)
    expected = truth.expected
    variance = expected + 20 + 9
    pull = (image - expected) / np.sqrt(variance)
    assert abs(pull.mean()) < 4 / 300
    assert abs((pull**2).mean() - 1) < 4 * math.sqrt(2) / 300
    assert image.min() < 0
    assert (truth.offset, truth.read_noise) == (-20, 3)


def test_expectation_is_the_noiseless_image():
    options = {"center": (70.2, 61), "ratio": 1.2, "angle": 1.0, "beamstop": BeamStop(9), "texture": 0.4, "spots": 3,
               "background_decay": 80, "direct_beam": 900, "offset": 4, "radii": [30, 44], "random_state": 3}
    clean, truth = ring_pattern((128, 140), noise=False, dtype=np.float64, **options)
    noisy, same = ring_pattern((128, 140), **options)
    assert np.array_equal(truth.expected, clean)
    assert np.array_equal(same.expected, clean)
    assert not np.array_equal(noisy, clean)


def test_bands_do_not_show(monkeypatch):
    options = {"radii": [30, 70], "ratio": 1.1, "texture": 0.3, "spots": 6, "beamstop": BeamStop(20), "random_state": 5,
               "noise": False, "hot_pixels": 9, "dead_rows": [3, 99], "dead_columns": [7]}
    whole, truth = ring_pattern((160, 200), **options)
    stop = truth.stop
    for pixels in (1, 700, 3000):
        monkeypatch.setattr(_scene, "BAND", pixels)
        image, truth = ring_pattern((160, 200), **options)
        assert np.array_equal(image, whole)
        assert np.array_equal(truth.stop, stop)


@pytest.mark.parametrize("dtype", [*PIXELS, "float16", "int64", "uint64", ">u2"])
def test_any_dtype(dtype):
    image, truth = ring_pattern((60, 61), radii=[20], amplitudes=400, offset=-50, dtype=dtype, noise=False)
    assert image.dtype == np.dtype(dtype)
    assert image.flags.c_contiguous
    expected = truth.expected
    if image.dtype.kind == "f":
        np.testing.assert_array_equal(image, expected.astype(dtype))
    else:
        limits = np.iinfo(dtype)
        np.testing.assert_array_equal(image, np.clip(np.rint(expected), limits.min, limits.max))
        assert image.min() == max(limits.min, -30)


def test_beam_stop():
    stop = BeamStop(radius=12, direction=-math.pi / 2, width=8, edge=2)
    image, truth = ring_pattern((101, 121), (60, 50), (), background=100, beamstop=stop, noise=False)
    assert truth.stop[50, 60]
    assert image[50, 60] == 0
    # The arm runs upwards, to row 0, and not downwards.
    assert truth.stop[0, 57:64].all()
    assert not truth.stop[64:].any()
    assert not truth.stop[0, :55].any()
    assert not truth.stop[0, 66:].any()
    assert (image[~truth.stop] == 100).all()
    assert (image[truth.stop] < 100).all()
    # Half the penumbra is outside of the radius.
    assert truth.stop[50, 60 + 12]
    assert image[50, 60 + 12] == pytest.approx(50)
    half, _ = ring_pattern((101, 121), (60, 50), (), background=100, beamstop=replace(stop, transmission=0.25), noise=False)
    assert half[50, 60] == 25
    _, truth = ring_pattern((101, 121), (60, 50), (), beamstop=BeamStop(12, width=0, center=(20, 30)))
    assert truth.stop.sum() == pytest.approx(math.pi * 13**2, rel=0.05)
    assert truth.stop[30, 20]
    assert not truth.stop[50, 60]


def test_defects():
    image, truth = ring_pattern((90, 80), radii=[25], hot_pixels=15, dead_rows=[10, 89], dead_columns=[0], offset=7,
                                random_state=1)
    assert (image[[10, 89]] == 7).all()
    assert (image[:, 0] == 7).all()
    alive = truth.hot[~np.isin(truth.hot[:, 0], [10, 89]) & (truth.hot[:, 1] != 0)]
    assert len(alive) > 10
    assert (image[alive[:, 0], alive[:, 1]] > 2 * 120).all()
    assert truth.defects.sum() == 2 * 80 + 90 - 2 + len({tuple(place) for place in alive.tolist()})
    assert np.array_equal(truth.mask, truth.defects)
    assert image[~truth.defects].max() < 2 * 120


def test_texture_and_spots_leave_the_mean_and_the_place():
    plain, _ = ring_pattern((256, 256), radii=[90], **CLEAN)
    textured, _ = ring_pattern((256, 256), radii=[90], texture=0.5, random_state=2, **CLEAN)
    azimuth = np.linspace(0, 2 * np.pi, 720, endpoint=False)
    x, y = np.rint(127.5 + 90 * np.cos(azimuth)).astype(int), np.rint(127.5 + 90 * np.sin(azimuth)).astype(int)
    along = textured[y, x] / plain[y, x]
    assert along.mean() == pytest.approx(1, abs=0.02)
    assert 0.3 < np.log(along).std() < 0.8
    assert np.abs(np.diff(along)).max() < 0.2
    spotty, _ = ring_pattern((256, 256), radii=[90], spots=5, random_state=2, **CLEAN)
    extra = spotty - plain
    radius = np.hypot(*(np.indices(extra.shape) - 127.5))
    assert extra.min() >= 0
    assert extra.max() > 0
    assert (radius * extra).sum() / extra.sum() == pytest.approx(90, abs=0.2)


def test_seeds():
    options = {"radii": [30], "texture": 0.3, "spots": 4, "hot_pixels": 5}
    first, truth = ring_pattern((96, 96), random_state=11, **options)
    second, same = ring_pattern((96, 96), random_state=np.random.default_rng(11), **options)
    other, _ = ring_pattern((96, 96), random_state=12, **options)
    assert np.array_equal(first, second)
    assert np.array_equal(truth.hot, same.hot)
    assert not np.array_equal(first, other)
    assert repr(truth) == "Truth(cx=47.5, cy=47.5, radii=(30), shape=(96, 96))"


def test_memory_of_a_large_frame():
    ring_pattern((64, 64))
    tracemalloc.start()
    try:
        image, _ = ring_pattern((2048, 2048), radii=[300, 600], texture=0.2, random_state=0)
        assert tracemalloc.get_traced_memory()[1] < 2 * image.nbytes
    finally:
        tracemalloc.stop()


# --------------------------------------------------------------------------------------------------------------- drift


def test_drift():
    options = {"shape": (96, 110), "center": (50, 45), "radii": [30], "random_state": 4, "hot_pixels": 3, "texture": 0.5,
               "beamstop": BeamStop(8, width=4)}
    frames = list(drift_series(6, velocity=(0.5, -0.25), jitter=0, **options))
    assert [truth.center for _, truth in frames] == [(50 + 0.5 * k, 45 - 0.25 * k) for k in range(6)]
    first = frames[0][1]
    for image, truth in frames[1:]:
        assert np.array_equal(truth.hot, first.hot)
        assert np.array_equal(truth.stop, first.stop)
        assert not np.array_equal(image, frames[0][0])
    # The pattern itself moves as a whole: two steps are one pixel along x.
    still = list(drift_series(3, velocity=(0.5, 0), jitter=0, **options | {"beamstop": None, "hot_pixels": 0}))
    np.testing.assert_allclose(still[2][1].expected[:, 1:], still[0][1].expected[:, :-1], atol=1e-4)


def test_drift_wanders_and_is_lazy():
    series = drift_series(10**9, (32, 32), radii=[10], jitter=0.5, random_state=0)
    steps = np.diff([next(series)[1].center for _ in range(400)], axis=0)
    assert steps.mean(axis=0) == pytest.approx((0.05, -0.03), abs=0.1)
    assert steps.std(axis=0) == pytest.approx((0.5, 0.5), abs=0.08)
    assert list(drift_series(0, (32, 32))) == []


# ----------------------------------------------------------------------------------------------------------- bad input


@pytest.mark.parametrize(("options", "error", "message"), [
    ({"shape": (10,)}, ValueError, "shape must be"),
    ({"shape": (0, 10)}, ValueError, r"shape must be \(rows, columns\), two whole numbers above 0, not \(0, 10\)"),
    ({"center": (1, 2, 3)}, ValueError, "center must be a pair"),
    ({"center": (1, math.nan)}, ValueError, "center must be a finite number"),
    ({"radii": [10, -1]}, ValueError, "radii must be a finite number above 0, not"),
    ({"radii": ["a"]}, TypeError, "radii must be a number"),
    ({"ratio": 0.9}, ValueError, "ratio must be"),
    ({"widths": 0.5}, ValueError, "widths must be a finite number at least 1, not"),
    ({"widths": [2, 2]}, ValueError, "widths must be one number, or one for each of the 3 rings, not 2"),
    ({"amplitudes": -1}, ValueError, "amplitudes must be"),
    ({"background": -1}, ValueError, "background must be"),
    ({"background_decay": 0}, ValueError, "background_decay must be"),
    ({"direct_beam_width": 0}, ValueError, "direct_beam_width must be"),
    ({"beamstop": 20}, TypeError, "beamstop must be a BeamStop or None, not 20"),
    ({"texture": -1}, ValueError, "texture must be"),
    ({"texture_harmonics": 0}, ValueError, "texture_harmonics must be"),
    ({"spots": 1.5}, ValueError, "spots must be"),
    ({"hot_pixels": -1}, ValueError, "hot_pixels must be"),
    ({"dead_rows": [512]}, ValueError, "dead_rows must be from 0 to 511, not 512"),
    ({"dead_columns": [-1]}, ValueError, "dead_columns must be"),
    ({"scale": math.inf}, ValueError, "scale must be"),
    ({"scale": 1e18}, ValueError, "scale: 1.2e\\+20 expected counts"),
    ({"read_noise": -1}, ValueError, "read_noise must be"),
    ({"offset": math.nan}, ValueError, "offset must be"),
    ({"dtype": complex}, TypeError, "dtype must be an integer or floating-point type, not complex128"),
    ({"dtype": bool}, TypeError, "dtype must be"),
])
def test_bad_arguments(options, error, message):
    with pytest.raises(error, match=message) as caught:
        ring_pattern(**options)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(("options", "message"), [
    ({"radius": -1}, "radius of the beam stop"), ({"width": -1}, "width of the beam stop"),
    ({"edge": 0}, "edge of the beam stop"),
    ({"direction": math.inf}, "direction of the beam stop"), ({"transmission": 1.5}, "transmission of the beam stop"),
    ({"center": (1, 2, 3)}, "center of the beam stop"), ({"center": (1, math.nan)}, "center of the beam stop"),
])
def test_bad_beam_stop(options, message):
    with pytest.raises(ValueError, match=message):
        BeamStop(**options)


def test_bad_powder():
    poni = Poni(0.05, 0.001, 0.001, 0, 0, 0, None, 3e-5, 3e-5, max_shape=(64, 64))
    with pytest.raises(ValueError, match="poni has no wavelength"):
        powder_pattern([2.0], poni)
    with pytest.raises(ValueError, match=r"0\.01 Angstrom diffracts beyond 90 degrees"):
        powder_pattern([2.0, 0.01], replace(poni, wavelength=2.5e-12))
    with pytest.raises(ValueError, match="is no ellipse on a detector tilted so far"):
        powder_pattern([0.02], replace(poni, wavelength=2.5e-12, rot1=1.5))
    with pytest.raises(ValueError, match="shape must be"):
        powder_pattern([2.0], replace(poni, wavelength=2.5e-12, max_shape=None))
    with pytest.raises(TypeError, match="ratio"):
        powder_pattern([2.0], replace(poni, wavelength=2.5e-12), ratio=1.1)


# ----------------------------------------------------------------------------------------------------------- DM4 writer


def read_by_others(path):
    from ncempy.io import dm
    from rsciio.digitalmicrograph import file_reader

    with dm.fileDM(str(path)) as file:
        yield file.getDataset(0)["data"]
    yield file_reader(str(path))[0]["data"]


@settings(deadline=None, max_examples=120, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(image=st.sampled_from(PIXELS).flatmap(lambda dtype: hnp.arrays(
    st.sampled_from([np.dtype(dtype), np.dtype(dtype).newbyteorder()]), hnp.array_shapes(min_dims=2, max_dims=3, max_side=7))))
def test_dm4_to_the_last_bit(tmp_path, image):
    pytest.importorskip("rsciio.digitalmicrograph")
    path = tmp_path / "x.dm4"
    write_dm4(path, image)
    native = np.ascontiguousarray(image, image.dtype.newbyteorder("="))
    _, found = load_data(path, verbose=False)
    for other in (found, *read_by_others(path)):
        assert other.dtype == native.dtype
        # Stacks of one frame lose their first axis in some readers; the bits (NaN, -0.0) are the same in all.
        assert other.size == native.size
        assert other.tobytes() == native.tobytes()
    assert found.shape == (image.shape[1:] if image.ndim == 3 and len(image) == 1 else image.shape)


def test_dm4_of_any_layout(tmp_path):
    image = np.arange(400, dtype=np.int32).reshape(20, 20)
    image.flags.writeable = False
    for number, layout in enumerate((image.T, image[::2, ::-3], np.asfortranarray(image), image.tolist())):
        path = tmp_path / f"{number}.dm4"
        write_dm4(path, np.array(layout, np.int32) if isinstance(layout, list) else layout)
        assert np.array_equal(load_data(path, verbose=False)[1], layout)


@settings(deadline=None, max_examples=60, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(voltage=st.floats(1, 3000), size=st.floats(0.1, 500), binning=st.integers(1, 16), exposure=st.floats(1e-6, 1e4),
       camera=st.text(st.characters(codec="utf-16-le", exclude_categories=["Cc", "Cs", "Zs", "Zl", "Zp"]), min_size=1,
                      max_size=30))
def test_dm4_metadata(tmp_path, voltage, size, binning, exposure, camera):
    path = tmp_path / "x.dm4"
    write_dm4(path, np.zeros((2, 3), np.uint8), voltage_kv=voltage, pixel_size=size, binning=binning, exposure_time=exposure,
              camera=camera, description=camera[::-1])
    metadata, _ = load_data(path, verbose=False)
    assert metadata["voltage_kv"] == pytest.approx(voltage, rel=1e-15)
    assert metadata["pixel_size"] == pytest.approx(size, rel=1e-15)
    assert metadata["image_pixel_size"] == pytest.approx(size * binning, rel=1e-15)
    assert (metadata["binning"], metadata["exposure_time"]) == (binning, exposure)
    assert (metadata["camera_type"], metadata["description"]) == (camera, camera[::-1])


def test_dm4_metadata_of_unequal_axes_and_of_nothing(tmp_path):
    path = tmp_path / "x.dm4"
    write_dm4(path, np.zeros((2, 3), np.uint8), pixel_size=(20.0, 30.0), binning=(2, 3))
    metadata, _ = load_data(path, verbose=False)
    assert (metadata["pixel_size"], metadata["binning"]) == ((20.0, 30.0), (2, 3))
    write_dm4(path, np.zeros((2, 3), np.uint8))
    metadata, _ = load_data(path, verbose=False)
    assert {key for key, value in metadata.items() if value is not None} == {"image_width", "image_height", "path"}


@pytest.mark.parametrize(("image", "options", "error", "message"), [
    (np.zeros(5), {}, ValueError, "image must have shape"),
    (np.zeros((0, 5)), {}, ValueError, "at least one pixel"),
    (np.zeros((2, 2), np.int64), {}, TypeError, "DM4 has no pixels of type int64; convert it to one of int16"),
    (np.zeros((2, 2), complex), {}, TypeError, "DM4 has no pixels of type complex128"),
    (np.zeros((2, 2)), {"voltage_kv": -1}, ValueError, "voltage_kv must be"),
    (np.zeros((2, 2)), {"pixel_size": 0}, ValueError, "pixel_size must be"),
    (np.zeros((2, 2)), {"pixel_size": (1, 2, 3)}, ValueError, "pixel_size must be a number or \\(vertical, horizontal\\)"),
    (np.zeros((2, 2)), {"binning": "2"}, TypeError, "binning must be a number"),
    (np.zeros((2, 2)), {"exposure_time": math.nan}, ValueError, "exposure_time must be"),
])
def test_dm4_of_nonsense_leaves_the_old_file(tmp_path, image, options, error, message):
    path = tmp_path / "x.dm4"
    path.write_bytes(b"old")
    with pytest.raises(error, match=message):
        write_dm4(path, image, **options)
    assert path.read_bytes() == b"old"
    assert list(tmp_path.iterdir()) == [path]


def test_dm4_that_cannot_be_written(tmp_path, monkeypatch):
    with pytest.raises(OSError, match="there is no folder"):
        write_dm4(tmp_path / "nowhere" / "x.dm4", np.zeros((2, 2)))
    with pytest.raises(OSError, match="is a folder"):
        write_dm4(tmp_path, np.zeros((2, 2)))

    def full(*_):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("os.replace", full)
    with pytest.raises(OSError, match=r"x\.dm4 cannot be written: No space left"):
        write_dm4(tmp_path / "x.dm4", np.zeros((2, 2)))
    assert list(tmp_path.iterdir()) == []


# ---------------------------------------------------------------------------------------------------------------- demo


def test_demo(tmp_path):
    images, poni_path, truth_path = write_demo(tmp_path / "new" / "demo", n=3, random_state=5)
    assert sorted((tmp_path / "new" / "demo").iterdir()) == sorted([*images, poni_path, truth_path])
    rows = list(csv.DictReader(truth_path.read_text().splitlines()))
    assert [row["file"] for row in rows] == [path.name for path in images]
    poni = read_poni(poni_path)
    for row, path in zip(rows, images, strict=True):
        metadata, image = load_data(path, verbose=False)
        assert (image.shape, image.dtype) == (poni.max_shape, np.uint16)
        assert metadata["image_pixel_size"] * 1e-6 == pytest.approx(poni.pixel1)
        assert metadata["wavelength"] * 1e-10 == pytest.approx(poni.wavelength)
        cx, cy = float(row["cx"]), float(row["cy"])
        # The brightest ring is where Bragg's law puts it around the written centre: a different one is seen to be wrong.
        assert ring_sharpness(image, cx, cy) > 1.2 * max(ring_sharpness(image, cx + dx, cy + dy) for dx, dy in
                                                         ((6, 0), (-6, 0), (0, 6), (0, -6)))
        dark = image[round(cy), round(cx)] < 500
        assert dark == ("with_stop" in path.name)
    centers = {(row["cx"], row["cy"]) for row in rows}
    assert len(centers) == 3
    again = write_demo(tmp_path / "again", n=3, random_state=5)
    assert [path.read_bytes() for path in again[0]] == [path.read_bytes() for path in images]


def ring_sharpness(image, cx, cy):
    """Variation of the azimuthal mean near the first two rings."""
    y, x = np.indices(image.shape)
    shell = np.rint(np.hypot(x - cx, y - cy)).astype(int).ravel()
    mean = np.bincount(shell, image.ravel()) / np.bincount(shell)
    return np.abs(np.diff(mean[120:200])).sum()
