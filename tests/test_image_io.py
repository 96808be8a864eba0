"""Maps, structures, densities and CXI files: against naive twins, mrcfile, gemmi and h5py, and on awkward input."""

import gzip
import os
import warnings

import gemmi
import h5py
import mrcfile
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.fft import fftn, ifftn

from edfast.filereader import FileFormatError
from edfast.image import _density
from edfast.image.io import cxi_parser, pdb2density, readccp4, readpdb_full, writeccp4, xyz2pdb
from edfast.kernels import _bands
from tests import naive_image_io as naive

MAP_DTYPES = ["i1", "i2", "u2", "f2", "f4", "c8"]

# Two chains with the same numbers, an insertion code, alternate locations, a name twice, a ligand, an odd occupancy.
PDB = """\
ATOM      1  N   ALA A   1      11.104   6.134  -6.504  1.00 10.00           N
ATOM      2  CA AALA A   1      11.639   6.071  -5.147  0.60 12.50           C
ATOM      3  CA BALA A   1      11.739   6.171  -5.047  0.40 13.50           C
ATOM      4  N   GLY A   1A     13.104   7.134  -4.504  1.00 20.00           N
ATOM      5  N   SER B   1       1.104   2.134  -3.504  1.00  9.25           N
ATOM      6  OG  SER B   1       2.104   2.134  -3.504  1.00  9.25           O
HETATM    7 FE   HEM B   1       3.104   4.134  -5.504  0.50 30.00          FE
HETATM    8  O   HOH B  20       6.104   8.134  -1.504  1.00 40.00           O
HETATM    9  O   HOH B  20       7.104   8.134  -1.504  1.00 41.00           O
END
"""


@pytest.fixture
def awkward_pdb(tmp_path):
    path = tmp_path / "awkward.pdb"
    path.write_text(PDB)
    return path


def volume_of(dtype, shape=(3, 4, 5)):
    values = np.random.default_rng(0).normal(scale=20, size=shape)
    return values.astype(dtype) if np.dtype(dtype).kind != "c" else (values + 1j * values[::-1]).astype(dtype)


@pytest.mark.parametrize("dtype", MAP_DTYPES)
def test_maps_are_those_of_mrcfile(tmp_path, dtype):
    volume = volume_of(dtype)
    writeccp4(volume, tmp_path / "map.ccp4", voxel_size=(1.5, 2, 2.5))
    with mrcfile.open(tmp_path / "map.ccp4") as file:
        np.testing.assert_array_equal(file.data, volume)
        assert file.data.dtype == np.dtype(dtype)
        assert file.voxel_size.tolist() == (1.5, 2.0, 2.5)
        assert file.is_volume()
    assert mrcfile.validate(tmp_path / "map.ccp4")
    data = readccp4(tmp_path / "map.ccp4")
    np.testing.assert_array_equal(data["volume"], volume)
    assert data["volume"].dtype == np.dtype(dtype)
    assert data["volume"].flags.writeable
    assert (int(data["header"].nx), int(data["header"].ny), int(data["header"].nz)) == (5, 4, 3)
    assert float(data["header"].cella.z) == 7.5
    assert os.listdir(tmp_path) == ["map.ccp4"]  # noqa: PTH208


@pytest.mark.parametrize("endian", ["<", ">"])
def test_reads_what_mrcfile_wrote(tmp_path, endian):
    volume = volume_of("f4")
    for name, compression in (("a.mrc", None), ("b.mrc.gz", "gzip"), ("c.mrc.bz2", "bzip2")):
        with mrcfile.new(tmp_path / name, compression=compression) as file:
            file.set_data(volume.astype(f"{endian}f4"))
        data = readccp4(tmp_path / name)["volume"]
        np.testing.assert_array_equal(data, volume)
        assert data.dtype.isnative


