"""One reader for each file format: (path, frame, dataset) -> (image, what the file says about it).

What a file says is a dict with any of the keys of `load_data`'s metadata; pixel_size and binning are (vertical, horizontal).
Besides: `camera_pixel`, the pixel without binning; `models`, names under which the table of cameras may know the camera;
`notes`, what had to be assumed. Readers raise FileFormatError with what is wrong, without the file's name: `load_data` puts
that in front.
"""

import contextlib
import json
import math
import os
import re
from pathlib import Path

import numpy as np

from ._dm import PIXELS, Block, FileFormatError, NoSuchFrameError, read_tags
from ._memory import read_pixels

# How files of each format begin. The extension counts for nothing.
_MAGIC = (
    (b"\0\0\0\x03", "dm"), (b"\0\0\0\x04", "dm"),
    (b"\x89HDF\r\n\x1a\n", "hdf5"),
    (b"II*\0", "tiff"), (b"MM\0*", "tiff"),
    (b"II\x97\x01", "ser"),
    (b"###CBF", "cbf"),
    (b"\xff\xd8\xff", "picture"), (b"\x89PNG", "picture"), (b"GIF8", "picture"), (b"BM", "picture"),
)


def sniff(head):
    """Name of the format of a file that begins with the bytes `head`; "other" if fabio has to tell."""
    for magic, name in _MAGIC:
        if head.startswith(magic):
            return name
    if head[208:212] == b"MAP ":
        return "mrc"
    return "edf" if head.lstrip().startswith(b"{") else "other"


# ---------------------------------------------------------------------------------------------------- frames of a stack


def _checked_shape(shape, kind):
    """(N, H, W) of what has this shape; leading axes are counted through in C order."""
    if len(shape) < 2:
        raise FileFormatError(f"{kind} holds no image, but data of shape {tuple(shape)}")
    if 0 in shape:
        raise FileFormatError(f"{kind} holds an image without pixels (shape {tuple(shape)})")
    return (math.prod(shape[:-2]), *shape[-2:])


def _checked_frame(frame, count):
    if frame is not None and frame >= count:
        raise NoSuchFrameError(f"frame must be from 0 to {count - 1} (there are {count}), not {frame}")
    return frame


def _frames(data, frame, kind):
    """Read one frame, or all, from something that is sliced like an array (HDF5 data set, memory map, array)."""
    count, height, width = _checked_shape(data.shape, kind)
    if _checked_frame(frame, count) is not None:
        return data[np.unravel_index(frame, data.shape[:-2])]
    return np.reshape(data[...], (count, height, width) if count > 1 else (height, width))


# ---------------------------------------------------------------------------------------------------- DigitalMicrograph


def read_dm(path, frame, dataset):
    """DM3 and DM4, by our own bounds-checked reader."""
    with Path(path).open("rb", buffering=0) as file:
        tags, order = read_tags(file)
        entry = _dm_image(tags, dataset)
        image = _dm_pixels(file, entry, order, frame)
    return image, _dm_facts(entry, image.shape[-2:])


def _dm_image(tags, dataset):
    """The entry of ImageList that holds the picture: the first that is no thumbnail, or the one that `dataset` names."""
    entries = tags.get("ImageList")
    if not isinstance(entries, dict) or not entries:
        raise FileFormatError("no image in this DigitalMicrograph file: it has no ImageList")
    numbers = [number for number in entries if number not in _dm_thumbnails(tags)]
    images = [entries[number] for number in numbers if isinstance(_at(entries[number], "ImageData", "Data"), Block)]
    if not images:
        raise FileFormatError("no image in this DigitalMicrograph file: its ImageList has none beside the thumbnail")
    if dataset is None:
        return images[0]
    names = [str(image.get("Name", "")) for image in images]
    if str(dataset) in names:
        return images[names.index(str(dataset))]
    if str(dataset).isdecimal() and int(dataset) < len(images):
        return images[int(dataset)]
    raise FileFormatError(f"dataset must be the name of an image ({', '.join(map(repr, names))}) or its number from 0 on, "
                     f"not {dataset!r}")


