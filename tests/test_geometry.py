"""The beam centre, the PONI and the files, against pyFAI's own 2-theta and pyFAI's own reading."""

import itertools
import json
import os
import re
import stat
import subprocess
import sys
import warnings
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from edfast.geometry import (
    Poni,
    beam_center,
    center_to_poni,
    electron_wavelength,
    fit_binning,
    from_integrator,
    poni_with_center,
    read_poni,
    to_integrator,
    write_poni,
)

TILTS = [(0, 0, 0), (0.01, 0, 0), (0, -0.02, 0), (0, 0, 0.5), (0.03, 0.02, 0.1), (-0.3, 0.2, -2.0), (0.2, 0.4, 3.0),
         (1.0, -0.8, 1)]
FULL = Poni(0.2344, 0.0101, 0.0099, 0.00234, -0.00134, 0.00512, 2.51e-12, 5e-6, 7e-6, (1200, 1600), 2)


def pyfai_beam(ai, near):
    """Column and row where pyFAI's own 2-theta is zero, found on its `tth` alone.

    2-theta is a cone with a kink at its tip; the square of its tangent times the distance is smooth there, a quadratic form in
    the two indices up to third order, and Newton's method on it converges without any formula of ours.
    """
    position = np.array(near[::-1], dtype=float)
    for step in (1.0, 0.25, 0.05, 0.05):
        offsets = np.array(list(itertools.product((-step, 0, step), repeat=2)))
        d = position + offsets
        height = np.tan(ai.tth(d[:, 0].copy(), d[:, 1].copy())) ** 2
        u, v = (offsets / step).T
        c = np.linalg.lstsq(np.stack([np.ones(9), u, v, u * u, u * v, v * v], axis=1), height, rcond=None)[0]
        position += step * np.linalg.solve([[2 * c[3], c[4]], [c[4], 2 * c[5]]], -c[1:3])
    return position[1], position[0]


@pytest.mark.parametrize("orientation", [1, 2, 3, 4])
@pytest.mark.parametrize("tilt", TILTS)
@pytest.mark.parametrize("distance", [0.05, 2.3])
def test_pyfai_sees_the_beam_where_it_was_put(orientation, tilt, distance):
    for cx, cy in [(812.25, 390.75), (0, 0), (-300.5, 2500.125)]:
        start = Poni(distance, 0.1, -0.2, *tilt, None, 5e-6, 7e-6, (1200, 1600), orientation)
        poni = poni_with_center(start, cx, cy)
        assert pyfai_beam(to_integrator(poni), (cx + 0.3, cy - 0.2)) == pytest.approx((cx, cy), abs=1e-6)
        assert beam_center(poni) == pytest.approx((cx, cy), abs=1e-8)
        assert replace(poni, poni1=0.1, poni2=-0.2) == start


@given(st.integers(1, 4), st.tuples(*[st.floats(-1.3, 1.3)] * 2), st.floats(-4, 4), st.floats(1e-3, 10),
       st.tuples(*[st.floats(-1e4, 1e4)] * 2))
def test_there_and_back(orientation, tilt, rot3, distance, center):
    start = Poni(distance, 0, 0, *tilt, rot3, None, 5e-6, 7e-6, (700, 900), orientation)
    poni = poni_with_center(start, *center)
    assert beam_center(poni) == pytest.approx(center, abs=1e-5)
    assert beam_center(replace(poni, rot3=rot3 + 1)) == beam_center(poni)


def rotation(axis, angle):
    """Right-handed rotation matrix, written out from Rodrigues' formula."""
    k = np.cross(np.eye(3), np.eye(3)[axis])
    return np.eye(3) + np.sin(angle) * k + (1 - np.cos(angle)) * k @ k


def test_documented_formula_is_the_inverse_of_the_product_of_rotations():
    cx, cy, px, py, dist, rots = 1010.5, 870.25, 7e-6, 5e-6, 0.3, (0.02, -0.03, 0.4)
    r = rotation(2, rots[2]) @ rotation(1, rots[1]) @ rotation(0, rots[0])
    np.testing.assert_allclose(rotation(2, 0.1) @ [1, 0, 0], [np.cos(0.1), np.sin(0.1), 0])
    expected = np.linalg.inv(r) @ [cy * py, cx * px, dist]
    np.testing.assert_allclose(center_to_poni(cx, cy, px, py, dist, *rots), expected[:2], rtol=1e-13)


