"""Stacks of patterns in files, and results in HDF5 files that silx and nexpy plot."""

import contextlib
import os
from pathlib import Path

from .._dm import FileFormatError
from .._files import check_not_input
from .._formats import open_dataset

ENDINGS = (".h5", ".hdf5", ".nxs", ".cxi")


@contextlib.contextmanager
def stack_in(path, dataset=None):
    """The stack (N, H, W) of patterns in an HDF5, NeXus or CXI file, as an h5py data set, or in a .npy file, as a memory map.

    Without `dataset`, its path, the one that the file marks is taken, otherwise the largest.
    """
    with open_dataset(path, dataset) as data:
        yield _three_axes(data, os.fsdecode(path) + (f", {data.name}" if hasattr(data, "name") else ""))


def _three_axes(data, name):
    if len(data.shape) != 3 or 0 in data.shape or data.dtype.kind not in "biuf":
        raise FileFormatError(f"{name}: a stack of patterns has the shape (patterns, rows, columns) and real numbers, not "
                              f"{tuple(data.shape)} and {data.dtype}")
    return data


def image_in(patterns, name, what, path):
    """An image that is a data set in the file of the patterns; errors call it `what`."""
    import h5py

    found = patterns.file.get(name) if hasattr(patterns, "file") else None
    if not isinstance(found, h5py.Dataset):
        raise FileFormatError(f"{what} {name}: there is no such file, and no such data set in {path}")
    return found[()]


def write_nxdata(group, name, signal, columns, *, axes=(), title=None, auxiliary=()):
    """An NXdata group `name` with the arrays `columns`; `signal` is plotted over `axes`, all names of columns.

    https://manual.nexusformat.org/classes/base_classes/NXdata.html
    """
    data = group.create_group(name)
    data.attrs["NX_class"], data.attrs["signal"] = "NXdata", signal
    if axes:
        data.attrs["axes"] = list(axes)
        for axis in axes if len(axes) > 1 else ():
            data.attrs[f"{axis}_indices"] = 0  # several axes of one dimension: a scatter plot
    if auxiliary:
        data.attrs["auxiliary_signals"] = list(auxiliary)
    if title:
        data["title"] = title
    for column, values in columns.items():
        data[column] = values
    return data


def picture_beside(output, *inputs):
    """Path of the picture (.png) beside the HDF5 file `output`; both can be written, and neither is one of the inputs."""
    if Path(output).suffix.lower() not in ENDINGS:
        raise ValueError(f"output {output} is an HDF5 file: its name must end in one of {', '.join(ENDINGS)}")
    for target in (output, picture := Path(output).with_suffix(".png")):
        check_not_input(target, *inputs)
    return picture