def _dm_thumbnails(tags):
    """Numbers of the thumbnails in ImageList: what the file says; otherwise a leading colour picture beside others is one."""
    named = {_at(thumbnail, "ImageIndex") for thumbnail in tags.get("Thumbnails", {}).values()}
    if named:
        return named
    entries = tags["ImageList"]
    return {0} if len(entries) > 1 and _at(entries, 0, "ImageData", "DataType") == 23 else set()


def _dm_pixels(file, entry, order, frame):
    data, code = entry["ImageData"], entry["ImageData"].get("DataType")
    if code in (8, 23):
        raise FileFormatError("the image is a colour picture (RGB), without intensities; save the raw data, or convert it to "
                              "a real image in DigitalMicrograph")
    if code not in PIXELS:
        raise FileFormatError(f"the image has pixels of DigitalMicrograph's type {code}, which edfast does not read; save it "
                              "as real or integer data")
    dtype = np.dtype(PIXELS[code]).newbyteorder(order)
    shape = tuple(int(size) for size in reversed(_at(data, "Dimensions", default={}).values()))
    count, height, width = _checked_shape(shape, "this DigitalMicrograph file")
    needed, block = math.prod(shape) * dtype.itemsize, data["Data"]
    if needed != block.nbytes:
        raise FileFormatError(f"damaged: {block.nbytes} bytes of data for an image of shape {shape} and type {dtype}, "
                              f"which needs {needed}")
    one = _checked_frame(frame, count) is not None
    file.seek(block.offset + (frame * height * width * dtype.itemsize if one else 0))
    return read_pixels(file, dtype, (height, width) if one or count == 1 else (count, height, width))


def _dm_facts(entry, shape):
    tags = entry.get("ImageTags", {})
    level = _at(tags, "Acquisition", "Parameters", "High Level", default={})
    device = _at(tags, "Acquisition", "Device", default={})
    volts = _positive(_at(tags, "Microscope Info", "Voltage"))
    binning, note = _dm_binning(entry, level, shape)
    return {
        "notes": [note] if note else [],
        "voltage_kv": volts / 1000 if volts else None,
        "exposure_time": _positive(_at(level, "Exposure (s)")) or _positive(_at(tags, "DataBar", "Exposure Time (s)")),
        "binning": binning,
        "camera_pixel": _vertical_first(_at(device, "CCD", "Pixel Size (um)")),
        "camera_type": _words(_at(device, "Name")) or _words(_at(tags, "DataBar", "Device Name")),
        "models": (_words(_at(device, "Source Model")),),
        "description": _words(entry.get("Name")),
    }


def _dm_binning(entry, level, shape):
    """(vertical, horizontal) binning, what the camera did times what was done to the image afterwards, and a note on it."""
    transform = _at(entry, "ImageTags", "Acquisition", "Frame", "Area", "Transform", "Transform List", 0, "Binning")
    binning = (_vertical_first(level.get("Binning")) or _vertical_first(transform)
               or _vertical_first(_at(entry, "ImageTags", "DataBar", "Binning")))
    area = level.get("CCD Read Area")
    if binning is None or not isinstance(area, tuple) or len(area) != 4:
        return binning, None
    # An image that was binned on the computer keeps the binning of the acquisition in its tags. It is known by two facts that
    # agree: it is a whole factor smaller than the area that was read, and its uncalibrated scale is larger by this factor.
    read = sorted(((area[2] - area[0]) / binning[0], (area[3] - area[1]) / binning[1]))
    factors = {full / size for full, size in zip(read, sorted(shape), strict=True)}
    dimensions = _at(entry, "ImageData", "Calibrations", "Dimension", default={})
    scales = {_at(dimensions, axis, "Scale") for axis in (0, 1) if not _at(dimensions, axis, "Units")}
    factor = factors.pop()
    if factors or factor <= 1 or factor != int(factor):
        return binning, None
    if scales != {factor * binning[0]} and scales != {factor}:
        return binning, (f"the image is {factor:g} times smaller than the area that was read from the camera, and the file "
                         "does not say why; taken as a part of it, not as binned")
    return tuple(factor * one for one in binning), (
        f"the image was binned {factor:g} times after the acquisition: it is so much smaller than the area that was read from "
        "the camera, and its uncalibrated scale so much larger")


