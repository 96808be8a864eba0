"""Calibration: reflections of a crystal structure, the documented way by hand, and the one without a click."""

import json
import logging
import math
import shutil
import sys
from dataclasses import replace
from pathlib import Path

import fabio
import numpy as np
import pytest
from click.testing import CliRunner
from pyFAI.calibrant import Cell, get_calibrant
from scipy.optimize import curve_fit

from benchmarks.calibration import SUBSTANCES, draw
from edfast import _calib2
from edfast.calibration import (
    CalibrationError,
    build_calibration_data_from_cif,
    calibrate,
    example_cif,
    get_calibration_parameters,
    perform_geometric_calibration,
)
from edfast.cli import main
from edfast.geometry import Poni, beam_center, electron_wavelength, poni_with_center, read_poni, write_poni
from edfast.plots import plot_calibration
from edfast.simulate import BeamStop, powder_pattern, ring_pattern, write_dm4

ROOT = Path(__file__).resolve().parents[1]

CUBIC = """data_test
_cell_length_a 5.4311946(92)
_cell_length_b 5.4311946
_cell_length_c 5.4311946
_cell_angle_alpha 90
_cell_angle_beta 90
_cell_angle_gamma 90
_space_group_name_H-M_alt 'F d -3 m :1'
loop_
_atom_site_label
_atom_site_type_symbol
_atom_site_fract_x
_atom_site_fract_y
_atom_site_fract_z
_atom_site_occupancy
Si1 Si 0 0 0 1
"""


def with_site(field, value):
    """The silicon of CUBIC with one more property of its atom."""
    text = CUBIC.replace("_atom_site_occupancy", f"_atom_site_{field}\n_atom_site_occupancy")
    return text.replace("0 0 0", f"0 0 0 {value}")


def same(found, others, rel=1e-9):
    """Whether two lists of peaks are the same but for rounding."""
    assert [peak["hkl"] for peak in found] == [peak["hkl"] for peak in others]
    for name in ("d", "two_theta", "intensity"):
        assert [peak[name] for peak in found] == pytest.approx([peak[name] for peak in others], rel=rel)


def peaks(cif, wavelength=0.0251, n_peaks=15, two_theta_range=(0, 2)):
    return build_calibration_data_from_cif(cif, wavelength, n_peaks, two_theta_range, output=None)


@pytest.fixture
def cif(tmp_path):
    def write(text):
        path = tmp_path / "test.cif"
        path.write_text(text)
        return path

    return write


# ------------------------------------------------------------------------------------------------------------- reflections


@pytest.mark.parametrize(("name", "calibrant"), [("gold", "Au"), ("silicon", "Si"), ("aluminium", "Al")])
def test_d_spacings_are_those_of_pyfai(name, calibrant):
    known = np.array(get_calibrant(calibrant).dspacing)
    found = [peak["d"] for peak in peaks(example_cif(name), n_peaks=100)]
    assert len(found) >= 10
    for d in found:
        assert np.abs(known - d).min() < 1e-4
    # And none of pyFAI's is missing in the range: all of theirs are allowed reflections.
    assert np.count_nonzero(known > min(found) - 1e-4) == len(found)


@pytest.mark.parametrize(("name", "cell"), [("thallium_chloride", Cell(3.842, 3.842, 3.842)),
                                            ("bismuth", Cell(4.546, 4.546, 11.862, 90, 90, 120, lattice="hexagonal"))])
def test_d_spacings_are_those_of_pyfais_cell(name, cell):
    for peak in peaks(example_cif(name), n_peaks=100):
        assert peak["d"] == pytest.approx(cell.d(peak["hkl"]), abs=1e-6)


@pytest.mark.parametrize("name", SUBSTANCES)
@pytest.mark.parametrize("voltage", [80, 200, 300])
def test_angles_follow_from_braggs_law(name, voltage):
    wavelength = electron_wavelength(voltage)
    found = peaks(example_cif(name), wavelength, 12)
    assert [peak["two_theta"] for peak in found] == sorted(peak["two_theta"] for peak in found)
    assert max(peak["intensity"] for peak in found) == 1
    for peak in found:
        assert 2 * peak["d"] * math.sin(math.radians(peak["two_theta"]) / 2) == pytest.approx(wavelength, rel=1e-12)


def test_selection_rules():
    gold, silicon, chloride = (peaks(example_cif(name), n_peaks=200) for name in ("gold", "silicon", "thallium_chloride"))
    assert {len({index % 2 for index in peak["hkl"]}) for peak in gold} == {1}
    assert (2, 2, 2) not in [peak["hkl"] for peak in silicon]
    assert (2, 0, 0) not in [peak["hkl"] for peak in silicon]
    assert [peak["hkl"] for peak in chloride[:4]] == [(1, 0, 0), (1, 1, 0), (1, 1, 1), (2, 0, 0)]
    # Tl and Cl scatter in phase where h + k + l is even.
    assert chloride[1]["intensity"] > chloride[0]["intensity"]


def test_hexagonal_symbols_have_three_indices_and_are_not_extinct():
    found = peaks(example_cif("bismuth"), n_peaks=100)
    assert all(len(peak["hkl"]) == 3 for peak in found)
    assert all(np.dot((-1, 1, 1), peak["hkl"]) % 3 == 0 for peak in found)
    assert [peak["hkl"] for peak in found[2:5]] == [(0, 1, 2), (1, 0, 4), (1, 1, 0)]


