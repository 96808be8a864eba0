"""Files around single-particle imaging: CCP4/MRC maps, PDB structures and their densities, the contents of CXI files.

Files are written atomically: they are there complete, or not at all.
"""

import contextlib
import sys
import warnings
from pathlib import Path

import numpy as np

from .._dm import FileFormatError
from .._files import check_not_input, check_output, replacing, write_atomically
from .._validation import as_array, as_number, as_path, choose

__all__ = ["cxi_parser", "pdb2density", "readccp4", "readpdb_full", "writeccp4", "xyz2pdb"]

_MODES = ("i1", "i2", "u2", "f2", "f4", "c8")      # what a map can hold; anything else becomes one of these
_LARGEST_B = 999.99                                # of what the columns of a PDB file hold
_LARGEST_SERIAL = 36**4 - 26 * 36**3 + 9999        # residues that its four characters can number, as gemmi does it
_KEV_ANGSTROM = 12.398419843320026                 # h c


def readccp4(file_path, *, axes="file"):
    """Read a CCP4 or MRC map.

    Parameters
    ----------
    file_path : str or path-like
        The file; it may be compressed by gzip or bzip2.
    axes : {"file", "xyz"}, optional
        Order of the array's axes. "file": sections, rows, columns, as mrcfile has them (usually z, y, x). "xyz": x, y, z,
        whichever of them the header calls sections, rows and columns.

    Returns
    -------
    dict
        ``volume``: ndarray of shape (N0, N1, N2) in the file's dtype, native-endian; ``header``: its header, a record array of
        `mrcfile`, with the names of the MRC2014 format (``header.cella.x`` [Angstrom]).

    Raises
    ------
    FileNotFoundError
        There is no such file.
    FileFormatError
        (A ValueError.) It is no map, or damaged; one line with its name.

    References
    ----------
    "image" toolbox, image.io. MRC2014: A. Cheng et al. (2015), https://doi.org/10.1016/j.jsb.2015.04.002

    Examples
    --------
    >>> import tempfile, pathlib, numpy as np
    >>> path = pathlib.Path(tempfile.mkdtemp()) / "map.ccp4"
    >>> writeccp4(np.arange(24.0).reshape(2, 3, 4), path, voxel_size=1.5)
    >>> data = readccp4(path)
    >>> data["volume"].shape, float(data["header"].cella.x)
    ((2, 3, 4), 6.0)
    """
    import mrcfile

    choose(axes, "axes", ("file", "xyz"))
    path = as_path(file_path, "file_path")
    with _readable(path, "CCP4 or MRC map"), mrcfile.open(path, mode="r") as file:
        volume, header = file.data, file.header
    volume = volume.astype(volume.dtype.newbyteorder("="))
    if axes == "xyz":
        order = [int(header[name]) for name in ("maps", "mapr", "mapc")]
        if sorted(order) != [1, 2, 3] or volume.ndim != 3:
            raise FileFormatError(f"{path}: its header does not say which axis is which (mapc, mapr, maps: {order[::-1]})")
        volume = np.ascontiguousarray(volume.transpose([order.index(axis) for axis in (1, 2, 3)]))
    return {"volume": volume, "header": header}