def test_documented_formula_broadcasts():
    cx, rot1 = np.linspace(0, 2000, 5), np.array([[0.0], [0.01]])
    poni1, poni2 = center_to_poni(cx, 700, 5e-6, 6e-6, 0.2, rot1, 0.02, [[0.1], [0.2]])
    assert poni1.shape == poni2.shape == (2, 5)
    assert center_to_poni(cx[3], 700, 5e-6, 6e-6, 0.2, 0.01, 0.02, 0.2) == (poni1[1, 3], poni2[1, 3])
    assert [type(value) for value in center_to_poni(1, 2, 1, 1, 1)] == [float, float]
    poni1[0, 0] = 0  # the results are ordinary, writable arrays


@pytest.mark.parametrize(("name", "value"), [("dist", 0), ("px_size", -1e-6), ("py_size", 0), ("cx", np.nan),
                                             ("rot2", [0, np.inf])])
def test_documented_formula_names_what_is_wrong(name, value):
    values = {"cx": 1, "cy": 1, "px_size": 1e-6, "py_size": 1e-6, "dist": 1} | {name: value}
    with pytest.raises(ValueError, match=f"^{name} must be finite"):
        center_to_poni(**values)
    with pytest.raises(TypeError, match=f"^{name} must be a number"):
        center_to_poni(**values | {name: "wide"})


@pytest.mark.parametrize(("orientation", "x", "y"), [(1, 1600 - 700.5, 1200 - 400.25), (2, 700.5, 1200 - 400.25),
                                                     (3, 700.5, 400.25), (4, 1600 - 700.5, 400.25)])
def test_documented_convention_is_the_table_and_the_formula(orientation, x, y):
    start = replace(FULL, orientation=orientation)
    poni = poni_with_center(start, 700.5, 400.25, convention="documented")
    expected = center_to_poni(x, y, FULL.pixel2, FULL.pixel1, FULL.distance, FULL.rot1, FULL.rot2, FULL.rot3)
    assert (poni.poni1, poni.poni2) == expected
    untilted = replace(start, rot1=0, rot2=0, rot3=0)
    cx, cy = beam_center(poni_with_center(untilted, 700.5, 400.25, convention="documented"))
    assert (abs(cx - 700.5), abs(cy - 400.25)) == pytest.approx((0.5, 0.5), abs=1e-9)


def test_unknown_convention():
    with pytest.raises(ValueError, match="convention must be one of 'documented', 'pyfai', not 'fit2d'"):
        poni_with_center(FULL, 1, 1, convention="fit2d")


def test_a_beam_that_never_arrives():
    with pytest.raises(ValueError, match=r"never meets a detector tilted by rot1 = 1\.6"):
        beam_center(replace(FULL, rot1=1.6))


# --- binning ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("orientation", [1, 2, 3, 4])
def test_binning_keeps_the_beam_on_the_same_spot_of_the_detector(orientation):
    full = replace(FULL, orientation=orientation)
    cx, cy = beam_center(full)
    binned = fit_binning(full, (300, 400))
    assert (binned.pixel1, binned.pixel2, binned.max_shape) == (2e-5, 2.8e-5, (300, 400))
    # The corner of the detector is the one of the array, and (i + 0.5) / 4 is where index i comes to lie.
    assert beam_center(full, (300, 400)) == pytest.approx(((cx + 0.5) / 4 - 0.5, (cy + 0.5) / 4 - 0.5), abs=1e-9)
    moved = poni_with_center(full, 200.5, 100.25, (300, 400))
    assert pyfai_beam(to_integrator(moved), (200, 100)) == pytest.approx((200.5, 100.25), abs=1e-6)
    assert fit_binning(binned, (1200, 1600)) == full


def test_equal_shapes_change_nothing_and_an_unknown_one_is_taken():
    assert fit_binning(FULL, (1200, 1600)) is FULL
    unknown = replace(FULL, max_shape=None, orientation=3)
    assert fit_binning(unknown, (10, 20)) == replace(unknown, max_shape=(10, 20))
    assert beam_center(unknown) == beam_center(unknown, (77, 88))
    with pytest.raises(ValueError, match="give the shape"):
        beam_center(replace(unknown, orientation=1))


@pytest.mark.parametrize("shape", [(600, 1600), (1600, 1200), (1199, 1600), (599, 799), (1000, 1600), (1, 1), (1800, 2400),
                                   (2400, 1600)])
def test_any_other_ratio_names_both_shapes(shape):
    with pytest.raises(ValueError, match=rf"\({shape[0]}, {shape[1]}\).*\(1200, 1600\)"):
        fit_binning(FULL, shape)