def test_the_strongest_are_taken_and_sorted_by_angle():
    everything, some = peaks(example_cif("bismuth"), n_peaks=1000), peaks(example_cif("bismuth"), n_peaks=4)
    strongest = sorted(everything, key=lambda peak: -peak["intensity"])[:4]
    assert some == sorted(strongest, key=lambda peak: peak["two_theta"])
    assert [peak["hkl"] for peak in some] == [(0, 1, 2), (1, 0, 4), (1, 1, 0), (2, 0, 2)]


def test_distances_file(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    found = build_calibration_data_from_cif(example_cif("gold"), 0.0251, 5)
    lines = (tmp_path / "distances.txt").read_text().splitlines()
    assert [float(line) for line in lines] == pytest.approx(sorted((peak["d"] for peak in found), reverse=True), abs=1e-8)
    from pyFAI.calibrant import Calibrant

    assert Calibrant("distances.txt").dspacing == pytest.approx([float(line) for line in lines], abs=1e-9)
    assert [path.name for path in tmp_path.iterdir()] == ["distances.txt"]


def test_temperature_factors_enter(cif):
    without = peaks(cif(CUBIC))
    for field, value, b in (("U_iso_or_equiv", "0.05(1)", 8 * math.pi**2 * 0.05), ("B_iso_or_equiv", "3.5", 3.5)):
        for peak, cold in zip(peaks(cif(with_site(field, value))), without, strict=True):
            ratio = math.exp(-2 * b / 4 * (1 / peak["d"] ** 2 - 1 / without[0]["d"] ** 2))
            assert peak["intensity"] == pytest.approx(cold["intensity"] * ratio, rel=1e-9)


def test_anisotropic_temperature_factors_count_by_their_mean(cif):
    names = "".join(f"_atom_site_aniso_U_{ij}\n" for ij in (11, 22, 33, 12, 13, 23))
    tensor = f"{CUBIC}loop_\n_atom_site_aniso_label\n{names}Si1 0.04 0.05 0.06 0 0 0\n"
    mean = with_site("U_iso_or_equiv", 0.05)
    same(peaks(cif(tensor)), peaks(cif(mean)))


def test_occupancies_enter(cif):
    path = example_cif("thallium_chloride")
    text = path.read_text()
    full, half = peaks(path), peaks(cif(text.replace("Cl Cl 0.5 0.5 0.5 1", "Cl Cl 0.5 0.5 0.5 0.25")))
    weak, strong = (peak["intensity"] / other["intensity"] for peak, other in zip(half[:2], full[:2], strict=True))
    assert weak > 1.3 * strong  # 100 is a difference of the two atoms, 110 a sum


def test_the_choice_of_origin_and_axes_counts(cif):
    second = CUBIC.replace(":1'", ":2'").replace("0 0 0 1", "0.125 0.125 0.125 1")
    same(peaks(cif(CUBIC)), peaks(cif(second)))
    # Bismuth in rhombohedral axes: the same rings under other names.
    a, alpha = 4.7458, 57.23
    c = a * math.sqrt(3 + 6 * math.cos(math.radians(alpha)))
    text = (CUBIC.replace("5.4311946(92)", str(a)).replace("5.4311946", str(a)).replace(" 90", f" {alpha}")
            .replace("F d -3 m :1", "R -3 m :R").replace("Si1 Si 0 0 0", "Bi1 Bi .234 .234 .234"))
    d = {peak["hkl"]: peak["d"] for peak in peaks(cif(text), n_peaks=50)}
    assert d[(1, 1, 1)] == pytest.approx(c / 3, rel=1e-9)


def test_symmetry_operations_and_number_alone_and_none(cif, caplog):
    named = peaks(cif(CUBIC.replace("F d -3 m :1", "F m -3 m")))
    by_number = CUBIC.replace("_space_group_name_H-M_alt 'F d -3 m :1'", "_space_group_IT_number 225")
    same(peaks(cif(by_number)), named)
    operations = "loop_\n_space_group_symop_operation_xyz\nx,y,z\nx,y+1/2,z+1/2\nx+1/2,y,z+1/2\nx+1/2,y+1/2,z\n"
    listed = CUBIC.replace("_space_group_name_H-M_alt 'F d -3 m :1'\n", operations)
    assert [peak["hkl"] for peak in peaks(cif(listed))] == [peak["hkl"] for peak in named]
    with caplog.at_level(logging.WARNING, "edfast"):
        primitive = peaks(cif(CUBIC.replace("_space_group_name_H-M_alt 'F d -3 m :1'\n", "")))
    assert primitive[0]["hkl"] == (1, 0, 0)
    assert "taken as P 1" in caplog.text


@pytest.mark.parametrize(("text", "said"), [
    ("", "is empty"),
    ("some text\n", "no data block"),
    (CUBIC.split("loop_")[0], "lists no atoms"),
    (CUBIC.replace("_cell_length_a 5.4311946(92)\n", ""), "_cell_length_a must be a number above 0, not None"),
    (CUBIC.replace("5.4311946(92)", "abc"), "could not convert string to float: 'abc'"),
    (CUBIC.replace("5.4311946(92)", "-5.4"), "_cell_length_a must be a number above 0, not '-5.4'"),
    (CUBIC.replace("5.4311946(92)", "nan"), "_cell_length_a"),
    (CUBIC.replace("alpha 90", "alpha 180"), "_cell_angle_alpha must be a number above 0 and below 180"),
    (CUBIC.replace("F d -3 m :1", "F q"), "the space group F q is unknown"),
    (CUBIC.replace(":1'", ":3'"), "the space group F d -3 m :3 is unknown"),
    (CUBIC.replace("0 0 0 1\n", "0 0 0 1.7\n"), "Occupancy 1.7"),
    (CUBIC.replace("0 0 0 1\n", "0 0 ? 1\n"), "?"),
    (CUBIC.removesuffix("Si1 Si 0 0 0 1\n"), "damaged or cut off"),
    (CUBIC.replace("Si1 Si", "Xx1 Xx"), "Xx"),
])
def test_bad_cif(cif, tmp_path, text, said):
    path = cif(text)
    with pytest.raises(ValueError, match=r"test\.cif") as caught:
        build_calibration_data_from_cif(path, 0.0251, output=tmp_path / "d.txt")
    message = str(caught.value)
    assert said in message
    assert str(path) in message
    assert "\n" not in message
    assert not (tmp_path / "d.txt").exists()


def test_what_is_no_cif(tmp_path):
    with pytest.raises(FileNotFoundError, match="no CIF file"):
        peaks(tmp_path / "none.cif")
    with pytest.raises(IsADirectoryError, match="is a folder"):
        peaks(tmp_path)
    write_dm4(tmp_path / "image.dm4", np.zeros((8, 8)))
    with pytest.raises(ValueError, match="right order"):
        peaks(tmp_path / "image.dm4")


@pytest.mark.parametrize(("options", "error", "said"), [
    ({"wavelength": 0}, ValueError, "wavelength"),
    ({"wavelength": 2.51e-12}, ValueError, "wavelength .* of Angstrom"),
    ({"wavelength": 200}, ValueError, "wavelength"),
    ({"wavelength": float("nan")}, ValueError, "wavelength"),
    ({"wavelength": "0.02"}, TypeError, "wavelength"),
    ({"n_peaks": 0}, ValueError, "n_peaks"),
    ({"n_peaks": 2.5}, ValueError, "n_peaks"),
    ({"two_theta_range": (1, 1)}, ValueError, "two_theta_range"),
    ({"two_theta_range": (2, 0)}, ValueError, "two_theta_range"),
    ({"two_theta_range": (0, 1, 2)}, ValueError, "two_theta_range"),
    ({"two_theta_range": 2}, ValueError, "two_theta_range"),
    ({"two_theta_range": (-1, 2)}, ValueError, "two_theta_range"),
    ({"two_theta_range": (0, 0.1)}, ValueError, r"no reflection between .* \(d = 14.38 to infinity Angstrom"),
    ({"two_theta_range": (0, 90)}, ValueError, "take a smaller range"),
    # Only 100 of this range, which is forbidden, exists.
    ({"two_theta_range": (0, 0.45)}, ValueError, "forbidden"),
    ({"output": Path("nowhere") / "d.txt"}, NotADirectoryError, "no folder"),
])
def test_bad_arguments(tmp_path, monkeypatch, options, error, said):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(error, match=said):
        build_calibration_data_from_cif(example_cif("gold"), **{"wavelength": 0.0251, **options})
    assert not list(tmp_path.iterdir())


def test_no_input_is_overwritten_by_the_distances(tmp_path):
    cif, image = tmp_path / "au.cif", tmp_path / "vict.dm4"
    cif.write_bytes(example_cif("gold").read_bytes())
    image.write_text("pixels")
    for call in (lambda: build_calibration_data_from_cif(cif, 0.025, output=cif),
                 lambda: perform_geometric_calibration(cif, image, output=image),
                 lambda: perform_geometric_calibration(cif, image, output=cif)):
        with pytest.raises(ValueError, match="is the same file as the input"):
            call()
    assert (cif.read_bytes(), image.read_text()) == (example_cif("gold").read_bytes(), "pixels")


def test_example_cif():
    assert sorted(path.stem for path in example_cif("gold").parent.glob("*.cif")) == list(SUBSTANCES)
    with pytest.raises(ValueError, match="name must be one of 'aluminium', 'bismuth'"):
        example_cif("unobtainium")


# -------------------------------------------------------------------------------------------------------------- parameters


def test_parameters_of_the_documented_example(shared_data):
    assert get_calibration_parameters(shared_data("documented-example.poni")) == {
        "distance": 0.2344, "poni1": 0.001234, "poni2": 0.001456, "rot1": 0.00234, "rot2": 0.00134, "rot3": 0.00512,
        "wavelength": 2.51e-12, "pixel1": 5e-6, "pixel2": 5e-6, "max_shape": (3712, 3840)}


def test_parameters_with_orientation_and_detector(tmp_path):
    path = tmp_path / "a.poni"
    write_poni(path, Poni(0.2, 0.01, 0.02, 0, 0, 0, None, 172e-6, 172e-6, (195, 487), 2, "Pilatus 100k"))
    found = get_calibration_parameters(path)
    assert (found["orientation"], found["detector"], found["wavelength"]) == (2, "Pilatus 100k", None)
    with path.open("a") as file:
        file.write("Distance: 0.3\n")
    assert get_calibration_parameters(path)["distance"] == 0.3


def test_parameters_that_cannot_be_read(tmp_path):
    with pytest.raises(FileNotFoundError):
        get_calibration_parameters(tmp_path / "none.poni")
    (tmp_path / "bad.poni").write_text("Poni1: 0\nPoni2: 0\nDistance: far\n")
    with pytest.raises(ValueError, match=r"bad\.poni, line 3"):
        get_calibration_parameters(tmp_path / "bad.poni")


# ------------------------------------------------------------------------------------------------------------------ by hand


@pytest.fixture
def image_file(tmp_path):
    image = np.random.default_rng(1).integers(-50, 100, (48, 64)).astype(np.int8)
    path = tmp_path / "image.dm4"
    write_dm4(path, image, voltage_kv=200, pixel_size=15.0, binning=2, camera="Testcam; {µ}")
    return path, image


def test_pyfai_calib2_comes_up_with_everything_loaded(tmp_path, monkeypatch, image_file, capfd):
    path, image = image_file
    shutil.copy(ROOT / "tests" / "watch_calib2.py", tmp_path / "sitecustomize.py")
    for name, value in {"PYTHONPATH": tmp_path, "QT_QPA_PLATFORM": "offscreen", "XDG_CONFIG_HOME": tmp_path / "config",
                        "EDFAST_WATCH": tmp_path / "notes.json"}.items():
        monkeypatch.setenv(name, str(value))
    monkeypatch.chdir(tmp_path)
    perform_geometric_calibration(example_cif("gold"), path, distance=0.25)
    notes = json.loads((tmp_path / "notes.json").read_text())
    assert notes["visible"]
    assert notes["title"] == "PyFAI Calibration"
    np.testing.assert_array_equal(notes["image"], image)
    assert notes["wavelength"] == pytest.approx(electron_wavelength(200) * 1e-10, rel=1e-12)
    assert notes["calibrant"] == pytest.approx(np.loadtxt("distances.txt"), abs=1e-8)
    assert notes["pixel"] == pytest.approx([30e-6, 30e-6])
    assert notes["distance"] == pytest.approx(0.25)
    # Its EDF and PONI files are gone, the d-spacings stay.
    assert Path(notes["file"]).suffix == ".edf"
    assert {path.name for path in tmp_path.iterdir() if path.suffix in (".edf", ".poni", ".txt")} == {"distances.txt"}
    printed = capfd.readouterr().out
    assert printed.splitlines()[:6] == [
        "EXPERIMENT SETTINGS TO INPUT IN PYFAI-CALIB2", printed.splitlines()[1],
        "Pixel size: 30 x 30 micrometres (horizontal x vertical)", "Image dimension: 64 x 48 pixels (width x height)",
        "Wavelength: 0.0250793 Angstrom", "Calibrant: distances.txt"]
    assert printed.splitlines()[1].startswith("Camera description: Testcam; {µ}")


@pytest.fixture
def started(monkeypatch):
    """The commands that would have been started, and whether their EDF file was there."""
    commands = []

    def start(command):
        commands.append((command, fabio.open(command[-1]), read_poni(command[-2])))

    monkeypatch.setattr(_calib2, "_start", start)
    return commands


def test_what_pyfai_calib2_is_given(tmp_path, image_file, started, capsys):
    path, image = image_file
    output = tmp_path / "d.txt"
    perform_geometric_calibration(example_cif("gold"), path, voltage_kv=80, pixel_size=(30, 15), output=output)
    ((command, edf, poni),) = started
    assert command[:3] == [sys.executable, "-m", "pyFAI.app.calib2"]
    assert command[3:-2] == ["-c", str(output), "-w", repr(electron_wavelength(80)), "-i"]
    assert (poni.pixel1, poni.pixel2) == pytest.approx((30e-6, 15e-6))
    assert poni.max_shape == image.shape
    assert beam_center(poni) == pytest.approx((31.5, 23.5))
    np.testing.assert_array_equal(edf.data, image)
    assert edf.header["voltage_kv"] == "200.0"
    assert edf.header["camera_type"] == "Testcam, (?)"
    assert edf.data.dtype == np.int8
    assert not Path(command[-1]).exists()
    assert "15 x 30 micrometres" in capsys.readouterr().out


def test_the_edf_file_goes_whatever_happens(tmp_path, image_file, monkeypatch):
    seen = []

    def interrupted(command):
        seen.append(command[-1])
        raise KeyboardInterrupt

    monkeypatch.setattr(_calib2, "_start", interrupted)
    with pytest.raises(KeyboardInterrupt):
        perform_geometric_calibration(example_cif("gold"), image_file[0], output=tmp_path / "d.txt")
    assert seen[0].endswith(".edf")
    assert sorted(path.name for path in tmp_path.iterdir()) == ["d.txt", "image.dm4"]


def test_what_is_saved_over_the_start_is_kept(tmp_path, image_file, monkeypatch, capsys):
    saved = Poni(0.3, 0, 0, 0, 0, 0, 2.5e-12, 30e-6, 30e-6, (48, 64))
    monkeypatch.setattr(_calib2, "_start", lambda command: write_poni(command[-2], saved))
    perform_geometric_calibration(example_cif("gold"), image_file[0], output=tmp_path / "d.txt")
    (kept,) = tmp_path.glob("*.poni")
    assert read_poni(kept) == saved
    assert str(kept) in capsys.readouterr().out
    assert not list(tmp_path.glob("*.edf"))


def test_what_the_file_does_not_say_is_asked_for(tmp_path, started):
    path = tmp_path / "bare.npy.tif"
    fabio.tifimage.TifImage(data=np.zeros((8, 8), np.uint16)).write(str(path))
    run = {"cif_file": example_cif("gold"), "dm4_file": path, "output": tmp_path / "d.txt"}
    with pytest.raises(ValueError, match=r"bare.* give wavelength \[Angstrom\] or voltage_kv"):
        perform_geometric_calibration(**run)
    with pytest.raises(ValueError, match=r"bare.* give pixel_size \[micrometre\]"):
        perform_geometric_calibration(**run, wavelength=0.0251)
    with pytest.raises(ValueError, match="give one of them"):
        perform_geometric_calibration(**run, wavelength=0.0251, voltage_kv=200)
    with pytest.raises(ValueError, match="pixel_size"):
        perform_geometric_calibration(**run, wavelength=0.0251, pixel_size=-1)
    with pytest.raises(ValueError, match="pixel_size"):
        perform_geometric_calibration(**run, wavelength=0.0251, pixel_size=(1, 2, 3))
    with pytest.raises(ValueError, match="distance"):
        perform_geometric_calibration(**run, wavelength=0.0251, pixel_size=10, distance=0)
    with pytest.raises(ValueError, match="output"):
        perform_geometric_calibration(**{**run, "output": None}, wavelength=0.0251, pixel_size=10)
    assert not started
    assert not (tmp_path / "d.txt").exists()
    perform_geometric_calibration(**run, voltage_kv=200, pixel_size=10)
    assert started[0][0][3:-2] == ["-c", str(tmp_path / "d.txt"), "-w", repr(electron_wavelength(200)), "-i"]
    assert started[0][2].pixel1 == pytest.approx(10e-6)


def test_a_stack_needs_a_frame(tmp_path, started):
    path = tmp_path / "stack.dm4"
    write_dm4(path, np.arange(3 * 6 * 5, dtype=np.int16).reshape(3, 6, 5), voltage_kv=200, pixel_size=10.0)
    with pytest.raises(ValueError, match=r"stack\.dm4.*choose one frame"):
        perform_geometric_calibration(example_cif("gold"), path, output=tmp_path / "d.txt")
    perform_geometric_calibration(example_cif("gold"), path, output=tmp_path / "d.txt", frame=2)
    assert started[0][1].data[0, 0] == 60


def test_no_gui_toolkit(tmp_path, image_file, monkeypatch):
    monkeypatch.setattr(_calib2, "_QT", ("no_such_toolkit",))
    with pytest.raises(ImportError, match=r"pip install edfast\[gui\]"):
        perform_geometric_calibration(example_cif("gold"), image_file[0], output=tmp_path / "d.txt")
    assert not (tmp_path / "d.txt").exists()


def test_no_display(tmp_path, image_file, monkeypatch, capfd):
    for name in ("DISPLAY", "WAYLAND_DISPLAY"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("QT_QPA_PLATFORM", "xcb")
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path / "config"))
    with pytest.raises(RuntimeError, match="pyFAI-calib2 stopped with code") as caught:
        perform_geometric_calibration(example_cif("gold"), image_file[0], output=tmp_path / "d.txt")
    assert "display" in str(caught.value)
    assert "\n" not in str(caught.value)