def writeccp4(volume, save_file, *, voxel_size=1.0, axes="file"):
    """Write a volume as a CCP4/MRC map.

    Parameters
    ----------
    volume : array_like of shape (N0, N1, N2)
        int8, int16, uint16, float16, float32 and complex64 are stored as they are; booleans become int8, uint8 becomes int16,
        complex numbers become complex64, all others float32, rounded where that is needed.
    save_file : str or path-like
        Replaced if it exists; its folder must exist.
    voxel_size : float or (float, float, float), optional
        Along x, y and z [Angstrom].
    axes : {"file", "xyz"}, optional
        What the axes of `volume` are. "file": sections, rows, columns of the file, which are z, y, x there. "xyz": x, y, z, as
        in what `pdb2density` returns; stored in the file's order, so that other programs do not show its mirror image.

    Raises
    ------
    ValueError
        Not three axes, no voxels, a voxel size that makes no sense, or values that are too large for float32.
    TypeError
        Something that is not numeric.
    OSError
        The file cannot be written: one line that names it. Nothing is left behind.

    References
    ----------
    "image" toolbox, image.io. MRC2014: A. Cheng et al. (2015), https://doi.org/10.1016/j.jsb.2015.04.002

    Examples
    --------
    >>> import tempfile, pathlib, numpy as np
    >>> path = pathlib.Path(tempfile.mkdtemp()) / "map.ccp4"
    >>> writeccp4(np.eye(3)[None], path)
    >>> readccp4(path)["volume"].dtype.name
    'float32'
    """
    volume = _as_map(volume)
    if choose(axes, "axes", ("file", "xyz")) == "xyz":
        volume = volume.transpose()
    sizes = voxel_size if isinstance(voxel_size, (tuple, list, np.ndarray)) and np.ndim(voxel_size) else [voxel_size] * 3
    if len(sizes) != 3:
        raise ValueError(f"voxel_size must be one number or three (x, y, z), not {voxel_size!r}")
    sizes = tuple(as_number(size, "voxel_size", above=0, unit="of Angstrom") for size in sizes)
    check_output(save_file, "save_file")

    import mrcfile

    with replacing(save_file) as temporary, warnings.catch_warnings():
        warnings.simplefilter("ignore", RuntimeWarning)  # NaN and infinities are data; mrcfile warns of their statistics
        with mrcfile.new(temporary) as file:
            file.set_data(np.ascontiguousarray(volume))
            file.set_volume()
            file.voxel_size = sizes


def readpdb_full(pdb_file):
    """Read all atoms of a PDB file.

    Parameters
    ----------
    pdb_file : str or path-like
        PDB or mmCIF, also compressed by gzip. Of several models the first is read.

    Returns
    -------
    dict
        ``{residue number: [residue name, {atom name: [atomic number, mass, x, y, z, occupancy, b-factor]}]}`` in the file's
        order; mass in dalton, coordinates in Angstrom, b-factor in square Angstrom. An atom of an unknown element has the
        atomic number 0. Residue numbers are integers; with an insertion code they are strings (``"52A"``).

        Nothing is lost where a key is taken. The later residue gets the key ``(chain, residue number)``, and where that is
        taken too, ``(chain, residue number, residue name)``; the later atom gets ``(alternate location, atom name)``, and
        without one ``(serial number, atom name)``.

    Warns
    -----
    UserWarning
        Several residues or atoms have the same key, or the file has several models.

    Raises
    ------
    FileNotFoundError
        There is no such file.
    FileFormatError
        (A ValueError.) It is no structure, or has no atoms; one line with its name.

    References
    ----------
    "image" toolbox, image.io. Format: https://www.wwpdb.org/documentation/file-format, version 3.3

    Examples
    --------
    >>> import tempfile, pathlib
    >>> path = pathlib.Path(tempfile.mkdtemp()) / "two.pdb"
    >>> xyz2pdb([[1, 2, 3], [4, 5, 6.5]], ["C", "Fe"], save_file=path)
    >>> readpdb_full(path)
    {1: ['UNK', {'C': [6, 12.01..., 1.0, 2.0, 3.0, 1.0, 1.0]}], 2: ['UNK', {'FE': [26, 55.845, 4.0, 5.0, 6.5, 1.0, 1.0]}]}
    """
    residues: dict = {}
    doubled_residues = doubled_atoms = 0
    for chain in _first_model(pdb_file):
        for residue in chain:
            number = residue.seqid.num if residue.seqid.icode == " " else f"{residue.seqid.num}{residue.seqid.icode}"
            key = _free(residues, number, (chain.name, number), (chain.name, number, residue.name))
            doubled_residues += key != number
            atoms: dict = {}
            for atom in residue:
                name = _free(atoms, atom.name, (atom.altloc, atom.name) if atom.has_altloc() else (atom.serial, atom.name))
                doubled_atoms += name != atom.name
                # gemmi keeps the last two in float32: without their rounding they are what the file has.
                atoms[name] = [atom.element.atomic_number, atom.element.weight, *atom.pos.tolist(), round(atom.occ, 4),
                               round(atom.b_iso, 4)]
            residues[key] = [residue.name, atoms]
    if doubled_residues:
        warnings.warn(f"{pdb_file}: {doubled_residues} residues have a number that is taken by another one; their keys are "
                      "(chain, number)", stacklevel=2)
    if doubled_atoms:
        warnings.warn(f"{pdb_file}: {doubled_atoms} atoms have a name that is taken in their residue; their keys are "
                      "(alternate location or serial number, name)", stacklevel=2)
    return residues