@pytest.mark.parametrize(("dtype", "stored"), [
    ("?", "i1"), ("u1", "i2"), ("i4", "f4"), ("u8", "f4"), ("f8", "f4"), ("c16", "c8"), (">i2", "i2"), (">f8", "f4"),
])
def test_other_dtypes_become_what_a_map_can_hold(tmp_path, dtype, stored):
    volume = np.abs(volume_of("f8")).astype(dtype)
    writeccp4(volume, str(tmp_path / "map.mrc"))
    data = readccp4(str(tmp_path / "map.mrc"))["volume"]
    assert data.dtype == np.dtype(stored)
    np.testing.assert_array_equal(data, volume.astype(stored))


def test_any_kind_of_volume(tmp_path):
    volume = volume_of("f4")
    before = volume.copy()
    mapped = np.memmap(tmp_path / "raw", np.float32, "w+", shape=volume.shape)
    mapped[:] = volume
    with_holes = np.where(volume > 10, np.nan, volume)
    for other in (volume, volume.tolist(), np.asfortranarray(volume), volume[::-1][::-1], mapped, with_holes):
        writeccp4(other, tmp_path / "map.mrc")
        np.testing.assert_array_equal(readccp4(tmp_path / "map.mrc")["volume"], np.asarray(other, np.float32))
    np.testing.assert_array_equal(volume, before)
    del mapped


def test_axes(tmp_path):
    volume = volume_of("f4")  # x, y, z
    writeccp4(volume, tmp_path / "map.mrc", voxel_size=(1, 2, 3), axes="xyz")
    with mrcfile.open(tmp_path / "map.mrc") as file:
        np.testing.assert_array_equal(file.data, volume.transpose())
        assert file.header.cella.tolist() == (3.0, 8.0, 15.0)
    np.testing.assert_array_equal(readccp4(tmp_path / "map.mrc", axes="xyz")["volume"], volume)
    np.testing.assert_array_equal(readccp4(tmp_path / "map.mrc")["volume"], volume.transpose())
    with mrcfile.open(tmp_path / "map.mrc", mode="r+") as file:  # the same voxels, now called y (columns), x, z (sections)
        file.set_data(np.ascontiguousarray(volume.transpose(2, 0, 1)))
        file.header.mapc, file.header.mapr, file.header.maps = 2, 1, 3
        file.header.mx, file.header.my, file.header.mz = volume.shape
    np.testing.assert_array_equal(readccp4(tmp_path / "map.mrc", axes="xyz")["volume"], volume)
    # gemmi, which knows about axes too:
    grid = gemmi.read_ccp4_map(str(tmp_path / "map.mrc"), setup=True).grid
    np.testing.assert_array_equal(np.array(grid, copy=False)[:3, :4, :5], volume)


@settings(max_examples=20, deadline=None)
@given(st.tuples(*[st.integers(1, 7)] * 3), st.sampled_from(MAP_DTYPES), st.integers(0, 99))
def test_round_trip_of_maps(tmp_path_factory, shape, dtype, seed):
    path = tmp_path_factory.mktemp("maps") / "map.mrc"
    volume = np.random.default_rng(seed).integers(0, 100, shape).astype(dtype)
    writeccp4(volume, path)
    np.testing.assert_array_equal(readccp4(path)["volume"], volume)


@pytest.mark.parametrize(("volume", "options", "error", "message"), [
    (np.zeros((2, 2)), {}, ValueError, r"volume must have three axes .*\(2, 2\)"),
    (np.zeros((2, 0, 2)), {}, ValueError, "volume must have three axes and at least one voxel"),
    (np.full((1, 1, 1), "a"), {}, TypeError, "volume must be numeric, not <U1"),
    (np.full((1, 1, 1), 1e300), {}, ValueError, "volume has the value 1e.300, which is too large for float32"),
    (np.zeros((1, 1, 1)), {"voxel_size": 0}, ValueError, "voxel_size must be a finite number of Angstrom above 0, not 0"),
    (np.zeros((1, 1, 1)), {"voxel_size": (1, 2)}, ValueError, r"voxel_size must be one number or three .*\(1, 2\)"),
    (np.zeros((1, 1, 1)), {"axes": "zyx"}, ValueError, "axes must be one of 'file', 'xyz', not 'zyx'"),
])
def test_volumes_that_cannot_be_written(tmp_path, volume, options, error, message):
    with pytest.raises(error, match=message):
        writeccp4(volume, tmp_path / "map.mrc", **options)
    assert not list(tmp_path.iterdir())