# ---------------------------------------------------------------------------------------------------------- without a click


@pytest.fixture(scope="module")
def film():
    """A pattern of gold behind a beam stop, and where its detector is."""
    wavelength = electron_wavelength(200) * 1e-10
    poni = poni_with_center(Poni(0.42, 0, 0, 0, 0, 0, wavelength, 48e-6, 48e-6, (384, 400)), 205.3, 188.6)
    peaks = build_calibration_data_from_cif(example_cif("gold"), electron_wavelength(200), 9, output=None)
    look = {"amplitudes": [400 * peak["intensity"] for peak in peaks], "widths": 1.8, "background": 60, "background_decay": 80,
            "beamstop": BeamStop(18, 0.7, 10), "texture": 0.1, "hot_pixels": 10}
    return poni, [peak["d"] for peak in peaks], look


def render(film, d=None, tilt=(0, 0), **look):
    poni, spacings, usual = film
    poni = poni_with_center(replace(poni, rot1=tilt[0], rot2=tilt[1]), 205.3, 188.6)
    return powder_pattern(spacings if d is None else d, poni, random_state=3, **{**usual, **look})[0], poni


def found_in(film, image, cif="gold", **options):
    return calibrate(example_cif(cif), image, **{**known(film[0]), **options})


def known(poni):
    """What a user knows of the experiment."""
    return {"wavelength": poni.wavelength * 1e10, "pixel_size": poni.pixel1 * 1e6}