def pdb2density(pdb_file, resolution, lamda=None, *, voxel_size=None):
    """Electron density of an isolated structure, in a cube that holds it in any orientation.

    Form factors of the neutral atoms, their B-factors and occupancies; everything beyond `resolution` is cut off sharply in
    reciprocal space, so that sharp atoms have ripples (also negative ones) around them. Hydrogens that the file does not have
    are not there. No symmetry is applied.

    Parameters
    ----------
    pdb_file : str or path-like
        PDB or mmCIF. Of several models the first is read. Anisotropic B-factors count as their isotropic equivalents.
    resolution : float
        Smallest spacing d that is in the density [Angstrom].
    lamda : float, optional
        Wavelength of the X-rays [Angstrom]: the real part f' of the anomalous scattering is added to the form factors. It is
        reliable from about 0.4 to 3 Angstrom, and not close to absorption edges. Without it f' is zero.
    voxel_size : float, optional
        At most half of `resolution`, which is the default [Angstrom].

    Returns
    -------
    ndarray of shape (n, n, n), float32
        Density [electron / cubic Angstrom]; axis 0 is x, axis 1 is y, axis 2 is z. n is odd, and the centroid of the electrons
        is in the middle of voxel ``n // 2``. The sum of all voxels times the volume of one is the number of electrons of the
        atoms (of Z + f' with `lamda`).

    Raises
    ------
    FileNotFoundError
        There is no such file.
    FileFormatError
        (A ValueError.) It is no structure, or has no atoms; one line with its name.
    ValueError
        A number that makes no sense, or an atom of unknown element or without known f'.

    Warns
    -----
    UserWarning
        The file has several models.

    Notes
    -----
    The form factors are scaled, by less than 0.2 %, to have Z electrons. Errors of the grid are below 1e-5 of the largest
    density.

    References
    ----------
    "image" toolbox, image.io. Form factors: International Tables for Crystallography C (1992), table 6.1.1.4. f': D. T. Cromer
    and D. A. Liberman (1981), https://doi.org/10.1107/S0567739481000600, both as gemmi has them. Blurring before gridding:
    L. F. Ten Eyck (1977), https://doi.org/10.1107/S0567739477001211

    Examples
    --------
    >>> import tempfile, pathlib
    >>> path = pathlib.Path(tempfile.mkdtemp()) / "iron.pdb"
    >>> xyz2pdb([[0, 0, 0], [0, 0, 4]], ["Fe"], save_file=path)
    >>> density = pdb2density(path, resolution=2.0)
    >>> print(density.shape, f"{density.sum():.2f} electrons")
    (21, 21, 21) 52.00 electrons
    """
    resolution = as_number(resolution, "resolution", above=0, unit="of Angstrom")
    lamda = None if lamda is None else as_number(lamda, "lamda", above=0, unit="of Angstrom")
    voxel_size = resolution / 2 if voxel_size is None else as_number(voxel_size, "voxel_size", above=0, unit="of Angstrom")
    if voxel_size > resolution / 2 * (1 + 1e-12):
        raise ValueError(f"voxel_size must be at most half of resolution={resolution:g}, not {voxel_size:g}")
    model = _first_model(pdb_file)
    atoms = [place.atom for place in model.all()]
    numbers = np.array([atom.element.atomic_number for atom in atoms])
    if not numbers.all():
        unknown = atoms[int(np.argmin(numbers))]
        raise FileFormatError(f"{pdb_file}: atom {unknown.serial}, {unknown.name!r}, is of no known element")
    elements, kinds = np.unique(numbers, return_inverse=True)
    amplitudes, exponents = _form_factors(elements, lamda)
    positions = np.array([atom.pos.tolist() for atom in atoms])
    electrons = numbers * np.array([atom.occ for atom in atoms])
    if not (np.isfinite(positions).all() and electrons.sum() > 0):
        raise FileFormatError(f"{pdb_file}: positions or occupancies of its atoms make no sense")

    from ._density import density_cube

    positions -= electrons @ positions / electrons.sum()
    try:
        return density_cube(positions, kinds, electrons / numbers, np.array([atom.b_iso for atom in atoms]), amplitudes,
                            exponents, resolution, voxel_size)
    except MemoryError as error:
        raise ValueError(f"resolution={resolution:g} with voxel_size={voxel_size:g} needs more memory than there is "
                         f"({error}): give a larger resolution") from None


