"""The checks of arguments: one line that names the argument, the value, and what to do."""

from pathlib import Path

import numpy as np
import pytest

import edfast
from edfast import _validation as check
from edfast import calibration, geometry, image, plots, recalibration, report
from edfast.batch import recalibrate_batch
from edfast.filereader import FileFormatError
from edfast.geometry import Poni
from edfast.simulate import write_dm4

PONI = Poni(0.2, 0.01, 0.01, 0, 0, 0, None, 1e-5, 1e-5, (64, 64))
PIXELS = np.arange(64.0 * 64).reshape(64, 64)
HOLES = np.ma.masked_greater(PIXELS, 4000)
WHOLE = np.ma.masked_greater(PIXELS, 1e9)
STACK = np.ma.masked_greater(np.stack([PIXELS] * 3), 4000)


@pytest.mark.parametrize("call", [
    edfast.fit_ring, edfast.fit_ellipse_to_ring, lambda a: recalibration.recalibrate_with_beamstop(a, "x.poni"),
    lambda a: image.radial_profile(a, (30, 30)), lambda a: image.avg_pooling(a, 2), lambda a: write_dm4("x.dm4", a),
    lambda a: edfast.fit_ring(PIXELS, mask=a > 3), lambda a: plots.plot_recalibration(a, (3, 4)),
])
def test_masks_of_numpy_do_not_get_lost(call, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    geometry.write_poni("x.poni", PONI)
    with pytest.raises(ValueError, match=r"has masked elements, .* give \w+\.data with mask=\w+\.mask, or fill it"):
        call(HOLES)


@pytest.mark.parametrize("call", [
    lambda a: image.hit_scores(a, PIXELS), lambda a: image.cluster_fSpec(a, verbose=False), image.adu2photon,
    lambda a: image.radial_profile_stack(a, (30, 30)), lambda a: image.fix_artifact(a, (30, 30), np.zeros((64, 64), bool)),
    lambda a: image.writeccp4(a, "x.map"),
])
def test_masks_of_stacks_do_not_get_lost(call):
    with pytest.raises(ValueError, match="has masked elements"):
        call(STACK)


def test_masked_arrays_with_nothing_masked_are_arrays():
    assert check.as_image(WHOLE).tolist() == PIXELS.tolist()
    assert check.as_mask(WHOLE.mask, PIXELS.shape) is None  # numpy's nomask
    np.testing.assert_array_equal(check.as_mask(HOLES.mask, PIXELS.shape), PIXELS > 4000)
    scores = image.hit_scores(np.ma.array(STACK.data), PIXELS)
    np.testing.assert_array_equal(scores, image.hit_scores(STACK.data, PIXELS))


@pytest.mark.parametrize(("call", "error", "said"), [
    (lambda: geometry.beam_center("gold.poni"), TypeError, "poni must be a Poni, as read_poni returns it, not 'gold.poni'"),
    (lambda: geometry.poni_with_center("g", 1, 2), TypeError, "poni must be a Poni"),
    (lambda: geometry.to_integrator(None), TypeError, "poni must be a Poni"),
    (lambda: geometry.write_poni("z.poni", "gold.poni"), TypeError, "poni must be a Poni"),
    (lambda: geometry.write_poni(PONI, "z.poni"), TypeError, "path must be the name of a file, not Poni("),
    (lambda: geometry.fit_binning(PONI, "ab"), ValueError, "shape must be (rows, columns), two whole numbers"),
    (lambda: geometry.fit_binning(PONI, 5), ValueError, "shape must be (rows, columns), two whole numbers above 0, not 5"),
    (lambda: Poni(0.2, 0, 0, 0, 0, 0, None, 1e-5, 1e-5, max_shape=5), ValueError, "max_shape must be (rows, columns)"),
    (lambda: report.write_report(None, "x.html"), TypeError, "ledger must be a Ledger or the name of its file, not None"),
    (lambda: plots.plot_recalibration(None, (1, 2)), TypeError, "image must be an array, not None"),
    (lambda: plots.plot_recalibration(PIXELS, None), TypeError, "fit must be an EllipseFit, a RingFit or (cx, cy), not None"),
    (lambda: plots.plot_recalibration(PIXELS * 1j, (1, 2)), TypeError, "image must hold real numbers, not complex128"),
    (lambda: plots.plot_recalibration(STACK.data, (1, 2)), ValueError, "image must be two-dimensional"),
    (lambda: edfast.fit_ring("x.dm4"), TypeError, "image must be an array, not 'x.dm4'; edfast.load_data and numpy.load read"),
    (lambda: edfast.fit_ring(None), TypeError, "image must be an array, not None"),
    (lambda: edfast.fit_ring(PIXELS, mask="m.npy"), TypeError, "mask must be an array, not 'm.npy'"),
    (lambda: recalibration.recalibrate_with_beamstop("a.dm4", None), TypeError, "ponifile must be the name of a file"),
    (lambda: recalibration.update_ai(None, 0, 0), TypeError, "initial_ponifile must be the name of a file, not None"),
    (lambda: calibration.get_calibration_parameters(None), TypeError, "poni_file must be the name of a file, not None"),
    (lambda: edfast.load_data(3), TypeError, "path must be the name of a file, not 3"),
    (lambda: edfast.load_data(""), ValueError, "path must be the name of a file, not empty"),
    (lambda: image.readccp4(None), TypeError, "file_path must be the name of a file, not None"),
    (lambda: image.readpdb_full(7), TypeError, "pdb_file must be the name of a file, not 7"),
    (lambda: image.cluster_fSpec(STACK.data, njobs=0), ValueError, "njobs must be a number of threads, or -1 for all cores"),
    (lambda: image.cluster_fTSNE(STACK.data, njobs=2.5, perplexity=1), ValueError, "njobs must be a number of threads"),
    (lambda: image.fix_artifact_auto(STACK.data, (3, 3), njobs=2.5), ValueError, "njobs must be a number of threads"),
    (lambda: recalibrate_batch("x.dm4", "x.poni", output="o", progress=3), TypeError, "progress must be True"),
    (lambda: recalibrate_batch("x.dm4", "x.poni", output="o", beamstop="no"), TypeError, "beamstop must be True or"),
    (lambda: recalibrate_batch("x.dm4", "x.poni", output="o", resume=True, overwrite=True), ValueError, "contradict"),
    (lambda: edfast.CenterTracker((64, 64), ellipse="x"), TypeError, "ellipse must be True or False, not 'x'"),
    (lambda: recalibration.recalibrate_with_beamstop("x", "y", plot="no"), TypeError, "plot must be True or False, not 'no'"),
    (lambda: check.as_number(-1, "radius", above=0, unit="pixel"), ValueError,
     "radius must be a finite number above 0 [pixel], not -1"),
    (lambda: check.as_number(np.int64(-3), "x", minimum=0), ValueError, "x must be a finite number at least 0, not -3"),
    (lambda: check.as_count(np.int64(-3), "x"), ValueError, "x must be a whole number of at least 0, not -3"),
])
def test_one_line_names_the_argument(call, error, said):
    with pytest.raises(error) as caught:
        call()
    assert str(caught.value).startswith(said) or said in str(caught.value)
    assert len(str(caught.value).splitlines()) == 1
    assert not Path("x.html").exists()
    assert not Path("o").exists()


def test_njobs_counts_from_all_cores_everywhere():
    data = np.random.default_rng(0).random((4, 16, 16))
    first, second = (image.fix_artifact_auto(data.copy(), (7.5, 7.5), njobs=n) for n in (1, -2))
    np.testing.assert_array_equal(first, second)


def test_an_array_has_no_frames(tmp_path):
    geometry.write_poni(tmp_path / "x.poni", PONI)
    with pytest.raises(ValueError, match=r"frame must be None for an array, not 1: give the image, array\[1\]"):
        recalibration.recalibrate_no_beamstop(PIXELS, tmp_path / "x.poni", frame=1)


def test_empty_files_are_called_so(tmp_path):
    path = tmp_path / "empty.h5"
    path.touch()
    for read in (edfast.load_data, image.readccp4, image.readpdb_full, image.cxi_parser,
                 lambda path: edfast.track_stack(str(path))):
        with pytest.raises(FileFormatError, match=r"empty\.h5: the file is empty$"):
            read(path)


def test_a_density_that_does_not_fit_into_the_memory(tmp_path):
    image.xyz2pdb([[0, 0, 0], [0, 0, 400]], "C", save_file=tmp_path / "x.pdb")
    with pytest.raises(ValueError, match=r"^resolution=0\.01 with voxel_size=0\.005 needs more memory than there is"):
        image.pdb2density(tmp_path / "x.pdb", 0.01)
