"""From a CIF to the reflections of a powder: structure and intensities by pymatgen; what it reads wrongly is caught here."""

import itertools
import logging
import math
import warnings
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

log = logging.getLogger("edfast")

_LARGEST_FILE = 64 * 2**20
_MOST_POINTS = 2_000_000
_OPERATIONS = ("_space_group_symop_operation_xyz", "_symmetry_equiv_pos_as_xyz")
_NAMES = ("_space_group_name_H-M_alt", "_symmetry_space_group_name_H-M", "_symmetry_space_group_name_H-M_alt")
_NUMBERS = ("_space_group_IT_number", "_symmetry_Int_Tables_number")


class Crystal(NamedTuple):
    """A structure (pymatgen's), and the isotropic temperature factor B of each element [square Angstrom]."""

    path: str
    structure: object
    debye_waller: dict


def read_crystal(path):
    """The `Crystal` of a CIF, the first one if it holds several; ValueError, in one line, that says what is wrong with it."""
    text = _read_text(path)
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        try:
            block = _structure_block(text)
            structure = _parse(block)
            factors = _debye_waller(block.data, structure)
        except Exception as error:
            # pymatgen raises anything from KeyError to ZeroDivisionError, and says in its warnings why.
            said = [str(warning.message) for warning in caught if "No structure parsed" in str(warning.message)]
            detail = " ".join((said[0].split("\n", 1)[-1] if said else str(error)).split())
            if not isinstance(error, ValueError):
                detail = f"it is damaged or cut off ({detail or type(error).__name__})"
            raise ValueError(f"{path} cannot be read as a CIF: {detail}") from error
    return Crystal(str(path), structure, factors)


def reflections(crystal, wavelength, two_theta_range):
    """All reflections of a `Crystal` in a range of 2-theta [degree], in its order: dicts as the calibration document has them.

    Intensities are relative to the strongest one in the range. ValueError where the range holds no reflection, or too many.
    """
    from pymatgen.analysis.diffraction.xrd import XRDCalculator

    structure = crystal.structure
    lowest, highest = (2 * math.sin(math.radians(angle) / 2) / wavelength for angle in two_theta_range)
    where = (f"between 2-theta = {two_theta_range[0]:g} and {two_theta_range[1]:g} degrees (d = {_d_text(highest)} to "
             f"{_d_text(lowest)} Angstrom at the wavelength {wavelength:g} Angstrom)")
    _check_number(crystal, lowest, highest, where)
    calculator = XRDCalculator(wavelength, symprec=0, debye_waller_factors=crystal.debye_waller)
    try:
        pattern = calculator.get_pattern(structure, scaled=False, two_theta_range=tuple(two_theta_range))
    except ValueError as error:
        raise ValueError(f"{crystal.path}: {error}") from error
    # Forbidden reflections are what rounding leaves of zero; they must not become the strongest of a range without others.
    kept = [k for k in range(len(pattern.x)) if _is_allowed(pattern, k, structure)]
    if not kept:
        raise ValueError(f"{crystal.path}: all reflections {where} are forbidden")
    strongest = max(pattern.y[k] for k in kept)
    return [{"hkl": _miller(pattern.hkls[k], structure), "d": float(pattern.d_hkls[k]), "two_theta": float(pattern.x[k]),
             "intensity": float(pattern.y[k] / strongest)} for k in kept]


# ----------------------------------------------------------------------------------------------------------------- the file


def _read_text(path):
    path = Path(path)
    if not path.exists():
        raise FileNotFoundError(f"there is no CIF file {path}")
    if path.is_dir():
        raise IsADirectoryError(f"{path} is a folder, not a CIF file")
    if path.stat().st_size > _LARGEST_FILE:
        raise ValueError(f"{path} is not a CIF file (it is too large); are structure and image in the right order?")
    data = path.read_bytes()
    if b"\0" in data:
        raise ValueError(f"{path} is not a CIF file (it is not text); are structure and image in the right order?")
    if not data.strip():
        raise ValueError(f"{path} is empty, not a CIF file")
    return data.decode("utf-8-sig", errors="replace")