def xyz2pdb(xyz_array, atom_type, b_factor=None, save_file="./convert.pdb"):
    """Write coordinates as a PDB file, each atom in a residue of its own.

    Parameters
    ----------
    xyz_array : array_like of shape (N, 3)
        x, y, z [Angstrom]; three decimals are stored.
    atom_type : str or sequence of str
        Chemical symbols in any case: one for all atoms, or N.
    b_factor : array_like of shape (N,), optional
        [square Angstrom]; two decimals are stored. 1 by default.
    save_file : str or path-like, optional
        Replaced if it exists; its folder must exist.

    Raises
    ------
    ValueError
        Another shape, something not finite, an unknown symbol, or what does not fit the columns of a PDB file: coordinates
        from -999.999 to 9999.999, B-factors from -99.99 to 999.99, as many atoms as residues can be numbered.
    TypeError
        Coordinates or B-factors that are not numeric.
    OSError
        The file cannot be written: one line that names it. Nothing is left behind.

    References
    ----------
    "image" toolbox, image.io. Format: https://www.wwpdb.org/documentation/file-format, version 3.3. Beyond 9999 residues and
    99999 atoms the numbers are hybrid-36, http://cci.lbl.gov/hybrid_36

    Examples
    --------
    >>> import tempfile, pathlib
    >>> path = pathlib.Path(tempfile.mkdtemp()) / "one.pdb"
    >>> xyz2pdb([[1, 2, 3]], "au", save_file=path)
    >>> print(path.read_text().splitlines()[1])
    ATOM      1 AU   UNK A   1       1.000   2.000   3.000  1.00  1.00          AU
    """
    xyz = _numeric(xyz_array, "xyz_array")
    if xyz.ndim != 2 or xyz.shape[1] != 3:
        raise ValueError(f"xyz_array must have the shape (N, 3), not {xyz.shape}")
    if not 0 < len(xyz) <= _LARGEST_SERIAL:
        raise ValueError(f"xyz_array must have 1 to {_LARGEST_SERIAL} atoms, not {len(xyz)}")
    _within(xyz, "xyz_array", -999.999, 9999.999, 3)
    b_factor = np.ones(len(xyz)) if b_factor is None else _numeric(b_factor, "b_factor")
    if b_factor.shape != (len(xyz),):
        raise ValueError(f"b_factor must have one value for each of the {len(xyz)} atoms, not the shape {b_factor.shape}")
    _within(b_factor, "b_factor", -99.99, _LARGEST_B, 2)
    symbols = _symbols(atom_type, len(xyz))
    check_output(save_file, "save_file")
    write_atomically(save_file, _pdb_text(xyz, symbols, b_factor))


def cxi_parser(cxifile, out="std"):
    """Print what is inside a CXI or HDF5 file: the path of each group, data set and link, one on a line.

    Parameters
    ----------
    cxifile : str or path-like
        The file; only its structure is read.
    out : str or path-like, optional
        "std" prints to the terminal; anything else is the file to write.

    Raises
    ------
    FileNotFoundError
        There is no such file.
    FileFormatError
        (A ValueError.) It is no HDF5 file, or damaged; one line with its name.
    OSError, ValueError
        `out` cannot be written, or is the file itself.

    References
    ----------
    "image" toolbox, image.io. CXI: F. R. N. C. Maia (2012), https://doi.org/10.1038/nmeth.2110

    Examples
    --------
    >>> import tempfile, pathlib, h5py, numpy as np
    >>> path = pathlib.Path(tempfile.mkdtemp()) / "patterns.cxi"
    >>> with h5py.File(path, "w") as file:
    ...     file["entry_1/data_1/data"] = np.zeros((5, 4, 4), np.uint16)
    ...     file["entry_1/image_1"] = h5py.SoftLink("/entry_1/data_1")
    ...     file["cxi_version"] = 150
    >>> cxi_parser(path)
    /cxi_version          int64 = 150
    /entry_1              group
    /entry_1/data_1       group
    /entry_1/data_1/data  (5, 4, 4) uint16
    /entry_1/image_1      -> /entry_1/data_1
    """
    import h5py

    path = as_path(cxifile, "cxifile")
    to_file = out != "std"
    if to_file:
        check_not_input(out, path, name="out")
    with _readable(path, "CXI or HDF5 file"), h5py.File(path, "r") as file:
        lines = _contents(file)
    width = max((len(name) for name, _ in lines), default=0)
    text = "".join(f"{name:{width}}  {what}\n" for name, what in lines)
    if to_file:
        write_atomically(out, text)
    else:
        sys.stdout.write(text)


