"""The one place where arguments are checked: every public function casts its input here, before any work.

Each check returns the value in the form that the kernels take, or raises ValueError or TypeError with one line that names
the argument, the offending value and what to do.
"""

import math
import numbers

import numpy as np


def as_image(image, name="image"):
    """`image` as a C-contiguous, native-endian 2-D array of integers, float32 or float64; other dtypes are cast.

    Booleans become uint8 and float16 becomes float32. Lists, read-only, big-endian, strided and memory-mapped arrays work;
    nothing is copied that already has the right form.
    """
    array = np.asarray(image)
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
    array = np.asarray(data)
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
    """`mask` (True or non-zero = masked out) as a C-contiguous bool array of `shape`; None stays None."""
    if mask is None:
        return None
    array = np.asarray(mask)
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
        raise TypeError(f"{name} must be a number, not {value!r}")
    number = float(value)
    if not math.isfinite(number) or not minimum <= number <= maximum or (above is not None and number <= above):
        bounds = [f"above {above:g}"] if above is not None else [f"at least {minimum:g}"] if minimum > -math.inf else []
        bounds += [f"at most {maximum:g}"] if maximum < math.inf else []
        raise ValueError(f"{name} must be a finite number{' ' + unit if unit else ''}"
                         f"{' ' + ' and '.join(bounds) if bounds else ''}, not {value!r}")
    return number


def as_count(value, name, *, minimum=0):
    """`value` as an int of at least `minimum`; whole floats are taken."""
    if isinstance(value, numbers.Real) and not isinstance(value, (bool, np.bool_)) and value % 1 == 0 and value >= minimum:
        return math.floor(value)
    raise ValueError(f"{name} must be a whole number of at least {minimum}, not {value!r}")


def choose(value, name, choices):
    """`value`, if it is one of `choices`."""
    if value not in choices:
        raise ValueError(f"{name} must be one of {', '.join(map(repr, choices))}, not {value!r}")
    return value