def test_distance_and_centre(film):
    image, poni = render(film)
    found = found_in(film, image)
    assert found.distance == pytest.approx(poni.distance, rel=2e-4)
    assert abs(found.distance - poni.distance) < 4 * found.distance_err
    assert found.distance_err < 2e-4 * poni.distance
    assert math.dist(found.center, (205.3, 188.6)) < 0.05
    assert beam_center(found.poni) == pytest.approx(found.center, abs=1e-9)
    assert {ring.hkl for ring in found.rings} >= {(1, 1, 1), (2, 0, 0), (2, 2, 0), (3, 1, 1)}
    for ring in found.rings:
        assert ring.radius == pytest.approx(ring.expected + ring.residual)
        assert abs(ring.residual) < 0.5
    assert (found.axis, found.tilt_err) == (None, None)
    assert "1 1 1" in str(found)


@pytest.mark.parametrize("substance", SUBSTANCES)
def test_simulated_substances(substance):
    scene = draw(SUBSTANCES.index(substance) + 20, substance)
    image, truth = scene.render()
    found = calibrate(example_cif(substance), image, **known(scene.poni))
    assert found.distance == pytest.approx(scene.poni.distance, rel=2e-4)
    assert abs(found.distance - scene.poni.distance) < 4 * found.distance_err
    assert math.dist(found.center, truth.center) < 0.05
    assert found.axis is None