@contextlib.contextmanager
def _readable(path, kind):
    """Whatever a library raises on a damaged file becomes one line that names it."""
    try:
        if not Path(path).exists():
            raise FileNotFoundError(f"{path}: there is no such file")
        if Path(path).is_dir():
            raise FileFormatError(f"{path}: this is a folder; give the name of a file")
        if Path(path).stat().st_size == 0:
            raise FileFormatError(f"{path}: the file is empty")
        yield
    except (FileNotFoundError, FileFormatError, ImportError):
        raise
    except PermissionError as error:
        raise FileFormatError(f"{path}: cannot be read ({error.strerror or error})") from error
    except Exception as error:
        detail = " ".join(str(error).split()) or type(error).__name__
        raise FileFormatError(f"{path}: not a {kind}, or damaged ({detail})") from error


def _as_map(volume):
    """`volume` in a dtype that a map can hold."""
    array = as_array(volume, "volume")
    if array.ndim != 3 or array.size == 0:
        raise ValueError(f"volume must have three axes and at least one voxel, not the shape {array.shape}")
    if array.dtype.kind not in "biufc":
        raise TypeError(f"volume must be numeric, not {array.dtype}")
    native = array.dtype.newbyteorder("=")
    if native.str[1:] in _MODES:
        return array.astype(native, copy=False)
    other = np.dtype({"b": "i1", "c": "c8"}.get(native.kind, "i2" if native == np.uint8 else "f4"))
    with np.errstate(over="ignore"):
        converted = array.astype(other)
    lost = np.isfinite(array) & ~np.isfinite(converted)
    if lost.any():
        raise ValueError(f"volume has the value {array[lost][0]}, which is too large for {other}")
    return converted


def _first_model(pdb_file):
    """The first model of a structure file, as gemmi has it, with at least one atom."""
    import gemmi

    path = as_path(pdb_file, "pdb_file")
    with _readable(path, "PDB or mmCIF file"):
        structure = gemmi.read_structure(path, merge_chain_parts=False, format=gemmi.CoorFormat.Detect)
    if len(structure) == 0 or structure[0].count_atom_sites() == 0:
        raise FileFormatError(f"{path}: there are no atoms in it; is this a PDB or mmCIF file?")
    if len(structure) > 1:
        warnings.warn(f"{path}: only the first of its {len(structure)} models is read", stacklevel=3)
    return structure[0].clone()  # which outlives the structure


def _free(taken, *keys):
    """The first of `keys` that is not taken; when all are, the last one with a number at its end."""
    for key in keys:
        if key not in taken:
            return key
    number = 2
    while (*keys[-1], number) in taken:
        number += 1
    return (*keys[-1], number)


def _form_factors(elements, lamda):
    """Amplitudes and exponents (K, 5) of the elements' form factors; the constant term has the exponent 0 and takes in f'."""
    import gemmi

    tables = [gemmi.Element(int(number)).it92 for number in elements]
    for number, table in zip(elements, tables, strict=True):
        if table is None or not any(table.a):
            raise ValueError(f"element {gemmi.Element(int(number)).name} has no form factor in the International Tables")
        if lamda is not None and number > 92:
            raise ValueError(f"lamda: f' of {gemmi.Element(int(number)).name} is not known; leave it out")
    amplitudes = np.array([[*table.a, table.c] for table in tables])
    amplitudes *= (elements / amplitudes.sum(axis=1))[:, None]
    if lamda is not None:
        energy = 1e3 * _KEV_ANGSTROM / lamda
        amplitudes[:, 4] += [gemmi.cromer_liberman(z=int(number), energy=energy)[0] for number in elements]
    return amplitudes, np.array([[*table.b, 0.0] for table in tables])