def _at(tree, *keys, default=None):
    for key in keys:
        if not isinstance(tree, dict) or key not in tree:
            return default
        tree = tree[key]
    return tree


def _positive(value):
    """`value` as a positive finite float, or None: 0 and infinity stand for unknown in many files."""
    with contextlib.suppress(TypeError, ValueError):
        number = float(value)
        if 0 < number < math.inf:
            return number
    return None


def _vertical_first(pair):
    """(vertical, horizontal) from a tag that has (horizontal, vertical), or from one number; None if it makes no sense."""
    values = pair if isinstance(pair, tuple) else (pair, pair)
    if len(values) != 2 or not all(map(_positive, values)):
        return None
    return float(values[1]), float(values[0])


def _words(value):
    if isinstance(value, bytes):
        value = value.decode("utf-8", "replace")
    return (value.strip("\0 \t\r\n") or None) if isinstance(value, str) else None


# --------------------------------------------------------------------------------------------------- what fabio reads


def read_fabio(path, frame, dataset):
    """Whatever fabio reads."""
    import fabio

    _no_dataset(dataset, "EDF, TIFF, CBF and the other formats that fabio reads")
    with fabio.open(str(path)) as file:
        count = max(int(file.nframes), 1)
        _checked_frame(frame, count)
        chosen = range(count) if frame is None else (frame,)
        images = [_fabio_pixels(file, number) for number in chosen]
        header = dict(file.header or {})
    shapes = sorted({image.shape for image in images})
    if len(shapes) > 1:
        raise FileFormatError(f"its frames differ in shape ({', '.join(map(str, shapes))}); read them one by one with frame=")
    return np.stack(images) if len(images) > 1 else images[0], _header_facts(header)


def _fabio_pixels(file, number):
    pixels = file.data if number == 0 else file.get_frame(number).data
    if pixels is None:
        raise FileFormatError("truncated, damaged, or of a kind that fabio does not read")
    # Pillow, to which fabio turns for some kinds of TIFF, has made one grey value of the colours.
    colours = (file.header or {}).get("samplesPerPixel", 1)
    if np.ndim(pixels) != 2 or colours != 1:
        raise FileFormatError(f"a colour picture (shape {np.shape(pixels)}, {colours} values per pixel), without intensities; "
                              "convert it to grey")
    return np.asarray(pixels)


def read_edf(path, frame, dataset):
    """EDF, whose size is checked first."""
    import fabio

    # fabio fills up with zeros what is missing.
    size = Path(path).stat().st_size
    with fabio.open(str(path)) as file:
        ends = [one.start + one.blobsize for one in map(file.get_frame, range(file.nframes))
                if None not in (getattr(one, "start", None), getattr(one, "blobsize", None))]
    if ends and max(ends) > size:
        raise FileFormatError(f"truncated: it ends at byte {size}, but its header promises {max(ends)}")
    return read_fabio(path, frame, dataset)


def read_cbf(path, frame, dataset):
    """CBF, whose data are looked for first."""
    # fabio looks for the beginning of the data for ever if it is not there.
    size = Path(path).stat().st_size
    with Path(path).open("rb") as file:
        head = file.read(1 << 20)
    start = head.find(b"\x0c\x1a\x04\xd5")
    promised = re.search(rb"X-Binary-Size:\s*(\d+)", head[:max(start, 0)])
    if start < 0 or (promised and start + 4 + int(promised[1]) > size):
        raise FileFormatError(f"truncated or damaged: it ends at byte {size}, before its data do")
    return read_fabio(path, frame, dataset)