# --- files ------------------------------------------------------------------------------------------------------------

NUMBERS = ("dist", "poni1", "poni2", "rot1", "rot2", "rot3", "wavelength", "pixel1", "pixel2")


def numbers(ai):
    return [getattr(ai, name) for name in NUMBERS] + [tuple(ai.detector.shape or ()), int(ai.detector.orientation)]


def pyfai_load(path):
    import pyFAI

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return pyFAI.load(str(path))


@pytest.mark.parametrize("orientation", [1, 2, 3, 4])
@pytest.mark.parametrize("wavelength", [None, 1.9687489006848795e-12])
@pytest.mark.parametrize("detector", [None, "Pilatus1M"])
def test_pyfai_reads_what_we_write_to_the_last_bit(tmp_path, orientation, wavelength, detector):
    named = {"pixel1": 172e-6, "pixel2": 172e-6, "max_shape": (1043, 981), "detector": "Pilatus1M"} if detector else {}
    poni = replace(FULL, orientation=orientation, wavelength=wavelength, poni1=0.1 + 0.2, **named)
    write_poni(tmp_path / "a.poni", poni, comment="two\nlines: of comment")
    assert read_poni(tmp_path / "a.poni") == poni
    ai = pyfai_load(tmp_path / "a.poni")
    assert numbers(ai) == numbers(to_integrator(poni))
    assert numbers(ai) == [poni.distance, poni.poni1, poni.poni2, poni.rot1, poni.rot2, poni.rot3, wavelength, poni.pixel1,
                           poni.pixel2, poni.max_shape, orientation]
    assert type(ai.detector).__name__ == (detector or "Detector")


@settings(max_examples=50)
@given(st.floats(1e-6, 1e3), st.tuples(*[st.floats(-1e3, 1e3)] * 5))
def test_files_keep_every_bit(tmp_path_factory, distance, values):
    path = tmp_path_factory.getbasetemp() / "bits.poni"
    poni = Poni(distance, *values, None, 1e-5 / 3, 1e-5 / 7)
    write_poni(path, poni)
    assert read_poni(path) == poni


def test_one_block_of_version_2_1(tmp_path):
    path = tmp_path / "a.poni"
    write_poni(path, FULL)
    write_poni(path, replace(FULL, poni1=0.5), comment="second")
    lines = path.read_text().splitlines()
    assert lines[0] == "# second"
    assert [line.split(":")[0] for line in lines if not line.startswith("#")] == [
        "poni_version", "Detector", "Detector_config", "Distance", "Poni1", "Poni2", "Rot1", "Rot2", "Rot3", "Wavelength"]
    assert json.loads(next(line for line in lines if "config" in line).partition(":")[2])["orientation"] == 2


@pytest.mark.parametrize("orientation", [1, 2, 3, 4])
def test_we_read_what_pyfai_writes(tmp_path, orientation):
    from pyFAI.detectors import Detector

    ai = to_integrator(FULL)
    ai.detector = Detector(5e-6, 7e-6, max_shape=(1200, 1600), orientation=orientation)
    for poni1 in (0.3, 0.7):
        ai.poni1 = poni1
        ai.save(str(tmp_path / "log.poni"))  # appends
    assert (tmp_path / "log.poni").read_text().count("Poni1") == 2
    assert read_poni(tmp_path / "log.poni") == replace(FULL, poni1=0.7, orientation=orientation) == from_integrator(ai)


POSITION = "Distance: 0.2\nPoni1: 0.1\nPoni2: 0.3\nRot1: 0.01\nRot2: 0.02\nRot3: 0.03\n"
VERSIONS = {
    "1": f"PixelSize1: 5e-06\nPixelSize2: 7e-06\n{POSITION}SplineFile: None\nWavelength: 1e-10\n",
    "1, named": f"Detector: Pilatus100k\n{POSITION}",
    "1, named, binned": f"Detector: Pilatus100k\nPixelSize1: 344e-6\nPixelSize2: 344e-6\n{POSITION}",
    "2": 'poni_version: 2\nDetector: Detector\n'
         f'Detector_config: {{"pixel1": 5e-06, "pixel2": 7e-06, "max_shape": [11, 12]}}\n{POSITION}',
    "2, named": f"poni_version: 2\nDetector: Pilatus1M\nDetector_config: {{}}\n{POSITION}Wavelength: 1e-10\n",
    "2.1": 'poni_version: 2.1\nDetector: Detector\n'
           f'Detector_config: {{"pixel1": 5e-06, "pixel2": 7e-06, "max_shape": [11, 12], "orientation": 1}}\n{POSITION}',
    "2.1, orientation 0": 'poni_version: 2.1\nDetector: Detector\n'
           f'Detector_config: {{"pixel1": 5e-06, "pixel2": 7e-06, "max_shape": null, "orientation": 0}}\n{POSITION}',
    "3": '# a comment: with a colon\nponi_version: 3\nDetector: Detector\n'
         'Detector_config: {"pixel1": 5e-06, "pixel2": 7e-06, "max_shape": [11, 12], "orientation": 4, '
         f'"sensor": {{"material": "Si", "thickness": 0.00045}}}}\n{POSITION}Wavelength: 1e-10\nParallax: False\n',
}
VERSIONS["log"] = VERSIONS["3"].replace("0.", "0.9").replace("5e-06", "1e-06") + "\n" + VERSIONS["2.1"]