def _numeric(values, name):
    array = np.asarray(values)
    if array.dtype.kind not in "biuf":
        raise TypeError(f"{name} must be numeric, not {array.dtype}")
    return array.astype(np.float64)


def _within(values, name, low, high, decimals):
    wrong = ~((np.round(values, decimals) >= low) & (np.round(values, decimals) <= high))
    if wrong.any():
        raise ValueError(f"{name} must be from {low} to {high}, which is what a PDB file can hold, not {values[wrong][0]:g}")


def _symbols(atom_type, count):
    """One chemical symbol for each atom, in gemmi's spelling."""
    import gemmi

    symbols = [atom_type] if isinstance(atom_type, str) else list(atom_type)
    if len(symbols) not in (1, count):
        raise ValueError(f"atom_type must have one symbol, or one for each of the {count} atoms, not {len(symbols)}")
    known = {symbol: gemmi.Element(symbol.strip()) if isinstance(symbol, str) else None for symbol in set(symbols)}
    for symbol, element in known.items():
        if element is None or element.atomic_number == 0:
            raise ValueError(f"atom_type must be chemical symbols, not {symbol!r}")
    return [known[symbol] for symbol in symbols] * (count // len(symbols))


def _pdb_text(xyz, symbols, b_factor):
    """The lines of the file, by gemmi, which knows the columns and the numbers beyond 99999."""
    import gemmi

    chain = gemmi.Chain("A")
    for number, (place, element, b) in enumerate(zip(xyz.tolist(), symbols, b_factor.tolist(), strict=True), 1):
        atom, residue = gemmi.Atom(), gemmi.Residue()
        atom.name, atom.element, atom.pos, atom.occ, atom.b_iso = element.name.upper(), element, gemmi.Position(*place), 1.0, b
        atom.serial = number
        residue.name, residue.seqid, residue.het_flag = "UNK", gemmi.SeqId(number, " "), "A"
        residue.add_atom(atom)
        chain.add_residue(residue)
    model, structure = gemmi.Model(1), gemmi.Structure()
    model.add_chain(chain)
    structure.add_model(model)
    return structure.make_pdb_string(gemmi.PdbWriteOptions(minimal=True, ter_records=False, preserve_serial=True))


def _contents(group):
    """(path, what) of everything below `group`, by name; links are not followed, so that circles end."""
    import h5py

    lines = []

    def look(name, link):
        name = name.decode(errors="backslashreplace") if isinstance(name, bytes) else name
        if isinstance(link, h5py.SoftLink):
            lines.append((f"/{name}", f"-> {link.path}"))
        elif isinstance(link, h5py.ExternalLink):
            lines.append((f"/{name}", f"-> {link.filename}:{link.path}"))
        else:
            lines.append((f"/{name}", _description(group[name])))

    group.visititems_links(look)
    return sorted(lines, key=lambda line: line[0].split("/"))


def _description(thing):
    import h5py

    if not isinstance(thing, h5py.Dataset):
        return "group" if isinstance(thing, h5py.Group) else "named type"
    if thing.shape is None:
        return f"{thing.dtype}, empty"
    if thing.shape == ():
        return f"{_dtype(thing)} = {_value(thing)}"
    return f"{thing.shape} {_dtype(thing)}" + (f", chunks {thing.chunks}" if thing.chunks else "") + _filters(thing)


def _dtype(dataset):
    import h5py

    return "text" if h5py.check_string_dtype(dataset.dtype) else str(dataset.dtype)


def _value(dataset):
    """A scalar as text, on one line that is not too long."""
    value = dataset.asstr(errors="backslashreplace")[()] if _dtype(dataset) == "text" else dataset[()]
    text = " ".join(str(value).split())
    return text if len(text) <= 60 else f"{text[:57]}..."


def _filters(dataset):
    """Names of the filters in the data set's pipeline."""
    plist = dataset.id.get_create_plist()
    names = [plist.get_filter(i) for i in range(plist.get_nfilters())]
    return "".join(f", {name.decode(errors='replace').split(';')[0] or f'filter {code}'}" for code, _, _, name in names)