def read_picture(path, frame, dataset):
    """Refuse pictures for the screen."""
    raise FileFormatError("a picture for the screen (JPEG, PNG, GIF or BMP), without the intensities; take the camera's file")


# Quantities in headers: key (without case, blanks, "_") -> what it is. EDF as the ESRF's SAXS package writes it (P. Boesecke,
# J. Appl. Cryst. 40 (2007) s423, doi:10.1107/S0021889807001100) and edfast itself; the mini-CBF of Dectris has them as text.
_HEADER = {
    "wavelength": "wavelength", "psize1": "horizontal", "psize2": "vertical", "pixelsizex": "horizontal",
    "pixelsizey": "vertical", "pixelsize": "both", "exposuretime": "exposure", "counttime": "exposure",
    "voltagekv": "voltage", "title": "title", "description": "title", "detector": "camera", "cameratype": "camera",
    "camera": "camera", "binning": "binning", "bsize1": "binning1", "bsize2": "binning2",
}
_TO_MICROMETRE = {"m": 1e6, "mm": 1e3, "um": 1.0, "µm": 1.0, "μm": 1.0, "micrometre": 1.0, "nm": 1e-3}
_TO_ANGSTROM = {"m": 1e10, "nm": 10.0, "pm": 0.01, "a": 1.0, "å": 1.0, "angstrom": 1.0}
_TO_SECOND = {"s": 1.0, "ms": 1e-3, "us": 1e-6, "ns": 1e-9, "sec": 1.0, "seconds": 1.0}
_QUANTITY = re.compile(r"\s*([-+]?(?:\d+\.?\d*|\.\d+)(?:[eE][-+]?\d+)?)\s*([^\W\d]*)")


def _header_facts(header):
    said: dict[str, str] = {}
    for key, value in [*header.items(), *_comment_lines(header)]:
        kind = _HEADER.get("".join(character for character in str(key).casefold() if character.isalnum()))
        if kind is not None:
            said.setdefault(kind, str(value))
    sizes = [_length(said.get(axis) or said.get("both")) for axis in ("vertical", "horizontal")]
    binning = _vertical_first(_number(said.get("binning")) or (_number(said.get("binning1")), _number(said.get("binning2"))))
    return {
        "wavelength": _quantity(said.get("wavelength"), _TO_ANGSTROM, plain=_plain_wavelength),
        "voltage_kv": _number(said.get("voltage")),
        "pixel_size": tuple(sizes) if all(sizes) else None,
        "exposure_time": _quantity(said.get("exposure"), _TO_SECOND, plain=1.0),
        "binning": binning,
        "camera_type": _words(said.get("camera", "").split(", S/N")[0]),
        "description": _words(said.get("title")),
    }


def _comment_lines(header):
    """The lines "# Key value" that Dectris' detectors put into one entry of a CBF or TIFF header."""
    for value in header.values():
        text = value.decode("latin-1") if isinstance(value, bytes) else value
        if isinstance(text, str) and "# " in text:
            for line in text.splitlines():
                words = line.lstrip("# ").replace(":", " ", 1).split(maxsplit=1)
                if line.startswith("#") and len(words) == 2:
                    yield words


def _quantity(text, units, plain):
    """Value of "number unit" in the target unit; `plain` converts numbers without a unit (a factor, or a function)."""
    match = _QUANTITY.match(text or "")
    if not match:
        return None
    number, unit = float(match[1]), match[2].casefold()
    factor = units.get(unit, None if unit else plain)
    if factor is None:
        return None
    return _positive(factor(number) if callable(factor) else number * factor)


def _length(text):
    return _quantity(text, _TO_MICROMETRE, plain=_plain_length)