def upper_keys(text):
    return re.sub("^[^:]*:", lambda key: key[0].upper(), text, flags=re.MULTILINE)


@pytest.mark.parametrize("version", VERSIONS)
@pytest.mark.parametrize("change", [str, upper_keys, lambda text: text.replace("\n", "\r\n"), lambda text: "\ufeff" + text])
def test_every_version_as_pyfai_reads_it(tmp_path, version, change):
    text = VERSIONS[version]
    (tmp_path / "plain.poni").write_text(text)
    (tmp_path / "changed.poni").write_bytes(change(text).encode())
    poni, ai = read_poni(tmp_path / "changed.poni"), pyfai_load(tmp_path / "plain.poni")
    assert (poni.distance, poni.poni1, poni.poni2, poni.rot1, poni.rot2, poni.rot3) == (0.2, 0.1, 0.3, 0.01, 0.02, 0.03)
    assert numbers(to_integrator(poni)) == numbers(ai)
    assert (poni.pixel1, poni.pixel2, poni.max_shape or ()) == (ai.pixel1, ai.pixel2, tuple(ai.detector.shape or ()))
    write_poni(tmp_path / "again.poni", poni)
    assert read_poni(tmp_path / "again.poni") == poni
    assert numbers(pyfai_load(tmp_path / "again.poni")) == numbers(ai)


def test_a_named_detector_that_is_binned_becomes_a_plain_one(tmp_path):
    (tmp_path / "a.poni").write_text(VERSIONS["1, named"])
    binned = fit_binning(read_poni(tmp_path / "a.poni"), (390, 974))
    assert (binned.detector, binned.pixel1, binned.max_shape) == (None, 86e-6, (390, 974))


def test_the_documents_own_example(shared_data):
    check_documented_example(shared_data("documented-example.poni"))


DOCUMENTED = ("# Calibration file for pyFAI\n\nDistance: 0.2344\nPoni1: 0.001234\nPoni2: 0.001456\nRot1: 0.00234\n"
              "Rot2: 0.00134\nRot3: 0.00512\nWavelength: 2.51e-12\n"
              'Detector_config: {"pixel1": 5e-6, "pixel2": 5e-6, "max_shape": [3712, 3840]}')


def test_a_file_without_a_detector_line(tmp_path):
    (tmp_path / "a.poni").write_text(DOCUMENTED)
    check_documented_example(tmp_path / "a.poni")


def check_documented_example(path):
    expected = Poni(0.2344, 0.001234, 0.001456, 0.00234, 0.00134, 0.00512, 2.51e-12, 5e-6, 5e-6, (3712, 3840), 3)
    assert read_poni(path) == expected
    with pytest.raises(KeyError):
        pyfai_load(path)


def test_parallax_is_left_out_aloud(tmp_path):
    (tmp_path / "a.poni").write_text(VERSIONS["3"].replace("Parallax: False", "Parallax: True"))
    with pytest.warns(UserWarning, match=r"a\.poni.*parallax"):
        read_poni(tmp_path / "a.poni")