@pytest.mark.parametrize(("image_of", "cif"), [("silicon", "gold"), ("gold", "silicon"), ("gold", "thallium_chloride"),
                                               ("thallium_chloride", "gold"), ("bismuth", "silicon"), ("gold", "bismuth")])
def test_the_wrong_structure_is_refused(image_of, cif):
    scene = draw(40 + SUBSTANCES.index(image_of), image_of)
    with pytest.raises(CalibrationError, match="are not those of the structure") as caught:
        calibrate(example_cif(cif), scene.render()[0], **known(scene.poni))
    assert "ratios of the radii: 1.000 " in str(caught.value)
    assert "of the structure: 1.000 " in str(caught.value)
    assert "\n" not in str(caught.value)


def test_a_missing_an_extra_and_a_forbidden_ring(film):
    d = np.array(film[1])
    heights = np.array(film[2]["amplitudes"])
    without = np.delete(d, 2), np.delete(heights, 2)
    extra = np.append(d, 1.72), np.append(heights, 60.0)
    forbidden = np.append(d, 4.0782 / math.sqrt(2)), np.append(heights, 50.0)
    for spacings, amplitudes in (without, extra, forbidden):
        found = found_in(film, render(film, spacings, amplitudes=amplitudes)[0])
        assert found.distance == pytest.approx(0.42, rel=2e-4)
        if spacings is without[0]:
            assert (2, 2, 0) in [hkl for hkl, _ in found.missing]
        else:
            expected = 0.42 * math.tan(2 * math.asin(film[0].wavelength * 1e10 / 2 / spacings[-1])) / 48e-6
            assert min(abs(radius - expected) for radius in found.unmatched) < 1