def test_nothing_is_half_written(tmp_path, monkeypatch):
    writeccp4(np.ones((2, 2, 2)), tmp_path / "map.mrc")
    before = (tmp_path / "map.mrc").read_bytes()
    monkeypatch.setattr(mrcfile.mrcfile.MrcFile, "set_volume", lambda self: 1 / 0)
    with pytest.raises(ZeroDivisionError):
        writeccp4(np.zeros((2, 2, 2)), tmp_path / "map.mrc")
    assert (tmp_path / "map.mrc").read_bytes() == before
    assert [path.name for path in tmp_path.iterdir()] == ["map.mrc"]
    for write in (lambda path: writeccp4(np.ones((1, 1, 1)), path), lambda path: xyz2pdb([[1, 2, 3]], "C", save_file=path)):
        with pytest.raises(OSError, match=r"save_file .* there is no folder"):
            write(tmp_path / "nowhere" / "file")
        with pytest.raises(OSError, match="is a folder"):
            write(tmp_path)


def test_files_that_are_no_maps(tmp_path):
    (tmp_path / "text.mrc").write_text("no map\n" * 300)
    writeccp4(np.ones((4, 4, 4)), tmp_path / "short.mrc")
    (tmp_path / "short.mrc").write_bytes((tmp_path / "short.mrc").read_bytes()[:1100])
    for name in ("text.mrc", "short.mrc"):
        with pytest.raises(FileFormatError, match=f"{name}: not a CCP4 or MRC map, or damaged") as caught:
            readccp4(tmp_path / name)
        assert "\n" not in str(caught.value)
    with pytest.raises(FileFormatError, match="this is a folder"):
        readccp4(tmp_path)


@pytest.mark.parametrize("read", [readccp4, readpdb_full, lambda path: pdb2density(path, 2), cxi_parser])
def test_files_that_are_not_there(tmp_path, read):
    with pytest.raises(FileNotFoundError, match=r"nothing\.x: there is no such file"):
        read(tmp_path / "nothing.x")


def test_a_file_without_permission(tmp_path):
    if os.geteuid() == 0:
        pytest.skip("root may read everything")
    (tmp_path / "secret.pdb").write_text(PDB)
    (tmp_path / "secret.pdb").chmod(0)
    with pytest.raises(ValueError, match=r"secret\.pdb"):
        readpdb_full(tmp_path / "secret.pdb")


def test_no_residue_and_no_atom_is_lost(awkward_pdb):
    with pytest.warns(UserWarning, match="taken") as caught:
        residues = readpdb_full(awkward_pdb)
    assert [str(warning.message).split(": ")[1].split(" have")[0] for warning in caught] == ["2 residues", "2 atoms"]
    assert list(residues) == [1, "1A", ("B", 1), ("B", 1, "HEM"), 20]
    assert residues[1] == ["ALA", {"N": [7, pytest.approx(14.007, abs=1e-3), 11.104, 6.134, -6.504, 1.0, 10.0],
                                   "CA": [6, pytest.approx(12.011, abs=1e-3), 11.639, 6.071, -5.147, 0.6, 12.5],
                                   ("B", "CA"): [6, pytest.approx(12.011, abs=1e-3), 11.739, 6.171, -5.047, 0.4, 13.5]}]
    assert residues["B", 1, "HEM"][1]["FE"] == [26, pytest.approx(55.845), 3.104, 4.134, -5.504, 0.5, 30.0]
    assert list(residues[20][1]) == ["O", (9, "O")]
    assert sum(len(atoms) for _, atoms in residues.values()) == len(naive.pdb_atoms(PDB)) == 9