def _structure_block(text):
    """The first block with atoms; pymatgen's reader keeps quiet about what it cannot use, so this asks for it."""
    from pymatgen.io.cif import CifFile

    blocks = list(CifFile.from_str(text).data.values())
    if not blocks:
        raise ValueError("it has no data block (a line 'data_name')")
    found = [block for block in blocks if "_atom_site_fract_x" in block.data]
    if not found:
        raise ValueError("it lists no atoms (a loop with _atom_site_fract_x)")
    if len(found) > 1:
        log.warning("the CIF holds %d structures; the first, %r, is taken", len(found), found[0].header)
    for name in ("length_a", "length_b", "length_c", "angle_alpha", "angle_beta", "angle_gamma"):
        value, limit = found[0].data.get(f"_cell_{name}"), math.inf if name.startswith("length") else 180
        if value is None or not 0 < _number(value) < limit:
            raise ValueError(f"_cell_{name} must be a number above 0{'' if limit == math.inf else ' and below 180'}, "
                             f"not {value!r}")
    return found[0]


def _parse(block):
    """The structure of a block, with the symmetry that it names."""
    from pymatgen.io.cif import CifParser

    text = str(block)
    if not any(block.data.get(key) or block.data.get(f"{key}_") for key in _OPERATIONS):
        # pymatgen would ignore the choice of origin, and take a space group that it does not know for P 1.
        text += "\nloop_\n_space_group_symop_operation_xyz\n" + "".join(f"'{op}'\n" for op in _operations(block.data))
    structure = CifParser.from_str(text).parse_structures(primitive=False)[0]
    if not 1e-3 < structure.volume < 1e9:
        raise ValueError(f"a cell of {structure.volume:g} cubic Angstrom makes no crystal")
    return structure


def _operations(fields):
    """Symmetry operations ('x,y,z' ...) of the space group that the fields name."""
    import spglib
    from pymatgen.core import SymmOp

    name = next((str(fields[key]) for key in _NAMES if str(fields.get(key, "?")) not in "?."), None)
    number = next((int(_number(fields[key])) for key in _NUMBERS if str(fields.get(key, "?")) not in "?."), None)
    if name is None and number is None:
        log.warning("the CIF names no space group and no symmetry operations: it is taken as P 1")
        return ["x,y,z"]
    symbol, _, choice = (name or "").partition(":")
    for hall in range(1, 531):
        kind: Any = spglib.get_spacegroup_type(hall)
        symbols = {_plain(s) for s in (*kind.international.split("="), kind.international_full, kind.international_short)}
        if (_plain(symbol) in symbols or (name is None and kind.number == number)) and (
                not choice.strip() or kind.choice.lower() == choice.strip().lower()):
            data: Any = spglib.get_symmetry_from_database(hall)
            return [SymmOp.from_rotation_and_translation(r, t).as_xyz_str()
                    for r, t in zip(data["rotations"], data["translations"], strict=True)]
    raise ValueError(f"the space group {name or number} is unknown; add its symmetry operations "
                     "(_space_group_symop_operation_xyz)")


def _plain(symbol):
    return "".join(symbol.split()).replace("_", "").lower()


def _number(text):
    """Number of a CIF, without its standard deviation in brackets."""
    return float(str(text).partition("(")[0])


def _debye_waller(fields, structure):
    """Mean B of each element, where the CIF has temperature factors for all of its atoms."""
    labels, symbols = fields["_atom_site_label"], fields.get("_atom_site_type_symbol")
    isotropic = (_column(fields, "_atom_site_B_iso_or_equiv", 1.0)
                 or _column(fields, "_atom_site_U_iso_or_equiv", 8 * math.pi**2))
    anisotropic = _anisotropic(fields, structure.lattice)
    factors: dict = {}
    for k, label in enumerate(labels):
        value = isotropic[k] if isotropic and isotropic[k] is not None else anisotropic.get(label)
        factors.setdefault(_element(symbols[k] if symbols else label), []).append(value)
    known = {symbol: float(np.mean(values)) for symbol, values in factors.items() if None not in values}
    return {symbol: value for symbol, value in known.items() if value > 0}


def _column(fields, key, scale):
    values = fields.get(key)
    return [None if value in ("?", ".") else scale * _number(value) for value in values] if isinstance(values, list) else None


def _anisotropic(fields, lattice):
    """B of each label, equivalent to its tensor U (or B): a third of the sum of U_ij a*_i a*_j a_i . a_j."""
    metric = lattice.matrix @ lattice.matrix.T
    reciprocal = np.array(lattice.reciprocal_lattice_crystallographic.abc)
    weights = metric * np.outer(reciprocal, reciprocal) / 3
    result = {}
    for kind, scale in (("B", 1.0), ("U", 8 * math.pi**2)):
        columns = {ij: _column(fields, f"_atom_site_aniso_{kind}_{ij}", scale) for ij in ("11", "22", "33", "12", "13", "23")}
        if all(columns.values()):
            for k, label in enumerate(fields["_atom_site_aniso_label"]):
                tensor = [[columns["".join(sorted((i, j)))][k] for j in "123"] for i in "123"]
                if not any(value is None for row in tensor for value in row):
                    result[label] = float(np.sum(weights * tensor))
    return result