def test_a_rival_that_the_radii_contradict_is_none():
    # The profile of another camera length, 0.7 % off, agrees nearly as well.
    scene = draw(64)
    assert (scene.substance, scene.spoilt) == ("thallium_chloride", "extra")
    found = calibrate(example_cif(scene.substance), scene.render()[0], **known(scene.poni))
    assert found.distance == pytest.approx(scene.poni.distance, rel=2e-4)


@pytest.mark.parametrize("guess", [0.05, 0.3, 2.0])
def test_a_wrong_first_guess_does_no_harm(film, guess):
    assert found_in(film, render(film)[0], distance=guess).distance == pytest.approx(0.42, rel=2e-4)


@pytest.mark.parametrize("orientation", [1, 2, 3, 4])
def test_orientations(film, orientation):
    found = found_in(film, render(film)[0], orientation=orientation)
    assert found.poni.orientation == orientation
    assert beam_center(found.poni) == pytest.approx(found.center, abs=1e-9)


def test_oblong_pixels(film):
    poni = poni_with_center(replace(film[0], pixel2=47e-6), 205.3, 188.6)
    image, _ = powder_pattern(film[1], poni, random_state=1, **film[2])
    found = found_in(film, image, pixel_size=(48, 47))
    assert found.distance == pytest.approx(0.42, rel=3e-4)
    assert (found.poni.pixel1, found.poni.pixel2) == pytest.approx((48e-6, 47e-6))


def test_tilt_only_when_the_image_supports_it(film):
    straight = found_in(film, render(film)[0], tilt=True)
    assert (straight.tilt_err, straight.poni.rot1, straight.poni.rot2) == (None, 0, 0)
    # Large angles on a near detector: the centres of the rings move apart.
    near = (replace(film[0], distance=0.05, pixel1=26.4e-6, pixel2=26.4e-6, wavelength=12e-12), film[1],
            {**film[2], "amplitudes": [3000.0] * len(film[1])})
    image, _ = render(near, tilt=(0.06, -0.04))
    found = found_in(near, image, tilt=True)
    assert found.tilt_err is not None
    for value, error, truth in ((found.poni.rot1, found.tilt_err[0], 0.06), (found.poni.rot2, found.tilt_err[1], -0.04)):
        assert abs(value - truth) < max(4 * error, 2e-3)
    assert beam_center(found.poni) == pytest.approx((205.3, 188.6), abs=0.15)
    assert found_in(near, image).tilt_err is None


GOLD = 4.0782 / np.sqrt([3, 4, 8, 11, 12, 16, 19, 20])


def tilted(rot1, rot2, distance, size=1024, bright=30.0):
    """An image of gold on a tilted detector, and where that is: the rings of a pair overlap."""
    poni = Poni(distance, 0, 0, rot1, rot2, 0, electron_wavelength(200) * 1e-10, 28e-6, 28e-6, (size, size))
    poni = poni_with_center(poni, size / 2 + 10.24, size / 2 - 10.24)
    heights = bright * np.array([300, 150, 90, 90, 40, 20, 50, 50])
    return powder_pattern(GOLD, poni, widths=3.0, amplitudes=heights, background=3000.0, random_state=1)[0], poni


