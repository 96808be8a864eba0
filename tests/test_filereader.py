"""load_data against RosettaSciIO, ncempy, fabio, mrcfile and h5py, and against every kind of damage."""

import json
import logging
import os
import struct
import threading
import tracemalloc
from pathlib import Path

import fabio
import h5py
import mrcfile
import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from edfast import _cameras, _dm, _memory
from edfast.filereader import FileFormatError, load_data
from edfast.geometry import electron_wavelength
from edfast.simulate import write_dm4

DM_FILES = ["bismuth.dm4", *(f"dm-2d-{code}.dm{version}" for code in (1, 3, 10, 12, 23) for version in (3, 4)), "dm-3d-1.dm4"]
RAMP = np.arange(12 * 17, dtype=np.uint16).reshape(12, 17)


@pytest.fixture(autouse=True)
def no_user_table(monkeypatch, tmp_path_factory):
    """The table of cameras of whoever runs the tests has no say."""
    path = tmp_path_factory.mktemp("config") / "cameras.toml"
    monkeypatch.setattr(_cameras, "user_table_path", lambda: path)
    return path


def read(path, **options):
    return load_data(path, verbose=False, **options)


def says(metadata):
    return {key: value for key, value in metadata.items() if value is not None and key not in
            ("path", "image_width", "image_height")}


# ------------------------------------------------------------------------------------------- DM: a writer of our own
# An independent twin of _dm.encode that also writes DM3 and big-endian files: values are (type code, bytes as described).


def naive_dm(tree, version=4, order="<"):
    word = ">Q" if version == 4 else ">I"

    def value(kind, payload):
        if kind == "text":
            words, data = [20, 4, len(payload)], payload.encode("utf-16-le" if order == "<" else "utf-16-be")
        elif kind == "struct":
            words = [15, 0, len(payload)] + [part for _ in payload for part in (0, 7)]
            data = struct.pack(order + "d" * len(payload), *payload)
        elif kind == "array":
            words, data = [20, payload[0], payload[1].size], payload[1].astype(payload[1].dtype.newbyteorder(order)).tobytes()
        else:
            words, data = [kind], struct.pack(order + _dm.CODES[kind], payload)
        return b"%%%%" + struct.pack(word, len(words)) + b"".join(struct.pack(word, one) for one in words) + data

    def group(entries):
        items = entries.items() if isinstance(entries, dict) else [("", one) for one in entries]
        out = struct.pack(">BB", 1, 0) + struct.pack(word, len(entries))
        for name, entry in items:
            nested = isinstance(entry, (dict, list))
            body = group(entry) if nested else value(*entry)
            out += struct.pack(">BH", 20 if nested else 21, len(name.encode("latin-1"))) + name.encode("latin-1")
            out += (struct.pack(">Q", len(body)) if version == 4 else b"") + body
        return out

    root = group(tree)
    return struct.pack(">I", version) + struct.pack(word, len(root)) + struct.pack(">I", order == "<") + root + bytes(8)


def dm_image(pixels, code, kind, **tags):
    """An entry of ImageList."""
    return {"ImageData": {"Data": ("array", (kind, pixels)), "DataType": (5, code),
                          "Dimensions": [(5, size) for size in reversed(pixels.shape)]}, "ImageTags": tags}


def dm_tags(volts, pixel, binning, name, exposure):
    return {"Microscope Info": {"Voltage": (7, volts), "Emission Current (\xb5A)": (7, 1.0)},
            "Acquisition": {"Device": {"CCD": {"Pixel Size (um)": ("struct", pixel)}, "Name": ("text", name)},
                            "Parameters": {"High Level": {"Binning": ("struct", binning), "Exposure (s)": (7, exposure)}}}}


@pytest.fixture
def small_dm4(tmp_path):
    path = tmp_path / "small.dm4"
    write_dm4(path, RAMP, voltage_kv=200, pixel_size=30.0, binning=2, exposure_time=0.5, camera="OneView", description="ramp")
    return path


# ---------------------------------------------------------------------------------------------------- DigitalMicrograph


@pytest.mark.parametrize("name", DM_FILES)
def test_dm_equals_rosettasciio(shared_data, name):
    rsciio = pytest.importorskip("rsciio.digitalmicrograph")
    path = shared_data(name)
    expected = rsciio.file_reader(str(path))[0]["data"]
    if expected.dtype.names:
        with pytest.raises(FileFormatError, match=f"{name}: the image is a colour picture"):
            read(path)
        return
    metadata, image = read(path)
    assert image.dtype == expected.dtype
    assert image.flags.c_contiguous
    assert image.flags.writeable
    assert np.array_equal(image, expected)
    assert (metadata["image_height"], metadata["image_width"]) == expected.shape[-2:]


@pytest.mark.parametrize("name", DM_FILES)
def test_all_tags_equal_ncempy(shared_data, name):
    from ncempy.io import dm

    path = shared_data(name)
    with dm.fileDM(str(path)) as file:
        expected = dict(file.allTags)
    with path.open("rb") as file:
        found = dict(flat(_dm.read_tags(file)[0]))
    compared = 0
    for key, value in expected.items():
        if key.endswith((".arraySize", ".arrayOffset", ".arrayType")):
            continue
        if isinstance(found[key], _dm.Block):
            if key + ".arrayOffset" in expected:
                assert found[key] == (expected[key + ".arrayOffset"], expected[key + ".arraySize"])
        elif isinstance(value, str):
            assert found[key] == value
        else:
            np.testing.assert_array_equal(found[key], value)
        compared += 1
    assert compared > 80