def _plain_length(number):
    # Without a unit the ESRF's convention is metre; no pixel is a centimetre wide.
    return number * 1e6 if number < 1e-2 else number


def _plain_wavelength(number):
    # Likewise; no wavelength in question is as long as 10 nanometre.
    return number * 1e10 if number < 1e-8 else number


def _number(text):
    match = _QUANTITY.match(text or "")
    return _positive(match[1]) if match else None


def _no_dataset(dataset, formats):
    if dataset is not None:
        raise FileFormatError(f"dataset chooses within HDF5 and DM files, not within {formats} ({dataset!r} given)")


# ----------------------------------------------------------------------------------------------------------- MRC, SER


def read_mrc(path, frame, dataset):
    """MRC, single frames of stacks by memory map."""
    import mrcfile

    _no_dataset(dataset, "MRC")
    with mrcfile.mmap(path, mode="r") as file:
        if file.data is None or (file.header.mode == 16):
            raise FileFormatError("not a greyscale image")
        return np.array(_frames(file.data, frame, "this MRC file")), _mrc_facts(file)


def _mrc_facts(file):
    """The extended header of Thermo Fisher's cameras says how the image was taken; others say nothing of use here."""
    labels = [_words(bytes(label)) for label in file.header.label[:int(file.header.nlabl)]]
    facts = {"description": " ".join(next(filter(None, labels), "").split()) or None}
    header = getattr(file, "indexed_extended_header", None)
    if bytes(file.header.exttyp) not in (b"FEI1", b"FEI2") or header is None or not header.size:
        return facts
    first = header[0]

    def said(name):
        return first[name] if name in header.dtype.names else None

    volts = _positive(said("HT"))
    facts |= {
        "voltage_kv": volts / 1000 if volts else None,
        "exposure_time": _positive(said("Integration time")),
        "binning": _vertical_first((said("Binning Width"), said("Binning Height"))),
        "camera_type": _words(bytes(said("Camera name") or b"")),
    }
    return facts


def read_ser(path, frame, dataset):
    """SER, by ncempy."""
    from ncempy.io import ser

    _no_dataset(dataset, "SER")
    with ser.fileSER(str(path)) as file:
        count = int(file.head["ValidNumberElements"])
        chosen = range(count) if _checked_frame(frame, count) is None else (frame,)
        images = [file.getDataset(number)[0] for number in chosen]
    if not images:
        raise FileFormatError("no image in this SER file")
    _checked_shape(images[0].shape, "this SER file")
    return np.stack(images) if len(images) > 1 else images[0], {}


# --------------------------------------------------------------------------------------------------------------- HDF5


def read_hdf5(path, frame, dataset):
    """HDF5 of any kind: NeXus, CXI, EMD, or a data set by its name."""
    import h5py

    with h5py.File(path, "r") as file:
        name, note = _hdf5_name(file, dataset)
        data = file[name]
        _load_filters(data)
        if _is_velox(name):
            return _velox_frames(data, frame), _velox_facts(data.parent)
        return _frames(data, frame, f"data set {name}"), _nexus_facts(file, name) | {"notes": [note] if note else []}


@contextlib.contextmanager
def open_dataset(path, name=None):
    """The data set `name` of an HDF5, NeXus or CXI file, as an h5py data set, or that of a .npy file, as a memory map.

    Without a name it is the one that the file marks, otherwise the largest.
    """
    path = os.fsdecode(path)
    if not Path(path).exists():
        raise FileNotFoundError(f"{path}: there is no such file")
    if Path(path).is_file() and Path(path).stat().st_size == 0:
        raise FileFormatError(f"{path}: the file is empty")
    numpys = Path(path).suffix.lower() == ".npy"
    with contextlib.ExitStack() as opened:
        try:
            if numpys:
                data = np.load(path, mmap_mode="r")
            else:
                import h5py

                file = opened.enter_context(h5py.File(path, "r"))
                data = file[_hdf5_name(file, name)[0]]
                _load_filters(data)
        except FileFormatError as error:
            raise FileFormatError(f"{path}: {error}") from error.__cause__
        except (OSError, RuntimeError, KeyError, ValueError, EOFError) as error:
            kind = "a .npy" if numpys else "an HDF5"
            raise FileFormatError(f"{path}: not {kind} file, or damaged ({' '.join(str(error).split())})") from error
        yield data