def test_the_same_keys_again_and_again(tmp_path):
    lines = [line for line in PDB.splitlines(keepends=True) if line.startswith("HETATM")]
    (tmp_path / "twice.pdb").write_text("".join(lines * 4))
    with pytest.warns(UserWarning, match="taken"):
        residues = readpdb_full(tmp_path / "twice.pdb")
    assert sum(len(atoms) for _, atoms in residues.values()) == 12


@pytest.mark.parametrize("name", ["1N0U1.pdb", "ico.pdb"])
def test_structures_of_the_development_data(shared_data, name):
    path = shared_data(name)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        residues = readpdb_full(path)
    found = [[resname, *values[2:]] for resname, atoms in residues.values() for values in atoms.values()]
    expected = [[a[3], *map(float, a[7:12])] for a in naive.pdb_atoms(path.read_text())]
    assert sorted(found) == sorted(expected)
    assert len(found) == {"1N0U1.pdb": 6904, "ico.pdb": 3871}[name]


def test_other_kinds_of_structure_files(tmp_path, awkward_pdb):
    structure = gemmi.read_structure(str(awkward_pdb))
    structure.make_mmcif_document().write_file(str(tmp_path / "same.cif"))
    (tmp_path / "same.pdb.gz").write_bytes(gzip.compress(PDB.encode()))
    (tmp_path / "same.txt").write_text(PDB)
    expected = pdb2density(awkward_pdb, 3)
    for name in ("same.cif", "same.pdb.gz", "same.txt"):
        np.testing.assert_allclose(pdb2density(tmp_path / name, 3), expected, rtol=0, atol=1e-6)


def test_of_several_models_the_first(tmp_path, awkward_pdb):
    (tmp_path / "models.pdb").write_text(f"MODEL        1\n{PDB[:-4]}ENDMDL\nMODEL        2\n{PDB[:-4]}ENDMDL\nEND\n")
    with pytest.warns(UserWarning, match="only the first of its 2 models"):
        np.testing.assert_array_equal(pdb2density(tmp_path / "models.pdb", 3), pdb2density(awkward_pdb, 3))


@pytest.mark.parametrize("content", [b"", b"hello\n", b"END\n", os.urandom(500)])
def test_files_that_are_no_structures(tmp_path, content):
    (tmp_path / "bad.pdb").write_bytes(content)
    for read in (readpdb_full, lambda path: pdb2density(path, 2)):
        with pytest.raises(FileFormatError, match=r"bad\.pdb: ") as caught:
            read(tmp_path / "bad.pdb")
        assert "\n" not in str(caught.value)


def atoms_of(path):
    """Positions about the centroid of the electrons, occupancies, B-factors, form factors and numbers of electrons."""
    structure = gemmi.read_structure(str(path))  # kept alive: gemmi's atoms are no more than pointers into it
    atoms = [place.atom for place in structure[0].all()]
    occupancies = np.array([atom.occ for atom in atoms])
    electrons = occupancies * [atom.element.atomic_number for atom in atoms]
    positions = np.array([atom.pos.tolist() for atom in atoms])

    def scaled(atom):
        z = atom.element.atomic_number
        table = gemmi.Element(z).it92
        return lambda s2: table.calculate_sf(s2 / 4) * z / (sum(table.a) + table.c)

    return (positions - electrons @ positions / electrons.sum(), occupancies, np.array([atom.b_iso for atom in atoms]),
            [scaled(atom) for atom in atoms], electrons.sum())


@pytest.mark.small
@pytest.mark.parametrize(("resolution", "voxel_size"), [(4.0, None), (7.0, 3.1), (5.0, 1.9)])
def test_density_like_its_naive_twin(awkward_pdb, resolution, voxel_size):
    density = pdb2density(awkward_pdb, resolution, voxel_size=voxel_size)
    *atoms, electrons = atoms_of(awkward_pdb)
    step = voxel_size or resolution / 2
    expected = naive.density(*atoms, resolution, step, density.shape[0])
    np.testing.assert_allclose(density, expected, rtol=0, atol=3e-6 * expected.max())
    assert density.sum(dtype=float) * step**3 == pytest.approx(electrons, rel=1e-5)
    assert density.dtype == np.float32
    assert density.shape[0] % 2 == 1