def flat(tree, prefix=""):
    for key, value in tree.items():
        name = f"{prefix}.{key + 1 if isinstance(key, int) else key}"
        if isinstance(value, dict):
            yield from flat(value, name)
        else:
            yield name, value


def test_bismuth(shared_data):
    metadata, image = load_data(shared_data("bismuth.dm4"))
    assert (image.shape, image.dtype, int(image.min()) < 0) == ((256, 256), np.int8, True)
    # US1000: 14 micrometre; 256 pixels across the 2048 that were read, the rest was binned in DigitalMicrograph.
    assert metadata == {
        "wavelength": electron_wavelength(90), "voltage_kv": 90.0, "pixel_size": 14.0,
"image_pixel_size": 112.0, "image_width": 256,
        "image_height": 256, "description": "bismuth_R", "camera_type": "US1000 1", "binning": 8, "exposure_time": 5.0,
        "path": str(shared_data("bismuth.dm4"))}


@pytest.mark.parametrize("version", [3, 4])
@pytest.mark.parametrize("order", ["<", ">"])
def test_dm_of_both_versions_and_byte_orders(tmp_path, version, order):
    pixels = np.linspace(-1, 1, 35, dtype=np.float32).reshape(5, 7)
    entry = dm_image(pixels, 2, 6, **dm_tags(300e3, (10.0, 20.0), (2.0, 4.0), "Prototype", 0.25))
    path = tmp_path / "x.dm"
    path.write_bytes(naive_dm({"ImageList": [entry]}, version, order))
    metadata, image = read(path)
    assert image.dtype == np.dtype("=f4")
    assert np.array_equal(image, pixels)
    assert says(metadata) == {"wavelength": electron_wavelength(300), "voltage_kv": 300.0, "pixel_size": (20.0, 10.0),
                              "image_pixel_size": (80.0, 20.0), "binning": (4, 2), "camera_type": "Prototype",
                              "exposure_time": 0.25}


@pytest.mark.parametrize("listed", [True, False])
def test_tags_are_those_of_the_image_not_of_the_thumbnail(tmp_path, listed):
    thumbnail = dm_image(np.zeros((8, 8), np.uint32), 23, 5, **dm_tags(100e3, (1.0, 1.0), (1.0, 1.0), "thumbnail", 9.0))
    picture = dm_image(RAMP, 10, 4, **dm_tags(200e3, (15.0, 15.0), (2.0, 2.0), "camera", 0.5))
    other = dm_image(RAMP[:3], 10, 4) | {"Name": ("text", "second")}
    tree = {"ImageList": [thumbnail, picture, other]} | ({"Thumbnails": [{"ImageIndex": (5, 0)}]} if listed else {})
    path = tmp_path / "x.dm4"
    path.write_bytes(naive_dm(tree))
    metadata, image = read(path)
    assert np.array_equal(image, RAMP)
    assert (metadata["voltage_kv"], metadata["image_pixel_size"], metadata["camera_type"]) == (200.0, 30.0, "camera")
    for second in ("second", 1, "1"):
        metadata, image = read(path, dataset=second)
        assert image.shape == (3, 17)
        assert says(metadata) == {"description": "second"}
    with pytest.raises(FileFormatError, match=r"dataset must be the name of an image .*'third'"):
        read(path, dataset="third")


def test_binning_after_the_acquisition_needs_two_facts_that_agree(tmp_path, caplog):
    def written(scale, unit=""):
        entry = dm_image(np.zeros((16, 16), np.float32), 2, 6, **dm_tags(200e3, (14.0, 14.0), (2.0, 2.0), "US1000", 1.0))
        entry["ImageTags"]["Acquisition"]["Parameters"]["High Level"]["CCD Read Area"] = ("struct", (0.0, 0.0, 128.0, 128.0))
        axis = {"Scale": (6, scale), "Units": ("text", unit)}
        entry["ImageData"]["Calibrations"] = {"Dimension": [axis, axis]}
        path = tmp_path / "x.dm4"
        path.write_bytes(naive_dm({"ImageList": [entry]}))
        return load_data(path)[0]["image_pixel_size"]

    # 128 rows read, binned by 2, leave 64: an image of 16 was binned by 4 more, or is a part of it.
    assert written(4.0) == 14 * 2 * 4
    assert written(8.0) == 14 * 2 * 4
    assert "binned 4 times after" in caplog.text
    caplog.clear()
    assert written(1.0) == 14 * 2
    assert written(0.01, "1/nm") == 14 * 2
    assert "taken as a part of it" in caplog.text


@pytest.mark.parametrize("pixels", [np.ones((1, 5, 6), np.int16), np.ones((1, 1, 5, 6), np.int16)])
def test_a_stack_of_one_frame_is_an_image(tmp_path, pixels):
    path = tmp_path / "x.dm4"
    path.write_bytes(naive_dm({"ImageList": [dm_image(pixels, 1, 2)]}))
    assert read(path)[1].shape == (5, 6)