@pytest.mark.parametrize(("rot1", "rot2", "distance"), [(0.2, 0.0, 0.15), (0.2, 0.1, 0.15), (0.3, 0.0, 0.1), (0.1, 0.0, 0.3),
                                                        (0.03, 0.0, 0.3), (0.0, 0.2, 0.3)])
def test_a_tilt_that_is_there_is_found(rot1, rot2, distance):
    image, poni = tilted(rot1, rot2, distance)
    found = calibrate(example_cif("gold"), image, **known(poni), tilt=True)
    assert found.tilt_note == ""
    for value, error, truth in zip((found.poni.rot1, found.poni.rot2, found.distance, *found.center),
                                   (*found.tilt_err, found.distance_err, found.cx_err, found.cy_err),
                                   (rot1, rot2, distance, *beam_center(poni)), strict=True):
        assert abs(value - truth) < 4 * error
    assert max(found.tilt_err) < 4e-3
    assert found.distance_err < 2e-3 * distance
    assert beam_center(found.poni) == pytest.approx(found.center, abs=1e-9)


def test_why_a_tilt_stays_zero(film):
    image, _ = render(film)
    found = found_in(film, image, tilt=True)
    assert found.tilt_note.startswith("tilt not significant")
    assert found.tilt_note in str(found)
    assert found_in(film, image).tilt_note == ""


def test_lenses_that_stretch_the_pattern_are_no_tilt(film):
    poni, d, look = film
    radii = poni.distance * np.tan(2 * np.arcsin(poni.wavelength * 1e10 / 2 / np.array(d))) / poni.pixel1
    look = {name: value for name, value in look.items() if name != "amplitudes"}
    image, _ = ring_pattern(poni.max_shape, (205.3, 188.6), radii, ratio=1.03, angle=0.6, random_state=2,
                            amplitudes=film[2]["amplitudes"], **look)
    found = found_in(film, image, tilt=True)
    assert found.tilt_err is None
    assert found.distance == pytest.approx(poni.distance, rel=2e-4)


def test_close_rings_are_measured_where_they_are():
    image, poni = tilted(0, 0, 0.42)
    found = calibrate(example_cif("gold"), image, **known(poni))
    assert [ring.hkl for ring in found.rings] == [(1, 1, 1), (2, 0, 0), (2, 2, 0), (3, 1, 1), (2, 2, 2), (4, 0, 0), (3, 3, 1),
                                                  (4, 2, 0)]
    for ring in found.rings:
        truth = poni.distance * math.tan(math.radians(ring.two_theta)) / poni.pixel1
        assert abs(ring.radius - truth) < 4 * ring.error
        assert abs(ring.residual) < 4 * ring.error
        assert ring.error < 0.02


def test_the_integrator_puts_the_peaks_at_their_d_spacings(film):
    image, _ = render(film)
    found = found_in(film, image, mask=np.hypot(*(np.indices(image.shape) - np.array([188.6, 205.3])[:, None, None])) < 30)
    ai = found.integrator
    q, intensity = ai.integrate1d(image, 500, unit="q_A^-1", correctSolidAngle=False, method=("bbox", "csr", "cython"))

    def ring_on_slope(x, height, place, width, level, slope):
        return height * np.exp(-0.5 * ((x - place) / width) ** 2) + level + slope * (x - place)

    for ring in found.rings[:4]:
        expected = 2 * math.pi / ring.d
        near = np.abs(q - expected) < 0.12
        start = np.ptp(intensity[near]), expected, 0.03, intensity[near].min(), 0
        place = curve_fit(ring_on_slope, q[near], intensity[near], start)[0][1]
        assert place == pytest.approx(expected, rel=1e-3)


def test_bismuth(shared_data, tmp_path):
    found = calibrate(example_cif("bismuth"), shared_data("bismuth.dm4"), output=tmp_path / "bi.poni")
    assert found.axis == (0, 0, 1)
    assert [ring.hkl for ring in found.rings][:4] == [(1, 1, 0), (3, 0, 0), (2, 2, 0), (4, 1, 0)]
    assert all(abs(ring.residual) < 0.5 for ring in found.rings)
    assert found.distance == pytest.approx(0.2527, abs=4e-4)
    assert found.wavelength == pytest.approx(electron_wavelength(90))
    assert read_poni(tmp_path / "bi.poni") == found.poni
    text = (tmp_path / "bi.poni").read_text()
    assert f"# distance {found.distance * 1e3:.4f} +- {found.distance_err * 1e3:.4f} mm" in text


def test_a_textured_film(film):
    # All grains of a (111) film of gold: rings of the [111] zone alone.
    d = 4.0782 / np.sqrt([8, 24, 32, 56])
    near = (replace(film[0], distance=0.17), *film[1:])
    image, _ = render(near, d, amplitudes=[400, 150, 60, 60])
    found = found_in(near, image)
    assert found.axis is not None
    assert sorted(map(abs, found.axis)) == [1, 1, 1]
    assert found.distance == pytest.approx(0.17, rel=3e-4)
    assert "be sure of the structure" in str(found)


@pytest.mark.parametrize("image", [np.zeros((64, 64)), np.random.default_rng(0).normal(size=(128, 128))])
def test_no_rings(image):
    with pytest.raises(CalibrationError, match=r"image with .*gold"):
        calibrate(example_cif("gold"), image, wavelength=0.025, pixel_size=20)


def test_two_rings_are_too_few(film):
    with pytest.raises(CalibrationError, match="three are needed"):
        found_in(film, render(film, film[1][:2], amplitudes=[400, 200])[0])