def gemmi_density(path, resolution, voxel_size, n):
    """The same by gemmi: its own Gaussians on its own fine grid, sharpened and cut in reciprocal space by numpy."""
    structure = gemmi.read_structure(str(path))
    centre = np.array(atoms_of(path)[0][0]) - structure[0][0][0][0].pos.tolist()
    for place in structure[0].all():
        place.atom.pos += gemmi.Position(*(centre + n // 2 * voxel_size))
    length = n * voxel_size
    structure.cell, structure.spacegroup_hm = gemmi.UnitCell(length, length, length, 90, 90, 90), "P 1"
    calculator = gemmi.DensityCalculatorX()
    calculator.d_min, calculator.rate, calculator.cutoff = resolution, 2.0, 1e-6
    calculator.blur = max(0.0, 6 * resolution**2 - min(place.atom.b_iso for place in structure[0].all()))
    calculator.set_grid_cell_and_spacegroup(structure)
    calculator.put_model_density_on_grid(structure[0])
    fine = np.array(calculator.grid, copy=False)
    assert fine.shape[0] == fine.shape[1] == fine.shape[2]
    index = np.fft.fftfreq(fine.shape[0], 1 / fine.shape[0])
    s2 = (index**2)[:, None, None] + (index**2)[:, None] + index**2
    kept = s2 <= (1 + 1e-9) * (length / resolution) ** 2
    factors = np.where(kept, fftn(fine.astype(float)) * np.exp(calculator.blur / 4 * np.where(kept, s2, 0) / length**2), 0)
    coarse, most = np.zeros((n, n, n), complex), int(length / resolution + 1e-9)
    at = np.arange(-most, most + 1)
    coarse[np.ix_(at % n, at % n, at % n)] = factors[np.ix_(*[at % fine.shape[0]] * 3)]
    return ifftn(coarse).real * (n / fine.shape[0]) ** 3


@pytest.mark.parametrize("resolution", [2.0, 3.5])
def test_density_like_gemmi(tmp_path, resolution):
    rng = np.random.default_rng(1)
    symbols = rng.choice(["C", "N", "O", "S", "Fe", "H"], 60)
    xyz2pdb(rng.uniform(0, 12, (60, 3)), symbols, rng.uniform(2, 60, 60), tmp_path / "random.pdb")
    density = pdb2density(tmp_path / "random.pdb", resolution)
    expected = gemmi_density(tmp_path / "random.pdb", resolution, resolution / 2, density.shape[0])
    # gemmi's form factors are not scaled to whole electrons: up to two in a thousand.
    assert np.abs(density - expected).max() < 2e-3 * expected.max()
    assert np.corrcoef(density.ravel(), expected.ravel())[0, 1] > 1 - 1e-6


@pytest.mark.parametrize(("name", "resolution", "electrons"), [("1N0U1.pdb", 2.0, 46218), ("ico.pdb", 3.0, 100646)])
def test_density_of_the_development_data(shared_data, name, resolution, electrons):
    path = shared_data(name)
    density = pdb2density(path, resolution)
    step = resolution / 2
    assert density.sum(dtype=float) * step**3 == pytest.approx(electrons, rel=2e-5)
    expected = gemmi_density(path, resolution, step, density.shape[0])
    assert expected.sum() * step**3 == pytest.approx(electrons, rel=0.005)
    assert np.abs(density - expected).max() < 2e-3 * expected.max()
    assert density.min() > -0.25 * density.max()


def test_the_same_structure_elsewhere_has_the_same_density(tmp_path):
    """Shifted by whole voxels the density is the same; turned by a right angle it is turned; x, y and z are axes 0, 1, 2."""
    points = np.array([[0, 0, 0], [4, 0, 0], [0, 7, 0], [0, 0, 11]], float)
    options = {"atom_type": ["C", "O", "N", "S"], "b_factor": [20] * 4}
    xyz2pdb(points, save_file=tmp_path / "a.pdb", **options)
    xyz2pdb(points + np.array([100, -50, 30.125]), save_file=tmp_path / "b.pdb", **options)
    xyz2pdb(points[:, [1, 2, 0]], save_file=tmp_path / "c.pdb", **options)
    a, b, c = (pdb2density(tmp_path / f"{name}.pdb", 2.5) for name in "abc")
    np.testing.assert_allclose(a, b, rtol=0, atol=1e-5)
    np.testing.assert_allclose(a.transpose(1, 2, 0), c, rtol=0, atol=1e-5)
    z = np.array([6, 8, 7, 16])
    middle = a.shape[0] // 2
    where = np.array(np.unravel_index(a.argmax(), a.shape)) - middle
    np.testing.assert_allclose(where * 1.25, points[3] - z @ points / z.sum(), atol=0.7)


def test_dispersion(tmp_path):
    xyz2pdb([[0, 0, 0]], "Fe", [15], tmp_path / "iron.pdb")
    without = pdb2density(tmp_path / "iron.pdb", 2)
    assert without.sum(dtype=float) == pytest.approx(26, rel=1e-5)
    with_it = pdb2density(tmp_path / "iron.pdb", 2, lamda=1.5418)
    f_prime = gemmi.cromer_liberman(z=26, energy=12398.42 / 1.5418)[0]
    assert f_prime < -1
    assert with_it.sum(dtype=float) == pytest.approx(26 + f_prime, rel=1e-5)
    xyz2pdb([[0, 0, 0]], "Am", save_file=tmp_path / "heavy.pdb")
    assert pdb2density(tmp_path / "heavy.pdb", 2).sum(dtype=float) == pytest.approx(95, rel=1e-5)
    with pytest.raises(ValueError, match="f' of Am is not known"):
        pdb2density(tmp_path / "heavy.pdb", 2, 1.0)


@pytest.mark.parametrize("bands", [1, 2, 5])
def test_density_does_not_depend_on_the_threads(awkward_pdb, monkeypatch, bands):
    expected = pdb2density(awkward_pdb, 3)
    monkeypatch.setattr(_bands, "PIXELS_PER_BAND", 1)
    monkeypatch.setattr(_bands.numba.config, "NUMBA_NUM_THREADS", bands)
    monkeypatch.setattr(_bands, "_jobs", None)
    monkeypatch.setattr(_density, "_PLANES", 3)
    np.testing.assert_array_equal(pdb2density(awkward_pdb, 3), expected)


@pytest.mark.parametrize(("options", "error", "message"), [
    ({"resolution": 0}, ValueError, "resolution must be a finite number of Angstrom above 0, not 0"),
    ({"resolution": "2"}, TypeError, "resolution must be a number"),
    ({"resolution": 2, "lamda": -1}, ValueError, "lamda must be .* above 0, not -1"),
    ({"resolution": 2, "voxel_size": 1.01}, ValueError, "voxel_size must be at most half of resolution=2, not 1.01"),
    ({"resolution": 2, "voxel_size": 0}, ValueError, "voxel_size must be a finite number"),
])
def test_bad_options_of_a_density(awkward_pdb, options, error, message):
    with pytest.raises(error, match=message):
        pdb2density(awkward_pdb, **options)


def test_atoms_of_no_element(tmp_path):
    (tmp_path / "x.pdb").write_text(PDB.replace(" N  \n", " X  \n").replace("           N\n", "           X\n"))
    with pytest.raises(FileFormatError, match=r"x\.pdb: atom 1, 'N', is of no known element"):
        pdb2density(tmp_path / "x.pdb", 2)
    with pytest.warns(UserWarning, match="taken"):
        assert readpdb_full(tmp_path / "x.pdb")[1][1]["N"][0] == 0


@settings(max_examples=25, deadline=None)
@given(st.lists(st.tuples(*[st.integers(-999_999, 9_999_999)] * 3), min_size=1, max_size=6), st.data())
def test_round_trip_of_coordinates(tmp_path_factory, thousandths, data):
    path = tmp_path_factory.mktemp("pdb") / "atoms.pdb"
    n = len(thousandths)
    symbols = data.draw(st.lists(st.sampled_from(["C", "fe", "CA", " o ", "Zn", "H"]), min_size=n, max_size=n))
    b = data.draw(st.lists(st.integers(-9999, 99999), min_size=n, max_size=n))
    xyz2pdb(np.array(thousandths) / 1000, symbols, np.array(b) / 100, path)
    residues = readpdb_full(path)
    assert list(residues) == list(range(1, n + 1))
    for (_, atoms), place, symbol, hundredths in zip(residues.values(), thousandths, symbols, b, strict=True):
        (name, (z, _, x, y, w, occupancy, b_factor)), = atoms.items()
        assert name == symbol.strip().upper()
        assert gemmi.Element(symbol.strip()).atomic_number == z
        assert [round(1000 * v) for v in (x, y, w)] == list(place)
        assert (occupancy, b_factor) == (1.0, pytest.approx(hundredths / 100, abs=1e-4))


def test_more_atoms_than_a_pdb_file_counts(tmp_path):
    xyz = np.random.default_rng(0).uniform(-900, 9000, (101_000, 3)).round(3)
    xyz2pdb(xyz, ["C"], save_file=tmp_path / "many.pdb")
    residues = readpdb_full(tmp_path / "many.pdb")
    assert list(residues) == list(range(1, 101_001))
    np.testing.assert_array_equal([values[2:5] for _, atoms in residues.values() for values in atoms.values()], xyz)


def test_default_name_and_replacing(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    xyz2pdb([[1, 2, 3]], ["c"])
    xyz2pdb(np.array([[4, 5, 6]], ">i2"), "O")
    assert [path.name for path in tmp_path.iterdir()] == ["convert.pdb"]
    assert naive.pdb_atoms((tmp_path / "convert.pdb").read_text()) == [
        ["1", "O", "", "UNK", "A", "1", "", "4.000", "5.000", "6.000", "1.00", "1.00", "O"]]


@pytest.mark.parametrize(("arguments", "error", "message"), [
    (([1, 2, 3], "C"), ValueError, r"xyz_array must have the shape \(N, 3\), not \(3,\)"),
    ((np.zeros((0, 3)), "C"), ValueError, "xyz_array must have 1 to .* atoms, not 0"),
    (([["a", "b", "c"]], "C"), TypeError, "xyz_array must be numeric"),
    (([[1, 2, 1e4]], "C"), ValueError, "xyz_array must be from -999.999 to 9999.999, .* not 10000"),
    (([[1, 2, np.nan]], "C"), ValueError, "xyz_array must be from .* not nan"),
    (([[1, 2, 3]], ["C", "H"]), ValueError, "atom_type must have one symbol, or one for each of the 1 atoms, not 2"),
    (([[1, 2, 3]], "Qq"), ValueError, "atom_type must be chemical symbols, not 'Qq'"),
    (([[1, 2, 3]], [6]), ValueError, "atom_type must be chemical symbols, not 6"),
    (([[1, 2, 3]], "C", [1, 2]), ValueError, r"b_factor must have one value for each of the 1 atoms, not the shape \(2,\)"),
    (([[1, 2, 3]], "C", [1000]), ValueError, "b_factor must be from -99.99 to 999.99, .* not 1000"),
])
def test_coordinates_that_cannot_be_written(tmp_path, arguments, error, message):
    with pytest.raises(error, match=message):
        xyz2pdb(*arguments, save_file=tmp_path / "bad.pdb")
    assert not list(tmp_path.iterdir())


@pytest.fixture
def cxi(tmp_path):
    path = tmp_path / "run.cxi"
    with h5py.File(path, "w") as file:
        file["cxi_version"] = 150
        data = file.create_dataset("entry_1/instrument_1/detector_1/data", (6, 8, 8), np.uint16, chunks=(1, 8, 8),
                                   compression="gzip", shuffle=True)
        file["entry_1/data_1/data"] = data                     # a hard link: the same data set by another name
        file["entry_1/image_1"] = h5py.SoftLink("/entry_1/data_1")
        file["entry_1/elsewhere"] = h5py.ExternalLink("other.h5", "/entry/data")
        file["entry_1/loop"] = file["entry_1"]                 # a circle
        file["entry_1/title"] = "two\nlines"
        file["entry_1/empty"] = h5py.Empty("f4")
        file["entry_1/energy"] = 1.5
        file["a type"] = np.dtype("f8")
        file["entry_1/names"] = np.array([b"a", b"b"])
    return path


def test_contents_are_not_written_over_the_file(cxi):
    before = cxi.read_bytes()
    with pytest.raises(ValueError, match=r"^out .*run.cxi is the same file as the input"):
        cxi_parser(cxi, out=cxi)
    assert cxi.read_bytes() == before


def test_contents_are_those_of_h5pys_visit(cxi, capsys):
    cxi_parser(cxi)
    printed = capsys.readouterr().out.splitlines()
    names = [line.split("  ")[0].rstrip() for line in printed]
    with h5py.File(cxi) as file:
        visited, linked = [], []
        file.visit(visited.append)
        file.visit_links(linked.append)
    assert sorted(names) == sorted(f"/{name}" for name in linked)
    assert {f"/{name}" for name in visited} <= set(names)
    what = {line.split("  ")[0].rstrip(): line.split("  ")[-1].strip() for line in printed}
    assert what["/entry_1/instrument_1/detector_1/data"] == "(6, 8, 8) uint16, chunks (1, 8, 8), shuffle, deflate"
    assert what["/entry_1/image_1"] == "-> /entry_1/data_1"
    assert what["/entry_1/elsewhere"] == "-> other.h5:/entry/data"
    assert what["/entry_1/title"] == "text = two lines"
    assert what["/entry_1/empty"] == "float32, empty"
    assert what["/entry_1/energy"] == "float64 = 1.5"
    assert what["/cxi_version"] == "int64 = 150"
    assert what["/a type"] == "named type"
    assert what["/entry_1/loop"] == what["/entry_1"] == "group"


def test_contents_into_a_file(cxi, tmp_path, capsys):
    cxi_parser(str(cxi))
    printed = capsys.readouterr().out
    cxi_parser(cxi, out=tmp_path / "contents.txt")
    cxi_parser(cxi, str(tmp_path / "again.txt"))
    assert capsys.readouterr().out == ""
    assert (tmp_path / "contents.txt").read_text() == (tmp_path / "again.txt").read_text() == printed


def test_contents_of_the_development_data(shared_data, capsys):
    cxi_parser(shared_data("test_pattern.h5"))
    assert capsys.readouterr().out.splitlines() == [
        "/labels    (50,) float64", "/mask      (128, 128) float64", "/patterns  (50, 128, 128) int64"]


def test_contents_of_other_files(tmp_path, capsys):
    (tmp_path / "text.cxi").write_text("no HDF5")
    with pytest.raises(FileFormatError, match=r"text\.cxi: not a CXI or HDF5 file, or damaged"):
        cxi_parser(tmp_path / "text.cxi")
    with pytest.raises(OSError, match=r"out .* there is no folder"):
        cxi_parser(tmp_path / "text.cxi", tmp_path / "nowhere" / "out.txt")
    h5py.File(tmp_path / "empty.h5", "w").close()
    cxi_parser(tmp_path / "empty.h5")
    assert capsys.readouterr().out == ""