def test_stack_of_four_dimensions_is_counted_through(tmp_path):
    pixels = np.arange(2 * 3 * 4 * 5, dtype=np.int16).reshape(2, 3, 4, 5)
    path = tmp_path / "x.dm4"
    path.write_bytes(naive_dm({"ImageList": [dm_image(pixels, 1, 2)]}))
    assert np.array_equal(read(path)[1], pixels.reshape(6, 4, 5))
    assert np.array_equal(read(path, frame=4)[1], pixels[1, 1])


@pytest.mark.parametrize(("tree", "message"), [
    ({}, "it has no ImageList"),
    ({"ImageList": []}, "it has no ImageList"),
    ({"ImageList": [dm_image(np.zeros(9, np.int16), 1, 2)]}, "holds no image, but data of shape \\(9,\\)"),
    ({"ImageList": [dm_image(np.zeros((3, 3), np.int16), 99, 2)]}, "pixels of DigitalMicrograph's type 99"),
    ({"ImageList": [dm_image(np.zeros((3, 3), np.int16), 2, 2)]}, "18 bytes of data for an image of shape \\(3, 3\\)"),
    ({"ImageList": [dm_image(np.zeros((0, 3), np.int16), 1, 2)]}, "without pixels"),
])
def test_dm_without_a_usable_image(tmp_path, tree, message):
    path = tmp_path / "x.dm4"
    path.write_bytes(naive_dm(tree))
    with pytest.raises(FileFormatError, match=message):
        read(path)


# ---------------------------------------------------------------------------------------------------------------- damage


def outcome(path):
    """None for an image, otherwise the message; any other exception fails the test."""
    try:
        image = read(path)[1]
    except FileFormatError as error:
        message = str(error)
    else:
        assert image.ndim in (2, 3)
        return None
    assert message.startswith(f"{path}: ")
    assert "\n" not in message
    return message


def test_dm4_truncated_at_every_byte(small_dm4, tmp_path):
    data, path = small_dm4.read_bytes(), tmp_path / "cut.dm4"
    for length in range(len(data)):
        path.write_bytes(data[:length])
        message = outcome(path)
        if message is None:
            # Only the zeros that end the file are missing: all is there.
            assert length >= len(data) - 8
            assert np.array_equal(read(path)[1], RAMP)
        elif length >= 24:
            assert f"truncated or damaged: it ends at byte {length}" in message


def test_dm4_that_ends_within_the_pixels(tmp_path):
    entry = dm_image(RAMP, 10, 4)
    entry["ImageData"]["Data"] = entry["ImageData"].pop("Data")  # the last tag of the file
    data, path = naive_dm({"ImageList": [{"ImageTags": {}, "ImageData": entry["ImageData"]}]}), tmp_path / "cut.dm4"
    path.write_bytes(data[:-8])
    assert np.array_equal(read(path)[1], RAMP)
    path.write_bytes(data[:-9])
    assert f"it ends at byte {len(data) - 9}, but the tag 'Data' needs 408 bytes" in outcome(path)


@pytest.mark.parametrize("name", ["bismuth.dm4", "dm-2d-12.dm3", "dm-3d-1.dm4"])
def test_real_dm_truncated(shared_data, tmp_path, name):
    data, path = shared_data(name).read_bytes(), tmp_path / "cut.dm4"
    for length in np.linspace(1, len(data) - 64, 150).astype(int):
        path.write_bytes(data[:length])
        assert outcome(path) is not None