def test_bad_input_of_calibrate(film, tmp_path):
    image, _ = render(film)
    with pytest.raises(ValueError, match="wavelength"):
        calibrate(example_cif("gold"), image, pixel_size=48)
    with pytest.raises(ValueError, match="pixel_size"):
        calibrate(example_cif("gold"), image, wavelength=0.025)
    with pytest.raises(ValueError, match="distance"):
        found_in(film, image, distance=-1)
    with pytest.raises(ValueError, match="orientation"):
        found_in(film, image, orientation=5)
    with pytest.raises(ValueError, match="mask"):
        found_in(film, image, mask=np.zeros((3, 3), bool))
    with pytest.raises(NotADirectoryError):
        found_in(film, image, output=tmp_path / "none" / "x.poni")
    with pytest.raises(FileNotFoundError):
        calibrate(tmp_path / "none.cif", image, wavelength=0.025, pixel_size=48)
    assert not list(tmp_path.iterdir())


def test_what_a_refusal_leaves_behind(film, tmp_path):
    with pytest.raises(CalibrationError):
        found_in(film, render(film)[0], "silicon", output=tmp_path / "x.poni")
    assert not list(tmp_path.iterdir())


# ------------------------------------------------------------------------------------------------------------- the command


@pytest.fixture
def rings_file(film, tmp_path):
    path = tmp_path / "rings.dm4"
    write_dm4(path, render(film)[0], voltage_kv=200, pixel_size=24.0, binning=2)
    return path


def command(*arguments):
    return CliRunner().invoke(main, ["calibrate", *map(str, arguments)])


def test_the_command(rings_file, tmp_path):
    result = command(example_cif("gold"), rings_file, "-o", tmp_path / "cal.poni")
    assert result.exit_code == 0, result.output
    assert read_poni(tmp_path / "cal.poni").distance == pytest.approx(0.42, rel=2e-4)
    assert (tmp_path / "cal.png").read_bytes()[:4] == b"\x89PNG"
    assert "1 1 1" in result.stdout
    assert "+-" in (tmp_path / "cal.poni").read_text()


def test_the_command_refuses_the_wrong_structure(rings_file, tmp_path):
    result = command(example_cif("silicon"), rings_file, "-o", tmp_path / "cal.poni")
    assert result.exit_code == 1
    assert "ratios of the radii" in result.stderr
    assert len(result.stderr.splitlines()) == 1
    assert sorted(path.name for path in tmp_path.iterdir()) == ["rings.dm4"]


@pytest.mark.parametrize(("arguments", "said"), [
    (["GOLD", "IMAGE"], "-o"), (["GOLD", "IMAGE", "--interactive", "-o", "x.poni"], "--interactive does not go with"),
    (["GOLD", "none.dm4", "-o", "x.poni"], "none.dm4"), (["none.cif", "IMAGE", "-o", "x.poni"], "none.cif"),
    (["IMAGE", "GOLD", "-o", "x.poni"], "gold.cif"), (["GOLD", "IMAGE", "-o", "nowhere/x.poni"], "nowhere"),
    (["GOLD", "IMAGE", "-o", "x.poni", "-w", "2.5e-12"], "wavelength"),
    (["GOLD", "IMAGE", "-o", "x.poni", "-l", "-3"], "distance"),
    (["GOLD", "IMAGE", "-o", "x.png"], "x.png is the name of the picture"),
    (["GOLD", "IMAGE", "-o", "rings.dm4", "-m", "rings.dm4"], "rings.dm4 is the same file as the input"),
    (["GOLD", "none.dm4", "-m", "rings.dm4", "-o", "rings.dm4"], "rings.dm4 is the same file as the input"),
])
def test_wrong_usage(rings_file, tmp_path, monkeypatch, arguments, said):
    monkeypatch.chdir(tmp_path)
    result = command(*[{"GOLD": example_cif("gold"), "IMAGE": rings_file}.get(word, word) for word in arguments])
    assert result.exit_code == 2
    assert said in result.stderr
    assert "Traceback" not in result.stderr
    assert sorted(path.name for path in tmp_path.iterdir()) == ["rings.dm4"]


def test_the_command_by_hand(rings_file, tmp_path, monkeypatch, started):
    monkeypatch.chdir(tmp_path)
    result = command(example_cif("gold"), rings_file, "--interactive", "-l", 400)
    assert result.exit_code == 0, result.output
    assert result.stdout.startswith("EXPERIMENT SETTINGS TO INPUT IN PYFAI-CALIB2")
    assert started[0][2].distance == pytest.approx(0.4)
    monkeypatch.setattr(_calib2, "_QT", ("no_such_toolkit",))
    result = command(example_cif("gold"), rings_file, "--interactive")
    assert result.exit_code == 2
    assert "pip install edfast[gui]" in result.stderr


def test_the_figure(film):
    image, _ = render(film)
    found = found_in(film, image)
    left, right = plot_calibration(image, found).axes
    ring = left.lines[0]
    radii = np.hypot(ring.get_xdata() - found.cx, ring.get_ydata() - found.cy)
    assert radii == pytest.approx(found.rings[0].expected, abs=1e-3)
    points = right.lines[1]
    np.testing.assert_allclose(points.get_ydata(), [ring.residual for ring in found.rings])
    assert f"{found.distance * 1e3:.3f}" in left.figure.get_suptitle()