def _element(symbol):
    """'Tl' of 'Tl1+' or 'TL1'."""
    letters = "".join(itertools.takewhile(str.isalpha, symbol.strip()))
    from pymatgen.core import Element

    return next((part for part in (letters[:2].capitalize(), letters[:1].upper()) if Element.is_valid_symbol(part)), letters)


# ---------------------------------------------------------------------------------------------------------- the reflections


def _d_text(inverse):
    return f"{1 / inverse:.4g}" if inverse else "infinity"


def _check_number(crystal, lowest, highest, where):
    """Before pymatgen lists the points of the reciprocal lattice: there must be some, and they must fit into memory."""
    number = 4 / 3 * math.pi * highest**3 * crystal.structure.volume
    if number > _MOST_POINTS:
        raise ValueError(f"{crystal.path}: there are {number:.1g} reflections {where}; take a smaller range")
    lattice = crystal.structure.lattice.reciprocal_lattice_crystallographic
    lengths = lattice.get_points_in_sphere([[0, 0, 0]], [0, 0, 0], highest, zip_results=False)[1]
    if not ((lengths > 0) & (lengths >= lowest)).any():
        raise ValueError(f"{crystal.path}: there is no reflection {where}")


def _is_allowed(pattern, k, structure):
    """Whether a reflection is more than the rounding error of a forbidden one."""
    theta = math.radians(pattern.x[k] / 2)
    lorentz = (1 + math.cos(2 * theta) ** 2) / (math.sin(theta) ** 2 * math.cos(theta))
    forward = sum(occupancy * species.Z for site in structure for species, occupancy in site.species.items())
    return pattern.y[k] > 1e-12 * lorentz * forward**2


def _miller(families, structure):
    """(h, k, l) for a ring: of the family with most members, one that is not extinct, with few minus signs.

    pymatgen names families by permutation, and may name a member that the centring forbids: (1 0 2) of bismuth, for (0 1 2).
    """
    symbol = max(families, key=lambda family: family["multiplicity"])["hkl"]
    first = symbol[:3]
    signed = {tuple(sign * index for sign, index in zip(signs, order, strict=True))
              for order in itertools.permutations(first) for signs in itertools.product((1, -1), repeat=3)}
    if len(symbol) == 4:
        signed = {(h, k, sign * symbol[3]) for h, k, i in signed if h + k + i == 0 for sign in (1, -1)}
        first = (symbol[0], symbol[1], symbol[3])
    candidates = np.array(sorted(signed))
    reciprocal = structure.lattice.reciprocal_lattice_crystallographic.matrix
    lengths = np.linalg.norm(candidates @ reciprocal, axis=1)
    weights = [sum(occupancy * species.Z for species, occupancy in site.species.items()) for site in structure]
    factors = np.abs(np.exp(2j * math.pi * candidates @ structure.frac_coords.T) @ weights) ** 2
    usable = np.isclose(lengths, np.linalg.norm(first @ reciprocal), rtol=1e-6) & (factors > 1e-6 * factors.max())
    return min((tuple(map(int, hkl)) for hkl in candidates[usable]),
               key=lambda hkl: (sum(index < 0 for index in hkl), tuple(-index for index in hkl)))


def zones(crystal, peaks):
    """For each low direction [uvw]: (uvw, which peaks a film shows whose grains all have that direction along the beam)."""
    from pymatgen.symmetry.analyzer import SpacegroupAnalyzer

    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)  # between pymatgen and spglib
        operations = SpacegroupAnalyzer(crystal.structure).get_symmetry_operations()
    rotations = np.unique([operation.rotation_matrix.round().astype(int) for operation in operations], axis=0)
    # A rotation of the fractional coordinates carries (h k l), as a row, to an equivalent reflection.
    symbols = np.array([peak["hkl"] for peak in peaks]) @ rotations
    found: list = []
    for axis in itertools.product((1, 0, -1), repeat=3):
        if axis > (0, 0, 0):
            shown = (symbols @ axis == 0).any(axis=0)
            if shown.any() and not any((shown == other).all() for _, other in found):
                found.append((axis, shown))
    return found