def _hdf5_name(file, dataset):
    """Path of the data set to read, and a note if it had to be guessed."""
    import h5py

    if dataset is not None:
        found = file.get(str(dataset))
        if isinstance(found, h5py.Group):
            found = _signal(found)
        if not isinstance(found, h5py.Dataset):
            raise FileFormatError(f"no data set {str(dataset)!r} in it; it has {', '.join(_images(file)) or 'no images'}")
        return found.name, None
    found = _default_signal(file) or _first_known(file)
    if found is not None:
        return found.name, None
    images = _images(file)
    if not images:
        raise FileFormatError("no image in this HDF5 file: no numeric data set of two or more dimensions")
    largest = max(images, key=lambda name: file[name].size)
    return largest, (f"taking the largest data set, {largest}, out of {', '.join(images)}; name another one with dataset="
                     if len(images) > 1 else None)


def _attribute(thing, name):
    value = thing.attrs.get(name)
    if isinstance(value, np.ndarray):
        value = value.flat[0] if value.size else None
    return _words(value) if isinstance(value, (str, bytes)) else value


def _signal(group):
    """Data set of an NXdata group: the one that its attribute `signal` names, or (before 2014) that carries signal = 1."""
    name = _attribute(group, "signal")
    if isinstance(name, str) and name in group:
        return group[name]
    if _attribute(group, "emd_group_type") == 1 and "data" in group:
        return group["data"]
    return next((item for item in group.values() if str(_attribute(item, "signal")) == "1"), None)


def _default_signal(file):
    """The plottable data of a NeXus file: follow the attribute `default` from the root down to NXdata and its signal.

    https://manual.nexusformat.org/datarules.html#find-the-plottable-data
    """
    group = file
    while isinstance(name := _attribute(group, "default"), str) and hasattr(group.get(name), "attrs"):
        group = group[name]
        if not hasattr(group, "keys"):
            return group
        if (found := _signal(group)) is not None and _is_image(found):
            return found
    return None


def _first_known(file):
    """CXI's first data set (https://www.cxidb.org/cxi.html), otherwise the first NXdata, EMD or Velox group with an image."""
    for name in ("entry_1/data_1/data", "entry_1/image_1/data", "entry/data/data"):
        if name in file and _is_image(file[name]):
            return file[name]
    found = []

    def visit(name, item):
        known = _signal(item) if hasattr(item, "keys") else item if _is_velox(name) else None
        if known is not None and _is_image(known):
            found.append(known)
            return True
        return None

    file.visititems(visit)
    return found[0] if found else None


def _is_image(item):
    return hasattr(item, "shape") and hasattr(item, "dtype") and item.dtype.kind in "biufc" and len(item.shape or ()) >= 2


def _images(file):
    names = []
    file.visititems(lambda name, item: names.append("/" + name) if _is_image(item) else None)
    return names


def _load_filters(data):
    """Import hdf5plugin, where it is installed, for data compressed by a filter that the HDF5 library does not bring along."""
    import h5py

    plist = data.id.get_create_plist()
    codes = [plist.get_filter(number)[0] for number in range(plist.get_nfilters())]
    if all(map(h5py.h5z.filter_avail, codes)):
        return
    with contextlib.suppress(ImportError):
        import hdf5plugin  # noqa: F401
    missing = [code for code in codes if not h5py.h5z.filter_avail(code)]
    if missing:
        raise FileFormatError(f"its data are compressed by HDF5 filter {missing[0]}, which is missing; pip install hdf5plugin")