BROKEN = {  # what is changed into what, in which version, and what the message must say
    "no colon": ("1", "Poni1: 0.1", "Poni1 0.1", "line 4: 'Poni1 0.1' is not of the form"),
    "no number": ("1", "Poni1: 0.1", "Poni1: 0,1", "line 4: Poni1 must be a finite number, not '0,1'"),
    "nan": ("1", "Rot2: 0.02", "Rot2: nan", "line 7: Rot2 must be a finite number, not 'nan'"),
    "nothing behind the colon": ("1", "Poni1: 0.1", "Poni1:", "line 4: Poni1 must be a finite number, not ''"),
    "None": ("1", "Poni1: 0.1", "Poni1: None", "line 4: Poni1 must be a finite number"),
    "distance": ("1", "Distance: 0.2", "Distance: -0.2", "line 3: Distance must be a finite number above 0"),
    "wavelength": ("1", "1e-10", "0", "line 10: Wavelength must be a finite number above 0, not '0'"),
    "pixel size": ("1", "7e-06", "0", "line 2: pixel2 must be the size of a pixel above 0"),
    "no poni": ("1", "Poni2: 0.3\n", "", r"no line 'Poni2: \.\.\.'"),
    "no distance": ("1", "Distance: 0.2\n", "", r"no line 'Distance: \.\.\.'"),
    "no pixel sizes": ("1", "PixelSize", "Size", "no pixel1, the size of a pixel"),
    "half of the pixel size": ("1", "PixelSize2", "Size", "no pixel2, the size of a pixel"),
    "no config": ("2", "Detector_config", "Config", "no pixel1, the size of a pixel"),
    "JSON": ("2", "11, 12]}", "11, 12", "line 3: Detector_config is not valid JSON"),
    "not an object": ("2, named", "{}", "[1]", "line 3: Detector_config must be a JSON object"),
    "pixel size in JSON": ("2", "5e-06", '"wide"', "line 3: pixel1 must be .* not 'wide'"),
    "infinite pixel in JSON": ("2", "5e-06", "Infinity", "line 3: pixel1 must be .* not inf"),
    "shape": ("2", "[11, 12]", "[11]", r"line 3: max_shape must be two whole numbers above 0, not \[11\]"),
    "shape of zero": ("2", "[11, 12]", "[0, 12]", "line 3: max_shape must be two whole numbers"),
    "orientation": ("2.1", 'tion": 1', 'tion": 5', "line 3: orientation must be 1, 2, 3 or 4, not 5"),
    "detector": ("1, named", "Pilatus100k", "Polaroid", "line 1: detector 'Polaroid' is unknown to pyFAI"),
    "curved": ("1, named", "Pilatus100k", "Aarhus", "line 1: detector 'Aarhus' is not flat"),
    "version": ("3", "version: 3", "version: 4", "line 2: version 4 is newer than"),
    "empty": ("1", VERSIONS["1"], "", "is empty"),
    "blank": ("1", VERSIONS["1"], " \n\n", "is empty"),
    "binary": ("1", "Rot1", "Rot\0", "is not a PONI file"),
    "prose": ("1", VERSIONS["1"], "Lorem ipsum: dolor\n", "no line 'Poni1: ...'; is this a PONI file"),
}


@pytest.mark.parametrize("case", BROKEN)
def test_broken_files_name_the_file_and_the_line(tmp_path, case, caplog):
    version, good, bad, message = BROKEN[case]
    path = tmp_path / "broken.poni"
    path.write_text(VERSIONS[version].replace(good, bad))
    assert bad in path.read_text() != VERSIONS[version]
    with pytest.raises(ValueError, match=message) as error:
        read_poni(path)
    assert str(error.value).startswith(str(path))
    assert "\n" not in str(error.value)


def test_no_file(tmp_path):
    with pytest.raises(FileNotFoundError, match=r"there is no PONI file .*nothing\.poni"):
        read_poni(tmp_path / "nothing.poni")
    with pytest.raises(IsADirectoryError, match="is a folder, not a PONI file"):
        read_poni(tmp_path)