@settings(deadline=None, max_examples=300, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(changes=st.lists(st.tuples(st.floats(0, 1, exclude_max=True), st.integers(0, 255)), min_size=1, max_size=6))
def test_dm4_with_wrong_bytes(small_dm4, tmp_path, changes):
    data = bytearray(small_dm4.read_bytes())
    for place, byte in changes:
        data[int(place * len(data))] = byte
    path = tmp_path / "wrong.dm4"
    path.write_bytes(data)
    tracemalloc.start()
    try:
        outcome(path)
        assert tracemalloc.get_traced_memory()[1] < 4e6
    finally:
        tracemalloc.stop()


@settings(deadline=None, max_examples=200, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(data=st.binary(min_size=1, max_size=600),
       start=st.sampled_from([b"", b"\0\0\0\4", b"\0\0\0\3", b"II\x97\x01", b"###CBF", b"{", b"II*\0", b"\x89HDF\r\n\x1a\n"]))
def test_any_bytes_give_one_line(tmp_path, data, start):
    path = tmp_path / "any.dm4"
    path.write_bytes(start + data)
    outcome(path)


def test_numbers_of_tags_that_cannot_be(tmp_path):
    path = tmp_path / "x.dm4"
    header = struct.pack(">IQI", 4, 100, 1)
    path.write_bytes(header + struct.pack(">BBQ", 1, 0, 2**63) + bytes(100))
    assert "unknown kind 0" in outcome(path)
    deep = struct.pack(">BBQ", 1, 0, 1) + (struct.pack(">BHQ", 20, 0, 0) + struct.pack(">BBQ", 1, 0, 1)) * 500
    path.write_bytes(header + deep)
    assert "nested more than 64" in outcome(path)
    value = struct.pack(">BHQ", 21, 0, 0) + b"%%%%" + struct.pack(">QQ", 2**40, 15)
    path.write_bytes(header + struct.pack(">BBQ", 1, 0, 1) + value)
    assert "in 1099511627776 words" in outcome(path)


@pytest.mark.parametrize(("content", "message"), [
    (b"", "the file is empty"),
    (b"not an image\n" * 50, "not an image that edfast reads"),
    (b"\0\0\0", "not an image that edfast reads"),
    (b"\x89PNG\r\n\x1a\n" + bytes(100), "a picture for the screen"),
    (struct.pack(">IQI", 4, 9, 7) + bytes(50), "byte order is 7"),
])
@pytest.mark.parametrize("extension", [".dm4", ".tif", ".h5", ""])
def test_no_image(tmp_path, content, message, extension):
    path = tmp_path / f"file{extension}"
    path.write_bytes(content)
    assert message in outcome(path)


def test_missing_folder_and_pipe(tmp_path):
    with pytest.raises(FileNotFoundError, match=r"nothing\.dm4: there is no such file"):
        read(tmp_path / "nothing.dm4")
    assert "this is a folder" in outcome(tmp_path)
    if hasattr(os, "mkfifo"):
        os.mkfifo(tmp_path / "pipe.dm4")
        assert "no regular file" in outcome(tmp_path / "pipe.dm4")


def test_unreadable(small_dm4, monkeypatch):
    # Permissions do not bind root, who runs the tests in many containers.
    def refuse(self, *args, **options):
        raise PermissionError(13, "Permission denied", str(self))

    monkeypatch.setattr(Path, "open", refuse)
    assert "cannot be read (Permission denied)" in outcome(small_dm4)


def test_files_stay_as_they_are_and_are_closed(small_dm4, tmp_path):
    small_dm4.chmod(0o444)
    before = small_dm4.read_bytes(), small_dm4.stat().st_mtime_ns, sorted(tmp_path.iterdir())
    handles = Path("/proc/self/fd")
    descriptors = len(list(handles.iterdir())) if handles.is_dir() else None
    (tmp_path / "cut.dm4").write_bytes(before[0][:500])
    for _ in range(20):
        image = read(small_dm4)[1]
        image += 1
        assert outcome(tmp_path / "cut.dm4")
    (tmp_path / "cut.dm4").unlink()
    assert before == (small_dm4.read_bytes(), small_dm4.stat().st_mtime_ns, sorted(tmp_path.iterdir()))
    if descriptors is not None:
        assert len(list(handles.iterdir())) == descriptors


def test_sixteen_threads(small_dm4):
    barrier, results = threading.Barrier(16), []

    def work():
        barrier.wait()
        results.append(read(small_dm4))

    threads = [threading.Thread(target=work) for _ in range(16)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(results) == 16
    assert all(np.array_equal(image, RAMP) and metadata == results[0][0] for metadata, image in results)


# -------------------------------------------------------------------------------------------------------------- options


def test_normalize(small_dm4, tmp_path):
    metadata, image = read(small_dm4, normalize=True)
    assert metadata["exposure_time"] == 0.5
    assert image.dtype == np.float32
    assert np.array_equal(image, RAMP * 2.0)
    wide = tmp_path / "wide.dm4"
    write_dm4(wide, RAMP.astype(np.int32) * 10**6, exposure_time=2)
    image = read(wide, normalize=True)[1]
    assert image.dtype == np.float64
    assert np.array_equal(image, RAMP * 5e5)
    write_dm4(wide, RAMP / 7, exposure_time=0.3)
    assert np.array_equal(read(wide, normalize=True)[1], RAMP / 7 / 0.3)
    unknown = tmp_path / "unknown.dm4"
    write_dm4(unknown, RAMP)
    with pytest.raises(ValueError, match=r"unknown\.dm4: normalize needs the exposure time"):
        read(unknown, normalize=True)


def test_verbose_logs_and_silence_is_silent(small_dm4, tmp_path, caplog, capsys):
    caplog.set_level(logging.INFO, "edfast")
    load_data(small_dm4)
    assert [record.levelname for record in caplog.records] == ["INFO"]
    assert "uint16, shape (12, 17), wavelength 0.02507" in caplog.text
    caplog.clear()
    known = tmp_path / "known.dm4"
    write_dm4(known, RAMP, camera="K2-0001")
    assert load_data(known)[0]["pixel_size"] == 5.0
    assert "5 micrometre for the camera K2-0001 is from the built-in table" in caplog.text
    assert "the binning is unknown and taken as 1" in caplog.text
    caplog.clear()
    assert read(known)[0]["pixel_size"] == 5.0
    assert caplog.text == ""
    assert capsys.readouterr() == ("", "")


@pytest.mark.parametrize("frame", [-1, 1.5, "first", True])
def test_frame_must_be_a_count(small_dm4, frame):
    with pytest.raises(ValueError, match="frame must be a whole number"):
        read(small_dm4, frame=frame)


@pytest.mark.parametrize("kind", ["dm4", "mrc", "h5", "edf"])
def test_frames(tmp_path, kind):
    stack = np.arange(5 * 6 * 7, dtype=np.int16).reshape(5, 6, 7)
    path = tmp_path / "stack.misleading"
    if kind == "dm4":
        write_dm4(path, stack)
    elif kind == "mrc":
        with mrcfile.new(path, data=stack):
            pass
    elif kind == "h5":
        with h5py.File(path, "w") as file:
            file["frames"] = stack
    else:
        edf = fabio.edfimage.EdfImage(data=stack[0])
        for image in stack[1:]:
            edf.append_frame(data=image)
        edf.write(str(path))
    metadata, image = read(path)
    assert image.dtype == np.int16
    assert np.array_equal(image, stack)
    assert (metadata["image_height"], metadata["image_width"]) == (6, 7)
    for number in range(5):
        image = read(path, frame=number)[1]
        assert np.array_equal(image, stack[number])
        assert image.flags.c_contiguous
        assert image.base is None or not isinstance(image.base, np.memmap)
    with pytest.raises(FileFormatError, match="frame must be from 0 to 4 \\(there are 5\\), not 5"):
        read(path, frame=5)


@pytest.mark.parametrize("kind", ["dm4", "mrc", "h5"])
def test_one_frame_of_a_large_stack_is_read_alone(tmp_path, kind):
    path, stack = tmp_path / "large", np.zeros((40, 256, 256), np.float32)
    stack[33] = 7
    if kind == "dm4":
        write_dm4(path, stack)
    elif kind == "mrc":
        with mrcfile.new(path, data=stack):
            pass
    else:
        with h5py.File(path, "w") as file:
            file["data"] = stack
    read(path, frame=0)
    tracemalloc.start()
    try:
        assert read(path, frame=33)[1].min() == 7
        assert tracemalloc.get_traced_memory()[1] < 3 * stack[0].nbytes
    finally:
        tracemalloc.stop()


# -------------------------------------------------------------------------------------------------------------- cameras


@pytest.mark.parametrize(("name", "size"), [("US1000 1", 14.0), ("us 1000", 14.0), ("OneView 2", 15.0), ("BM-Ceta", 14.0),
                                            ("Orius SC200D", 7.4), ("SC1000 Orius", 9.0), ("K3-IS", 5.0), ("unheard", None),
                                            ("SC2000", None)])
def test_cameras_by_name(name, size):
    assert _cameras.camera_pixel_size(name)[0] == size


def test_the_users_table_goes_first(no_user_table, tmp_path, caplog):
    no_user_table.write_text('[pixel_size_um]\n"US1000" = 13.5\n"Home made" = 27\n')
    path = tmp_path / "x.dm4"
    for camera, expected in (("US1000 1", 27.0), ("Home-made camera", 54.0)):
        write_dm4(path, RAMP, camera=camera, binning=2)
        assert load_data(path)[0]["image_pixel_size"] == expected
    assert str(no_user_table) in caplog.text
    no_user_table.write_text('[pixel_size_um]\n"US" = 1\n"US1000" = 2.0\n"US10" = 3.0\n')
    os.utime(no_user_table, ns=(1, 1))
    assert _cameras.camera_pixel_size("US1000 1")[0] == 2.0
    # What the file says itself is not overruled.
    write_dm4(path, RAMP, camera="US1000 1", pixel_size=3.0)
    assert read(path)[0]["pixel_size"] == 3.0


@pytest.mark.parametrize(("text", "message"), [
    ("[pixel_size_um", "cannot be read as a table of cameras"),
    ("\"OneView\" = 15.0", "needs one table \\[pixel_size_um\\]"),
    ("", "but has nothing"),
    ("[pixel_size_um]\nOneView = -15.0", "pixel_size_um of camera 'OneView' must be a finite number .* not -15.0"),
    ("[pixel_size_um]\nOneView = \"15\"", "must be a number, not '15'"),
    ("[pixel_size_um]\n\"--\" = 15.0", "a camera needs a name"),
])
def test_a_broken_table_of_cameras(no_user_table, tmp_path, text, message):
    no_user_table.write_text(text)
    write_dm4(tmp_path / "x.dm4", RAMP, camera="OneView")
    with pytest.raises(ValueError, match=message) as caught:
        read(tmp_path / "x.dm4")
    assert str(no_user_table) in str(caught.value)
    assert "\n" not in str(caught.value)


def test_encoder_equals_its_naive_twin():
    values = {"text": "Gold film", "number": np.float64(2.5), "flag": np.bool_(True), "pair": (np.float64(1), np.float64(2)),
              "pixels": RAMP, "list": [{"a": np.uint32(1)}, {}], "": np.int16(-3)}
    described = {"text": ("text", "Gold film"), "number": (7, 2.5), "flag": (8, True), "pair": ("struct", (1.0, 2.0)),
                 "pixels": ("array", (4, RAMP)), "list": [{"a": (5, 1)}, {}], "": (2, -3)}
    # The twin marks every group as sorted; the order of a list means something.
    listed = struct.pack(">BBQ", 1, 0, 2)
    assert _dm.encode(values) == naive_dm(described).replace(listed, struct.pack(">BBQ", 0, 0, 2))


# ------------------------------------------------------------------------------------------------------- fabio's formats


@pytest.mark.parametrize("dtype", ["uint8", "int16", "uint16", "int32", "uint32", "float32", "float64"])
@pytest.mark.parametrize("kind", ["edf", "tif"])
def test_edf_and_tiff(tmp_path, kind, dtype):
    path, image = tmp_path / "x.dm4", (RAMP % 251).astype(dtype)
    {"edf": fabio.edfimage.EdfImage, "tif": fabio.tifimage.TifImage}[kind](data=image).write(str(path))
    found = read(path)[1]
    # fabio's TIFF has no float64.
    assert found.dtype == ("float32" if (kind, dtype) == ("tif", "float64") else image.dtype)
    assert np.array_equal(found, image)


@pytest.mark.parametrize("order", ["<", ">"])
@pytest.mark.parametrize("count", [1, 3])
def test_tiff_of_another_program(tmp_path, order, count):
    tifffile = pytest.importorskip("tifffile")
    stack = np.stack([RAMP / 7 + number for number in range(count)])
    tifffile.imwrite(tmp_path / "x.tif", stack, byteorder=order, metadata=None, photometric="minisblack")
    image = read(tmp_path / "x.tif")[1]
    assert image.dtype == np.dtype("=f8")
    assert np.array_equal(image, stack if count > 1 else stack[0])
    assert np.array_equal(read(tmp_path / "x.tif", frame=count - 1)[1], stack[-1])


def test_big_endian_becomes_native(tmp_path):
    path = tmp_path / "x.edf"
    header = "{\nByteOrder = HighByteFirst ;\nDataType = UnsignedShort ;\nDim_1 = 17 ;\nDim_2 = 12 ;\nImage = 1 ;\n"
    header += f"Size = {RAMP.nbytes} ;\n"
    path.write_bytes((header + " " * (510 - len(header)) + "}\n").encode() + RAMP.astype(">u2").tobytes())
    image = read(path)[1]
    assert image.dtype == np.dtype("=u2")
    assert image.dtype.isnative
    assert np.array_equal(image, RAMP)


@pytest.mark.parametrize(("header", "expected"), [
    ({"WaveLength": "2.5079e-12", "PSize_1": "15e-6", "PSize_2": "30e-6", "ExposureTime": "2", "Title": "gold"},
     {"wavelength": 0.025079, "pixel_size": (30.0, 15.0),
      "image_pixel_size": (30.0, 15.0), "exposure_time": 2.0, "description": "gold"}),
    ({"Wavelength": "0.025079", "pixel_size": "15.0 um", "exposure_time": "500 ms", "voltage_kv": "200", "binning": "2"},
     {"wavelength": 0.025079,
      "image_pixel_size": 15.0, "pixel_size": 7.5, "exposure_time": 0.5, "voltage_kv": 200.0, "binning": 2}),
    ({"WaveLength": "2.5079 pm", "PSize_1": "0.015 mm", "PSize_2": "0.015 mm", "Detector": "OneView"},
     {"wavelength": 0.025079, "pixel_size": 15.0, "image_pixel_size": 15.0, "camera_type": "OneView"}),
    ({"WaveLength": "unknown", "PSize_1": "0", "PSize_2": "0", "ExposureTime": "-1"}, {}),
    ({"WaveLength": "3 furlong", "PSize_1": "nan"}, {}),
])
def test_edf_header(tmp_path, header, expected):
    path = tmp_path / "x.edf"
    fabio.edfimage.EdfImage(data=RAMP, header=header).write(str(path))
    found = says(read(path)[0])
    assert found.keys() == expected.keys()
    for key, value in expected.items():
        assert found[key] == (value if isinstance(value, str) else pytest.approx(value, rel=1e-12))


def test_cbf_with_the_header_of_dectris(tmp_path):
    path = tmp_path / "x.cbf"
    contents = ("# Detector: QUADRO, S/N E-01\r\n# Pixel_size 75e-6 m x 75e-6 m\r\n# Exposure_time 0.2 s\r\n"
                "# Wavelength 0.0251 A\r\n")
    fabio.cbfimage.CbfImage(data=RAMP.astype(np.int32), header={
        "_array_data.header_convention": "PILATUS_1.2", "_array_data.header_contents": contents}).write(str(path))
    metadata, image = read(path)
    assert np.array_equal(image, RAMP)
    assert says(metadata) == {"wavelength": 0.0251, "pixel_size": 75.0,
                              "image_pixel_size": 75.0, "exposure_time": 0.2, "camera_type": "QUADRO"}


@pytest.mark.parametrize("kind", ["edf", "tif", "cbf", "mrc", "h5"])
def test_truncated_files_of_other_formats(tmp_path, kind, caplog):
    image, path = np.random.default_rng(0).integers(0, 1000, (40, 50)).astype(np.int32), tmp_path / "whole"
    if kind == "mrc":
        with mrcfile.new(path, data=image.astype(np.int16)):
            pass
    elif kind == "h5":
        with h5py.File(path, "w") as file:
            file["data"] = image
    else:
        writer = {"edf": fabio.edfimage.EdfImage, "tif": fabio.tifimage.TifImage, "cbf": fabio.cbfimage.CbfImage}[kind]
        writer(data=image).write(str(path))
    data, cut = path.read_bytes(), tmp_path / "cut"
    assert outcome(path) is None
    for length in np.linspace(1, len(data) - 1, 40).astype(int):
        cut.write_bytes(data[:length])
        # CBF ends with a text after the data; without it nothing is missing.
        assert outcome(cut) is not None or np.array_equal(read(cut)[1], image)


def test_colours_are_refused(tmp_path):
    cv2 = pytest.importorskip("cv2")
    for name, colours in (("x.tif", 3), ("x.jpg", 3)):
        cv2.imwrite(str(tmp_path / name), np.zeros((8, 9, colours), np.uint8))
        assert "picture" in outcome(tmp_path / name)


def test_dataset_is_for_files_that_have_some(tmp_path):
    path = tmp_path / "x.edf"
    fabio.edfimage.EdfImage(data=RAMP).write(str(path))
    with pytest.raises(FileFormatError, match="dataset chooses within HDF5"):
        read(path, dataset="a")


# -------------------------------------------------------------------------------------------------------------- MRC, SER


@pytest.mark.parametrize("dtype", ["int8", "int16", "uint16", "float32", "complex64", "float16"])
def test_mrc(tmp_path, dtype):
    path, image = tmp_path / "x.dm4", (RAMP % 100).astype(dtype)
    with mrcfile.new(path, data=image) as file:
        file.set_extended_header(np.frombuffer(b"nothing of use  ", "V16"))
    metadata, found = read(path)
    assert found.dtype == image.dtype
    assert np.array_equal(found, image)
    assert metadata["pixel_size"] is None


def test_mrc_of_thermo_fisher(tmp_path):
    from mrcfile.dtypes import get_ext_header_dtype

    header = np.zeros(1, get_ext_header_dtype(b"FEI1", "<"))
    header["Metadata size"], header["Metadata version"] = header.dtype.itemsize, 0
    header["HT"], header["Camera name"], header["Binning Width"], header["Binning Height"] = 300e3, b"BM-Ceta", 2, 2
    header["Integration time"] = 0.75
    path = tmp_path / "x.mrc"
    with mrcfile.new(path, data=RAMP.astype(np.int16)) as file:
        file.header.exttyp = b"FEI1"
        file.set_extended_header(header)
    found = says(read(path)[0])
    found.pop("description")
    assert found == {"voltage_kv": 300.0, "wavelength": electron_wavelength(300), "camera_type": "BM-Ceta", "binning": 2,
                     "pixel_size": 14.0, "image_pixel_size": 28.0, "exposure_time": 0.75}


def ser_bytes(images):
    """A series of images as TIA writes them (version 0x210), from the public description of the format."""
    code = {"uint16": 2, "int16": 5, "float32": 7}[images.dtype.name]
    head = struct.pack("<HHHiiii", 0x4949, 0x0197, 0x0210, 0x4122, 0x4152, len(images), len(images))
    dimension = struct.pack("<iddii", len(images), 0.0, 1.0, 0, 0) + struct.pack("<i", 0)
    offsets = len(head) + 4 + 4 + len(dimension)
    first = offsets + 8 * len(images)
    elements = [struct.pack("<ddiddihii", 0, 1, 0, 0, 1, 0, code, image.shape[1], image.shape[0]) + image.tobytes()
                for image in images]
    places = np.cumsum([first, *map(len, elements)])
    tags = b"".join(struct.pack("<ii", 0x4152, 0) for _ in images)
    table = np.array([*places[:-1], *(places[-1] + 8 * np.arange(len(images)))], "<i4").tobytes()
    return head + struct.pack("<ii", offsets, 1) + dimension + table + b"".join(elements) + tags


@pytest.mark.parametrize("count", [1, 3])
def test_ser(tmp_path, count):
    images = np.arange(count * 20, dtype=np.int16).reshape(count, 4, 5)
    path = tmp_path / "x_1.ser"
    path.write_bytes(ser_bytes(images))
    # TIA counts rows from below; ncempy turns them round.
    expected = images[:, ::-1]
    assert np.array_equal(read(path)[1], expected if count > 1 else expected[0])
    assert np.array_equal(read(path, frame=count - 1)[1], expected[-1])
    with pytest.raises(FileFormatError, match="frame must be from 0"):
        read(path, frame=count)
    path.write_bytes(ser_bytes(images)[:-60])
    assert "truncated or damaged SER file" in outcome(path)


# ----------------------------------------------------------------------------------------------------------------- HDF5


def test_nexus_follows_default_and_signal(tmp_path):
    path = tmp_path / "x.nxs"
    with h5py.File(path, "w") as file:
        file["decoy"] = np.zeros((100, 100))
        file.attrs["default"] = "scan"
        entry = file.create_group("scan")
        entry.attrs["default"] = "plot"
        plot = entry.create_group("plot")
        plot.attrs["signal"] = "counts"
        plot["counts"], plot["errors"] = RAMP, RAMP * 2
        entry["title"] = "gold film"
        for name, value, unit in (("detector/x_pixel_size", 15.0, "um"), ("detector/y_pixel_size", 3e-5, "m"),
                                  ("detector/count_time", 250.0, "ms"), ("beam/incident_wavelength", 2.5, "pm")):
            data = entry.create_dataset(f"instrument/{name}", data=value)
            data.attrs["units"] = unit
        entry["instrument/detector/description"] = "OneView"
    metadata, image = read(path)
    assert np.array_equal(image, RAMP)
    assert says(metadata) == {"wavelength": pytest.approx(0.025), "pixel_size": (pytest.approx(30.0), 15.0),
                              "image_pixel_size": (pytest.approx(30.0), 15.0),
                              "exposure_time": 0.25, "camera_type": "OneView", "description": "gold film"}
    assert np.array_equal(read(path, dataset="scan/plot/errors")[1], RAMP * 2)
    assert np.array_equal(read(path, dataset="/scan/plot")[1], RAMP)
    with pytest.raises(FileFormatError, match="no data set 'scan/none' in it; it has /decoy, /scan/plot/counts"):
        read(path, dataset="scan/none")


def test_nexus_of_old(tmp_path):
    with h5py.File(tmp_path / "x.nxs", "w") as file:
        file["entry/data/other"] = np.zeros((50, 60))
        file["entry/data/counts"] = RAMP
        file["entry/data/counts"].attrs["signal"] = 1
    assert np.array_equal(read(tmp_path / "x.nxs")[1], RAMP)


def test_cxi(tmp_path):
    path, stack = tmp_path / "x.cxi", np.stack([RAMP, RAMP + 1])
    with h5py.File(path, "w") as file:
        file["cxi_version"] = 140
        file["entry_1/larger"] = np.zeros((200, 200))
        file["entry_1/data_1/data"] = stack
        file["entry_1/instrument_1/detector_1/x_pixel_size"] = 75e-6
        file["entry_1/instrument_1/detector_1/y_pixel_size"] = 75e-6
        file["entry_1/instrument_1/detector_1/description"] = "SINGLA"
    metadata, image = read(path)
    assert np.array_equal(image, stack)
    assert says(metadata) == {"pixel_size": pytest.approx(75.0),
                              "image_pixel_size": pytest.approx(75.0), "camera_type": "SINGLA"}


def test_emd_of_berkeley_and_of_velox(tmp_path):
    with h5py.File(tmp_path / "b.emd", "w") as file:
        group = file.create_group("data/picture")
        group.attrs["emd_group_type"] = 1
        group["data"], file["larger"] = RAMP, np.zeros((99, 99))
    assert np.array_equal(read(tmp_path / "b.emd")[1], RAMP)
    said = {"Optics": {"AccelerationVoltage": "300000"}, "BinaryResult": {"Detector": "BM-Ceta"},
            "Detectors": {"Detector-0": {"DetectorName": "BF", "ExposureTime": "9"},
                          "Detector-1": {"DetectorName": "BM-Ceta", "ExposureTime": "0.5",
                                         "Binning": {"width": "2", "height": "2"}}}}
    text = np.frombuffer(json.dumps(said).encode().ljust(600, b"\0"), np.uint8)
    for count in (1, 3):
        stack = np.stack([RAMP + number for number in range(count)])
        with h5py.File(tmp_path / "v.emd", "w") as file:
            file["Data/Image/0123abcd/Data"] = np.moveaxis(stack, 0, -1)
            file["Data/Image/0123abcd/Metadata"] = text[:, None]
        metadata, image = read(tmp_path / "v.emd")
        assert np.array_equal(image, stack if count > 1 else RAMP)
        assert np.array_equal(read(tmp_path / "v.emd", frame=count - 1)[1], stack[-1])
        assert says(metadata) == {"voltage_kv": 300.0, "wavelength": electron_wavelength(300), "camera_type": "BM-Ceta",
                                  "binning": 2, "pixel_size": 14.0, "image_pixel_size": 28.0, "exposure_time": 0.5}


def test_plain_hdf5_takes_the_largest_and_says_so(tmp_path, caplog):
    path = tmp_path / "x.h5"
    with h5py.File(path, "w") as file:
        file["labels"], file["mask"], file["text"] = np.zeros(500), RAMP, "no image"
        file["patterns"] = np.stack([RAMP] * 3)
    assert load_data(path)[1].shape == (3, 12, 17)
    assert "taking the largest data set, /patterns, out of /mask, /patterns" in caplog.text
    caplog.clear()
    assert load_data(path, dataset="mask")[1].shape == (12, 17)
    assert caplog.text == ""
    with h5py.File(path, "w") as file:
        file["labels"] = np.zeros(500)
    assert "no image in this HDF5 file" in outcome(path)


def test_hdf5_by_a_filter_of_hdf5plugin(tmp_path):
    hdf5plugin = pytest.importorskip("hdf5plugin")
    path = tmp_path / "x.h5"
    with h5py.File(path, "w") as file:
        file.create_dataset("data", data=RAMP, **hdf5plugin.Bitshuffle())
    assert np.array_equal(read(path)[1], RAMP)


def test_patterns_of_the_toolbox(shared_data):
    path = shared_data("test_pattern.h5")
    with h5py.File(path) as file:
        expected = file["patterns"][...]
    image = read(path)[1]
    assert image.dtype == expected.dtype
    assert np.array_equal(image, expected)
    assert np.array_equal(read(path, frame=49)[1], expected[49])


def test_memory_that_is_used_again_holds_the_newest_image(tmp_path):
    rng = np.random.default_rng(3)
    images = [rng.normal(size=shape).astype(dtype) for shape, dtype in (((40, 30), "f4"), ((20, 25), "i2"), ((64, 50), "f8"))]
    for k, image in enumerate(images):
        write_dm4(tmp_path / f"{k}.dm4", image)
    seen = []
    for k, image in enumerate(images):
        with _memory.recycled():
            found = load_data(tmp_path / f"{k}.dm4", verbose=False)[1]
            np.testing.assert_array_equal(found, image)
            assert found.dtype == image.dtype
            seen.append(found)
    assert np.shares_memory(seen[0], seen[1])
    _memory.release()
    assert not np.shares_memory(load_data(tmp_path / "2.dm4", verbose=False)[1], seen[2])


def test_a_file_that_becomes_shorter_while_it_is_read(tmp_path):
    (tmp_path / "pixels").write_bytes(bytes(100))
    with ((tmp_path / "pixels").open("rb", buffering=0) as file, _memory.recycled(),
          pytest.raises(FileFormatError, match="it became shorter while it was read")):
        _memory.read_pixels(file, np.dtype(np.float32), (2, 13))