def _nexus_facts(file, name):
    """What the entry of the data set says, in NeXus' or CXI's places (SI units in CXI, an attribute `units` in NeXus)."""
    entry = file[name.strip("/").split("/")[0]] if name.count("/") > 1 else file
    instruments = ("instrument", "instrument_1")
    sizes = [_hdf5_quantity(entry, instruments, ("detector", "detector_1"), f"{axis}_pixel_size", _TO_MICROMETRE, 1e6)
             for axis in "yx"]
    return {
        "wavelength": _hdf5_quantity(entry, instruments, ("beam", "monochromator"),
                                     ("incident_wavelength", "wavelength"), _TO_ANGSTROM, 1.0),
        "pixel_size": tuple(sizes) if all(sizes) else None,
        "exposure_time": _hdf5_quantity(entry, instruments, ("detector", "detector_1"),
                                        ("count_time", "exposure_time"), _TO_SECOND, 1.0),
        "camera_type": _hdf5_text(entry, instruments, ("detector", "detector_1"), ("description", "type")),
        "description": _hdf5_text(entry, ("",), ("",), ("title", "name")),
    }


def _find(entry, *levels):
    import h5py

    for group in levels[0]:
        for part in levels[1]:
            for name in (levels[2],) if isinstance(levels[2], str) else levels[2]:
                found = entry.get("/".join(filter(None, (group, part, name))))
                if isinstance(found, h5py.Dataset) and found.size:
                    return found
    return None


def _hdf5_quantity(entry, groups, parts, names, units, plain):
    found = _find(entry, groups, parts, names)
    if found is None or found.dtype.kind not in "iuf":
        return None
    unit = _attribute(found, "units")
    factor = units.get(str(unit).casefold()) if unit else plain
    return _positive(np.ravel(found[...])[0] * factor) if factor else None


def _hdf5_text(entry, *levels):
    found = _find(entry, *levels)
    return _words(np.ravel(found[()])[0]) if found is not None and found.dtype.kind in "OS" else None


def _is_velox(name):
    """Whether this is an image of Thermo Fisher's Velox, which keeps its frames along the last axis."""
    return re.fullmatch(r"/?Data/Image/[^/]+/Data", name) is not None


def _velox_frames(data, frame):
    if data.ndim != 3:
        raise FileFormatError(f"data set {data.name} should have shape (H, W, N), not {data.shape}")
    count = data.shape[2]
    if _checked_frame(frame, count) is not None or count == 1:
        return data[:, :, frame or 0]
    return np.moveaxis(data[...], -1, 0)


def _velox_facts(group):
    """The JSON text that stands, padded with zeros, in the first column of the metadata; all its values are strings."""
    raw = bytes(group["Metadata"][:, 0]).rstrip(b"\0") if "Metadata" in group else b"{}"
    said = json.loads(raw)
    name = _at(said, "BinaryResult", "Detector")
    camera: dict = next((one for one in _at(said, "Detectors", default={}).values() if _at(one, "DetectorName") == name), {})
    volts = _positive(_at(said, "Optics", "AccelerationVoltage"))
    binning = _at(camera, "Binning")
    return {
        "voltage_kv": volts / 1000 if volts else None,
        "exposure_time": _positive(_at(camera, "ExposureTime")),
        "binning": _vertical_first((_at(binning, "width"), _at(binning, "height"))),
        "camera_type": _words(name),
    }


READERS = {"dm": ("DigitalMicrograph", read_dm), "hdf5": ("HDF5", read_hdf5), "tiff": ("TIFF", read_fabio),
           "cbf": ("CBF", read_cbf), "edf": ("EDF", read_edf), "picture": ("picture", read_picture), "mrc": ("MRC", read_mrc),
           "ser": ("SER", read_ser),
           "other": ("", read_fabio)}