# --- atomic writing ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("moment", ["write", "replace"])
@pytest.mark.parametrize("error", [OSError(28, "No space left on device"), KeyboardInterrupt()])
def test_a_failure_while_writing_leaves_the_old_file_and_nothing_else(tmp_path, monkeypatch, moment, error):
    path = tmp_path / "a.poni"
    write_poni(path, FULL)
    before = path.read_bytes()

    def fail(*args):
        raise error

    if moment == "replace":
        monkeypatch.setattr(Path, "replace", fail)
    else:
        opened = Path.open

        class HalfWritten:
            def __init__(self, file):
                self.file = file

            def __enter__(self):
                return self

            def __exit__(self, *args):
                self.file.close()

            def write(self, data):
                self.file.write(data[: len(data) // 2])
                self.file.flush()
                fail()

        monkeypatch.setattr(Path, "open", lambda self, mode: HalfWritten(opened(self, mode)))
    with pytest.raises(type(error)) as raised:
        write_poni(path, replace(FULL, poni1=1.0))
    monkeypatch.undo()
    assert path.read_bytes() == before
    assert list(tmp_path.iterdir()) == [path]
    if isinstance(error, OSError):
        assert str(raised.value) == f"{path} cannot be written: No space left on device"


def test_outputs_that_cannot_be_written(tmp_path):
    (tmp_path / "file").write_text("I am a file")
    with pytest.raises(OSError, match="there is no folder"):
        write_poni(tmp_path / "nowhere" / "a.poni", FULL)
    with pytest.raises(OSError, match="is not a folder"):
        write_poni(tmp_path / "file" / "a.poni", FULL)
    with pytest.raises(OSError, match="is a folder: give the name of a file"):
        write_poni(tmp_path, FULL)
    assert [path.name for path in tmp_path.iterdir()] == ["file"]


@pytest.mark.skipif(os.name != "posix" or os.geteuid() == 0, reason="root may write everywhere")
def test_a_folder_without_permission(tmp_path):
    tmp_path.chmod(0o500)
    try:
        with pytest.raises(PermissionError, match="no permission to write"):
            write_poni(tmp_path / "a.poni", FULL)
    finally:
        tmp_path.chmod(0o700)


@pytest.mark.skipif(os.name != "posix", reason="umask and links of POSIX")
def test_permissions_are_the_umasks_and_links_stay_links(tmp_path):
    previous = os.umask(0o027)
    try:
        write_poni(tmp_path / "a.poni", FULL)
    finally:
        os.umask(previous)
    assert stat.S_IMODE((tmp_path / "a.poni").stat().st_mode) == 0o640
    (tmp_path / "link.poni").symlink_to("a.poni")
    write_poni(tmp_path / "link.poni", replace(FULL, poni1=1.0))
    assert (tmp_path / "link.poni").is_symlink()
    assert read_poni(tmp_path / "a.poni").poni1 == 1.0


# --- the rest ---------------------------------------------------------------------------------------------------------


def test_integrator_there_and_back():
    for poni in (FULL, replace(FULL, wavelength=None), replace(FULL, orientation=3, max_shape=None)):
        assert from_integrator(to_integrator(poni)) == poni
        assert to_integrator(poni).wavelength == poni.wavelength
    bare = type(to_integrator(FULL))()
    with pytest.raises(ValueError, match="no pixel size"):
        from_integrator(bare)


@pytest.mark.parametrize(("field", "value"), [("distance", 0), ("pixel1", -1), ("poni1", np.nan), ("wavelength", 0),
                                              ("orientation", 5), ("max_shape", (1, 2, 3)), ("max_shape", (0, 5)),
                                              ("rot3", np.inf)])
def test_a_record_is_never_nonsense(field, value):
    with pytest.raises(ValueError, match=field):
        replace(FULL, **{field: value})


def test_records_hash_and_take_numpys_integers():
    assert hash(FULL) == hash(replace(FULL, max_shape=np.array([1200, 1600])))
    assert replace(FULL, max_shape=np.array([1200, 1600])) == FULL


@pytest.mark.parametrize(("voltage", "angstrom"), [(60, 0.04866), (100, 0.03701), (200, 0.025079), (300, 0.019687)])
def test_electron_wavelength(voltage, angstrom):
    # As tables print it; and all digits by another road, hc / (pc) with (pc)^2 = T^2 + 2 T mc^2, energies in keV.
    assert float(f"{electron_wavelength(voltage):.{len(str(angstrom)) - 2}f}") == angstrom
    momentum = np.sqrt(voltage**2 + 2 * voltage * 510.99895069)
    assert electron_wavelength(voltage) == pytest.approx(12.398419843320 / momentum, rel=1e-10)


def test_electron_wavelength_wants_a_voltage():
    with pytest.raises(ValueError, match=r"voltage_kv must be .* above 0, not 0"):
        electron_wavelength(0)
    with pytest.raises(TypeError, match="voltage_kv must be a number"):
        electron_wavelength("high")


def test_plain_detectors_never_import_pyfai(tmp_path):
    code = ("import sys, edfast.geometry as g\n"
            "g.write_poni(sys.argv[1], g.read_poni(sys.argv[1]))\n"
            "print('pyFAI' in sys.modules)")
    write_poni(tmp_path / "a.poni", FULL)
    run = subprocess.run([sys.executable, "-c", code, tmp_path / "a.poni"], check=True, capture_output=True, text=True)
    assert run.stdout == "False\n"
