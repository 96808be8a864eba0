"""The one place where arguments are checked: every public function casts its input here, before any work.

Each check returns the value in the form that the kernels take, or raises ValueError or TypeError with one line that names
the argument, the offending value and what to do.
"""

import math
import numbers
import os

import numpy as np


def as_array(values, name):
    """`values` as an array: names of files are none, and masked elements, which would count in what follows, are refused."""
    array = np.asarray(values)
    if array.ndim == 0 and array.dtype.kind in "OSU":
        raise TypeError(f"{name} must be an array, not {values!r}; edfast.load_data and numpy.load read files")
    if np.ma.is_masked(values):
        raise ValueError(f"{name} has masked elements, which would count: give {name}.data with mask={name}.mask, or fill it "
                         "where no such mask is taken")
    return array


def as_image(image, name="image"):
    """`image` as a C-contiguous, native-endian 2-D array of integers, float32 or float64; other dtypes are cast.

    Booleans become uint8 and float16 becomes float32. Lists, read-only, big-endian, strided and memory-mapped arrays work;
    nothing is copied that already has the right form.
    """
    array = as_array(image, name)
    if array.ndim != 2:
        hint = "; choose one frame of the stack, or convert a colour image to grey" if array.ndim == 3 else ""
        raise ValueError(f"{name} must be two-dimensional (rows, columns), not of shape {array.shape}{hint}")
    if array.size == 0:
        raise ValueError(f"{name} has no pixels (shape {array.shape})")
    kind = array.dtype.kind
    if kind == "b":
        array = array.view(np.uint8) if array.flags.c_contiguous else array.astype(np.uint8)
    elif kind == "f" and array.dtype.itemsize not in (4, 8):
        array = array.astype(np.float32 if array.dtype.itemsize == 2 else np.float64)
    elif kind not in "iuf":
        raise TypeError(f"{name} must hold real numbers, not {array.dtype}")
    return np.ascontiguousarray(array, dtype=array.dtype if array.dtype.isnative else array.dtype.newbyteorder("="))


def as_data(data, name="data", dims=(2, 3)):
    """As `as_image`, for arrays with any of `dims` axes."""
    array = as_array(data, name)
    if array.ndim not in dims:
        raise ValueError(f"{name} must have {' or '.join(map(str, dims))} axes, not the shape {array.shape}")
    if array.size == 0:
        raise ValueError(f"{name} has no pixels (shape {array.shape})")
    return as_image(array.reshape(1, -1) if array.ndim != 2 else array, name).reshape(array.shape)


def as_center(center, shape, name="center"):
    """`center`, one finite coordinate for each axis of `shape` and not absurdly far from the data, as a tuple of floats."""
    try:
        values = np.asarray(center, np.float64)
    except (TypeError, ValueError):
        values = np.empty(0)
    if values.shape != (len(shape),) or not np.isfinite(values).all():
        raise ValueError(f"{name} must be {len(shape)} finite numbers, one for each axis, not {center!r}")
    if np.abs(values).max() > 100 * max(shape):
        raise ValueError(f"{name} {tuple(values.tolist())} is far away from data of shape {tuple(shape)}; give it in pixels")
    return tuple(values.tolist())


def as_mask(mask, shape, name="mask"):
    """`mask` (True or non-zero = masked out) as a C-contiguous bool array of `shape`; None, also for numpy's nomask."""
    if mask is None or mask is np.ma.nomask:
        return None
    array = as_array(mask, name)
    if array.shape != tuple(shape):
        raise ValueError(f"{name} has shape {array.shape}, but the image has shape {tuple(shape)}")
    if array.dtype.kind not in "biuf":
        raise TypeError(f"{name} must be boolean or numeric (True = masked out), not {array.dtype}")
    return np.ascontiguousarray(array if array.dtype == bool else array != 0)


def kernel_mask(mask):
    """A bool mask, or None, as kernels take it: uint8, without rows where nothing is masked, which is faster."""
    return np.zeros((0, 0), np.uint8) if mask is None or not mask.any() else mask.view(np.uint8)


def as_number(value, name, *, minimum=-math.inf, maximum=math.inf, above=None, unit=""):
    """`value` as a finite float within [minimum, maximum], and greater than `above` where that is given."""
    if isinstance(value, np.ndarray) and value.ndim == 0:
        value = value[()]
    if not isinstance(value, numbers.Real) or isinstance(value, (bool, np.bool_)):
        raise TypeError(f"{name} must be a number, not {plain(value)!r}")
    number = float(value)
    if not math.isfinite(number) or not minimum <= number <= maximum or (above is not None and number <= above):
        bounds = [f"above {above:g}"] if above is not None else [f"at least {minimum:g}"] if minimum > -math.inf else []
        bounds += [f"at most {maximum:g}"] if maximum < math.inf else []
        of, behind = (f" {unit}", "") if unit.startswith("of ") else ("", f" [{unit.strip('[]')}]" if unit else "")
        raise ValueError(f"{name} must be a finite number{of}{' ' + ' and '.join(bounds) if bounds else ''}{behind}, "
                         f"not {plain(value)!r}")
    return number


def as_count(value, name, *, minimum=0):
    """`value` as an int of at least `minimum`; whole floats are taken."""
    if isinstance(value, numbers.Real) and not isinstance(value, (bool, np.bool_)) and value % 1 == 0 and value >= minimum:
        return math.floor(value)
    raise ValueError(f"{name} must be a whole number of at least {minimum}, not {plain(value)!r}")


def as_jobs(value, name="njobs"):
    """`value`, a number of threads, as an int: 1 and more, or below 0 counted from all cores, which are -1."""
    if not isinstance(value, numbers.Real) or isinstance(value, (bool, np.bool_)) or value % 1 or value == 0:
        raise ValueError(f"{name} must be a number of threads, or -1 for all cores, not {plain(value)!r}")
    return math.floor(value)


def as_flag(value, name):
    """`value` as a bool: words would all be true."""
    if not isinstance(value, (numbers.Integral, np.bool_)) or value not in (0, 1):
        raise TypeError(f"{name} must be True or False, not {value!r}")
    return bool(value)


def as_shape(shape, name="shape"):
    """`shape`, that of an image, as a tuple of two ints."""
    try:
        rows, columns = (as_count(size, name, minimum=1) for size in shape)
    except (TypeError, ValueError):
        raise ValueError(f"{name} must be (rows, columns), two whole numbers above 0, not {shape!r}") from None
    return rows, columns


def as_path(path, name):
    """`path`, the name of a file, as a str."""
    if not isinstance(path, (str, bytes, os.PathLike)):
        raise TypeError(f"{name} must be the name of a file, not {path!r}")
    if not path:
        raise ValueError(f"{name} must be the name of a file, not empty")
    return os.fsdecode(path)


def plain(value):
    """Numbers of numpy as Python's own, whose repr is the number alone."""
    return value.item() if isinstance(value, np.generic) else value


def choose(value, name, choices):
    """`value`, if it is one of `choices`."""
    if value not in choices:
        raise ValueError(f"{name} must be one of {', '.join(map(repr, choices))}, not {value!r}")
    return value
