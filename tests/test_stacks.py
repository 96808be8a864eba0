"""Stacks wherever they are: same results as in memory, bounded memory, one block ahead, a clean stop."""

import mmap
import os
import signal
import subprocess
import sys
import textwrap
import threading
import time
from pathlib import Path

import h5py
import numpy as np
import pytest

from edfast import _stacks
from edfast.image import preprocess, radp

hdf5plugin = pytest.importorskip("hdf5plugin")
ROOT = Path(__file__).resolve().parents[1]

SHAPE = (53, 46, 39)
CONTIGUOUS = {"contiguous": {}}
CHUNKED = {
    "chunks of one frame": {"chunks": (1, 46, 39)},
    "chunks of frames": {"chunks": (8, 46, 39), "compression": "gzip"},
    "tiles": {"chunks": (5, 20, 17), "compression": "gzip", "shuffle": True},
    "one chunk": {"chunks": SHAPE, "compression": "gzip", "compression_opts": 1},
    "checksums": {"chunks": (5, 20, 17), "fletcher32": True},
    "lzf": {"chunks": (4, 46, 39), "compression": "lzf"},
    **{name: {"chunks": (4, 46, 39), **getattr(hdf5plugin, name)(**options)} for name, options in
       (("Bitshuffle", {}), ("LZ4", {}), ("Zstd", {}), ("Blosc", {}), ("Blosc2", {}), ("BZip2", {}))},
    "bitshuffle and zstd": {"chunks": (4, 46, 39), **hdf5plugin.Bitshuffle(cname="zstd")},
}
DIRECT = set(CHUNKED) - {"checksums", "lzf"}


def patterns(dtype="u2", seed=0):
    return np.random.default_rng(seed).poisson(9, SHAPE).astype(dtype)


@pytest.fixture(autouse=True)
def small_blocks(monkeypatch):
    """Blocks of a few frames, so that there are many of them."""
    monkeypatch.setattr(_stacks, "READ_BYTES", 6 * 46 * 39 * 2)
    for name in ("VIEW_BYTES", "LEAN_BYTES"):
        monkeypatch.setattr(_stacks, name, 10 * 46 * 39 * 2)


@pytest.fixture
def hdf5(tmp_path):
    """A function that writes a data set, and returns it from a file opened for reading."""
    files = []

    def write(data, mode="r", userblock=0, **options):
        path = tmp_path / f"{len(files)}.h5"
        with h5py.File(path, "w", userblock_size=userblock) as file:
            file.create_dataset("entry_1/data_1/data", data=data, **options)
        files.append(h5py.File(path, mode))
        return files[-1]["entry_1/data_1/data"]

    yield write
    for file in files:
        file.close()


def together(stack, **options):
    """All blocks put together, with a look at each: in order, without a gap, as they should be."""
    parts, last = [], options.get("part", slice(0, None)).start
    for where, block in _stacks.blocks(stack, **options):
        assert where.start == last
        assert len(block) == where.stop - where.start > 0
        assert block.flags.c_contiguous
        assert block.dtype.isnative
        parts.append(block.copy())
        last = where.stop
    return np.concatenate(parts)


# ---------------------------------------------------------------------------------------------------- reading


@pytest.mark.parametrize("layout", CONTIGUOUS | CHUNKED)
@pytest.mark.parametrize("dtype", ["u2", ">u2", "f4", ">f8", "?"])
def test_hdf5(hdf5, layout, dtype):
    data = patterns(dtype)
    stack = hdf5(data, **(CONTIGUOUS | CHUNKED)[layout])
    found = together(stack)
    np.testing.assert_array_equal(found, data.astype(found.dtype))
    assert found.dtype == (np.uint8 if dtype == "?" else np.dtype(dtype).newbyteorder("="))
    opened = _stacks.open_stack(stack)
    assert opened.buffered == (layout != "contiguous")
    direct = getattr(opened.read, "func", None) is _stacks._read_chunks
    assert direct == (layout in DIRECT)
    for part in (slice(0, 1), slice(7, 9), slice(50, 53), slice(3, 52)):
        np.testing.assert_array_equal(together(stack, part=part), data[part].astype(found.dtype))


@pytest.mark.parametrize("layout", sorted(DIRECT))
def test_chunks_are_decompressed_here(hdf5, layout, monkeypatch):
    """HDF5's own reading is not needed for any chunk that was written."""
    stack = hdf5(patterns(), **CHUNKED[layout])
    opened = _stacks.open_stack(stack)
    monkeypatch.setattr(h5py.Dataset, "__getitem__", lambda *_: pytest.fail("HDF5 read it"))
    np.testing.assert_array_equal(together(opened), patterns())


def test_file_with_user_block(hdf5):
    np.testing.assert_array_equal(together(hdf5(patterns(), userblock=1024)), patterns())
    np.testing.assert_array_equal(together(hdf5(patterns(), userblock=1024, chunks=(3, 46, 39))), patterns())


def test_chunks_that_were_never_written(tmp_path):
    with h5py.File(tmp_path / "a.h5", "w") as file:
        stack = file.create_dataset("x", SHAPE, "i4", chunks=(5, 20, 20), fillvalue=-3, **hdf5plugin.Bitshuffle())
        stack[17:22, 10:30] = 8
        empty = file.create_dataset("y", SHAPE, "f4", fillvalue=2)
        for one in (stack, empty):
            np.testing.assert_array_equal(together(one), one[...])


def test_filters_that_were_skipped(tmp_path):
    """A chunk may say that one of its filters was not applied."""
    data = patterns()[:4]
    with h5py.File(tmp_path / "a.h5", "w") as file:
        stack = file.create_dataset("x", data.shape, "u2", chunks=(2, 46, 39), compression="gzip", shuffle=True)
        stack[:2] = data[:2]
        stack.id.write_direct_chunk((2, 0, 0), data[2:].tobytes(), filter_mask=3)
        np.testing.assert_array_equal(together(stack), data)


def test_damaged_chunk_is_an_error(tmp_path):
    data = patterns()
    for number, options in enumerate(({"compression": "gzip"}, hdf5plugin.Bitshuffle(), hdf5plugin.Zstd())):
        with h5py.File(tmp_path / f"{number}.h5", "w") as file:
            stack = file.create_dataset("x", data=data, chunks=(4, 46, 39), **options)
            stack.id.write_direct_chunk((8, 0, 0), b"\x00\x00\x00\x00\x00\x00\x0a\x00not compressed")
            with pytest.raises(OSError, match=r"[Cc]an't|filter"):
                together(stack)


def test_virtual_external_and_compact(tmp_path):
    data = patterns()
    for name in "ab":
        with h5py.File(tmp_path / f"{name}.h5", "w") as file:
            file["x"] = data[:26] if name == "a" else data[26:]
    layout = h5py.VirtualLayout(SHAPE, "u2")
    layout[:26] = h5py.VirtualSource(tmp_path / "a.h5", "x", (26, *SHAPE[1:]))
    layout[26:] = h5py.VirtualSource(tmp_path / "b.h5", "x", (27, *SHAPE[1:]))
    data.tofile(tmp_path / "raw")
    with h5py.File(tmp_path / "c.h5", "w") as file:
        file.create_virtual_dataset("virtual", layout)
        file.create_dataset("external", SHAPE, "u2", external=[(str(tmp_path / "raw"), 0, data.nbytes)])
        plist = h5py.h5p.create(h5py.h5p.DATASET_CREATE)
        plist.set_layout(h5py.h5d.COMPACT)
        small = np.ascontiguousarray(data[:3, :9, :9])
        compact = h5py.h5d.create(file.id, b"compact", h5py.h5t.NATIVE_UINT16, h5py.h5s.create_simple(small.shape), plist)
        compact.write(h5py.h5s.ALL, h5py.h5s.ALL, small)
    with h5py.File(tmp_path / "c.h5") as file:
        for name in ("virtual", "external"):
            np.testing.assert_array_equal(together(file[name]), data)
        np.testing.assert_array_equal(together(file["compact"]), small)


def test_data_that_were_just_written(tmp_path):
    with h5py.File(tmp_path / "a.h5", "w") as file:
        for options in ({}, {"chunks": (4, 46, 39)}, {"chunks": (4, 46, 39), "compression": "gzip"}):
            stack = file.create_dataset(f"x{len(options)}", data=patterns(), **options)
            np.testing.assert_array_equal(together(stack), patterns())
            stack[20] = 7
            assert (together(stack)[20] == 7).all()


def test_while_items_of_the_file_are_gone_through(hdf5):
    """Then the caller holds h5py's lock: another thread that reads would wait for ever."""
    stack = hdf5(patterns(), chunks=(5, 20, 17), compression="gzip")
    done = []

    def work():
        for _, one in stack.parent.items():
            done.append(together(one))

    thread = threading.Thread(target=work, daemon=True)
    thread.start()
    thread.join(30)
    assert done
    np.testing.assert_array_equal(done[0], patterns())


class Sliced:
    """The least that a stack can be."""

    def __init__(self, data):
        self.data, self.shape, self.asked = data, data.shape, []

    def __getitem__(self, where):
        self.asked.append((where.start, where.stop))
        return self.data[where]


@pytest.mark.parametrize("dtype", ["u2", ">i4", "f2", "f4", "?"])
def test_arrays(tmp_path, dtype):
    data = patterns(dtype)
    np.save(tmp_path / "a.npy", data)
    read_only = data.copy()
    read_only.flags.writeable = False
    expected = data.astype(together(data).dtype)
    for variant in (data, read_only, data.tolist(), list(data), np.asfortranarray(data), np.repeat(data, 2, axis=2)[:, :, ::2],
                    np.load(tmp_path / "a.npy", mmap_mode="r"), np.load(tmp_path / "a.npy", mmap_mode="c")[::-1][::-1],
                    np.asarray(np.load(tmp_path / "a.npy", mmap_mode="r"))[5:][:40], Sliced(data)):
        found = together(variant)
        np.testing.assert_array_equal(found, expected[5:45] if len(found) == 40 else expected)


def test_private_changes_of_a_map_survive(tmp_path):
    """Pages of a copy-on-write map must not be let go: their changes would be lost."""
    np.save(tmp_path / "a.npy", patterns("f8"))
    for mode in ("c", "r+"):
        mapped = np.load(tmp_path / "a.npy", mmap_mode=mode)
        mapped[:] = 5
        assert (together(mapped) == 5).all()
        assert (mapped == 5).all()


@pytest.mark.parametrize("chunks", [(53, 46, 39), (7, 46, 39), (4, 23, 13), ((50, 3), (46,), (20, 19)), (1, 46, 39)])
def test_dask(chunks):
    da = pytest.importorskip("dask.array")
    data = patterns()
    stack = da.from_array(data, chunks)
    np.testing.assert_array_equal(together(stack), data)
    found = _stacks.per_frame(_sums, stack)
    np.testing.assert_array_equal(found, data.sum(axis=(1, 2)))


def _sums(block):
    assert block.shape[1:] == SHAPE[1:]
    return block.sum(axis=(1, 2))


def _worker_of(block):
    """An answer for each frame that only a worker can give."""
    import distributed

    return np.full(len(block), distributed.get_worker().address != "")


def test_dask_is_computed_by_its_own_scheduler():
    dask, da = pytest.importorskip("dask"), pytest.importorskip("dask.array")
    from dask.callbacks import Callback

    stack = da.from_array(patterns(), (10, 46, 39)).map_blocks(lambda block: block + 1)
    background = np.arange(46.0 * 39).reshape(46, 39)
    expected = preprocess.hit_scores(patterns() + 1, background)
    ran = []
    with dask.config.set(scheduler="synchronous"), Callback(posttask=lambda key, *_: ran.append(key)):
        np.testing.assert_array_equal(preprocess.hit_scores(stack, background), expected)
    assert len(ran) >= 6


def test_distributed_scheduler():
    da, distributed = pytest.importorskip("dask.array"), pytest.importorskip("distributed")
    stack = da.from_array(patterns(), (10, 46, 39))
    background = np.random.default_rng(2).random((46, 39))
    with distributed.LocalCluster(1, threads_per_worker=2, processes=False, dashboard_address=None) as cluster, \
            distributed.Client(cluster):
        for options in ({}, {"method": "pearson", "radii_range": [22, 19, 2, 18]}):
            found = preprocess.hit_scores(stack, background, **options)
            np.testing.assert_array_equal(found, preprocess.hit_scores(patterns(), background, **options))
        np.testing.assert_array_equal(together(stack), patterns())
        assert _stacks.per_frame(_worker_of, stack).tolist() == [True] * 53


# ---------------------------------------------------------------------------------------------------- what uses them


STACKS = ["list", "memory map", "contiguous", "tiles", "Bitshuffle", "lzf", "dask", "sliced"]


@pytest.fixture
def stack_of(hdf5, tmp_path):
    def make(kind, data, mode="r"):
        if kind == "list":
            return data.tolist()
        if kind == "memory map":
            np.save(tmp_path / "map.npy", data)
            return np.load(tmp_path / "map.npy", mmap_mode=mode)
        if kind == "dask":
            return pytest.importorskip("dask.array").from_array(data, (7, 46, 39))
        return Sliced(data) if kind == "sliced" else hdf5(data, mode, **(CONTIGUOUS | CHUNKED)[kind])

    return make


@pytest.mark.parametrize("kind", STACKS)
def test_results_equal_those_of_the_call_in_memory(stack_of, kind):
    data = patterns("f8")
    data[::4] *= np.linspace(1, 3, 39)
    data[5, 6, 7] = np.nan
    stack = stack_of(kind, data)
    background = np.random.default_rng(3).random(SHAPE[1:])
    mask = np.random.default_rng(4).random(SHAPE[1:]) < 0.1
    for radii in (None, [22.5, 19, 3, 18], [None, None, 3, 18]):
        for function in (preprocess.hit_find, preprocess.hit_find_pearson):
            np.testing.assert_array_equal(function(stack, background, radii, mask), function(data, background, radii, mask))
        for method in ("chi2", "pearson"):
            np.testing.assert_array_equal(preprocess.hit_scores(stack, background, radii, mask, method=method),
                                          preprocess.hit_scores(data, background, radii, mask, method=method))
    for statistic in ("mean", "median", "clipped"):
        np.testing.assert_array_equal(radp.radial_profile_stack(stack, (22.5, 19), mask, statistic=statistic),
                                      radp.radial_profile_stack(data, (22.5, 19), mask, statistic=statistic))
    adu, photons = preprocess.adu2photon(stack, mask)
    assert adu == preprocess.adu2photon(data, mask, transfer=False)
    assert photons.shape == SHAPE


@pytest.mark.parametrize("kind", ["memory map", "contiguous", "tiles", "Bitshuffle", "lzf"])
def test_repair_in_the_file(stack_of, kind):
    data = patterns("i4")
    artifacts = np.random.default_rng(5).random(SHAPE[1:]) < 0.05
    expected = preprocess.fix_artifact(data.copy(), (22.5, 19), artifacts)
    assert (expected != data).any()
    for function, arguments in ((preprocess.fix_artifact, ((22.5, 19), artifacts)),
                                (preprocess.fix_artifact_auto, ((22.5, 19), 1, None, 20))):
        expected = function(data.copy(), *arguments)
        stack = stack_of(kind, data, "r+")
        assert function(stack, *arguments) is stack
        np.testing.assert_array_equal(stack[...], expected)
        np.testing.assert_array_equal(together(stack), expected)


@pytest.mark.parametrize("kind", ["memory map", "contiguous", "Bitshuffle", "dask"])
def test_repair_of_what_is_read_only(stack_of, hdf5, kind):
    data = patterns("i4")
    artifacts = np.random.default_rng(5).random(SHAPE[1:]) < 0.05
    stack = stack_of(kind, data)
    with pytest.raises(ValueError, match=r"dataset cannot be written: .*give out= an array or data set of shape"):
        preprocess.fix_artifact(stack, (22.5, 19), artifacts)
    target = hdf5(np.zeros_like(data), "r+", chunks=(10, 46, 39))
    for out in (np.zeros_like(data), target):
        assert preprocess.fix_artifact(stack, (22.5, 19), artifacts, out=out) is out
        np.testing.assert_array_equal(out[...], preprocess.fix_artifact(data.copy(), (22.5, 19), artifacts))
    if kind != "dask":
        np.testing.assert_array_equal(stack[...], data)


# ---------------------------------------------------------------------------------------------------- manners


def test_blocks_are_bounded_and_one_is_read_ahead():
    stack = Sliced(patterns("f4"))
    opened = _stacks.open_stack(stack)
    assert opened.rows * 46 * 39 * 4 <= _stacks.READ_BYTES
    stack.asked.clear()
    for number, _ in enumerate(_stacks.blocks(opened)):
        time.sleep(0.02)
        assert len(stack.asked) == min(number + 2, -(-53 // opened.rows))


def test_giving_up_stops_reading():
    stack = Sliced(patterns("f4"))
    before = threading.active_count()
    for number, _ in enumerate(_stacks.blocks(stack)):
        if number == 2:
            break
    for _ in range(100):
        if threading.active_count() == before:
            break
        time.sleep(0.02)
    assert threading.active_count() == before
    assert len(stack.asked) <= 5  # one for the dtype, three blocks, and the one ahead


def test_errors_of_reading_arrive():
    class Broken(Sliced):
        def __getitem__(self, where):
            if where.start >= 20:
                raise OSError("disk on fire")
            return self.data[where]

    with pytest.raises(OSError, match="disk on fire"):
        together(Broken(patterns()))


@pytest.mark.parametrize(("make", "error", "message"), [
    (lambda: 5, ValueError, "dataset must be a stack of patterns, of shape (patterns, rows, columns), not of shape ()"),
    (lambda: np.ones((3, 4)), ValueError, "give one pattern as dataset[None]"),
    (lambda: np.ones((2, 3, 4, 5)), ValueError, "not of shape (2, 3, 4, 5)"),
    (lambda: np.ones((2, 0, 4)), ValueError, "dataset is empty (shape (2, 0, 4))"),
    (lambda: [[["a"]]], TypeError, "dataset must hold real numbers, not <U1"),
    (lambda: np.ones((1, 2, 2), complex), TypeError, "dataset must hold real numbers, not complex128"),
])
def test_bad_stacks(make, error, message):
    with pytest.raises(error) as raised:
        together(make())
    assert message in str(raised.value)


def run(code, timeout=120, **options):
    return subprocess.run([sys.executable, "-c", textwrap.dedent(code)], capture_output=True, text=True, check=False,
                          timeout=timeout, cwd=ROOT, **options)


def test_bar_on_a_terminal_only(monkeypatch, capsys):
    class Slow(Sliced):
        def __getitem__(self, where):
            time.sleep(0.2)
            return self.data[where]

    together(Slow(patterns()), progress=True)
    assert capsys.readouterr().err == ""
    monkeypatch.setattr(sys.stderr, "isatty", lambda: True, raising=False)
    together(Slow(patterns()), progress=True)
    assert "53" in capsys.readouterr().err
    together(Slow(patterns()), progress=False)
    together(patterns(), progress=True)  # too quick for one
    assert capsys.readouterr().err == ""


@pytest.mark.skipif(os.name != "posix", reason="signals")
def test_stops_at_ctrl_c():
    code = """
        import signal, time, numpy as np
        from edfast.image import hit_scores

        # Whoever starts the tests in the background may have it ignored.
        signal.signal(signal.SIGINT, signal.default_int_handler)

        class Slow:
            shape = (100_000, 100, 100)
            def __getitem__(self, where):
                time.sleep(0.05)
                return np.ones((len(range(*where.indices(100_000))), 100, 100))

        background = np.arange(10_000.0).reshape(100, 100)
        hit_scores(np.ones((2, 100, 100)), background)
        print("ready", flush=True)
        try:
            hit_scores(Slow(), background)
        except KeyboardInterrupt:
            print("stopped", flush=True)
    """
    process = subprocess.Popen([sys.executable, "-c", textwrap.dedent(code)], stdout=subprocess.PIPE, stderr=subprocess.PIPE,
                               text=True, cwd=ROOT)
    assert process.stdout.readline() == "ready\n"
    time.sleep(0.5)
    start = time.perf_counter()
    process.send_signal(signal.SIGINT)
    out, error = process.communicate(timeout=30)
    assert (out, error, process.returncode) == ("stopped\n", "", 0)
    assert time.perf_counter() - start < 5


@pytest.mark.skipif(not hasattr(mmap, "MADV_DONTNEED") or not Path("/proc/self/status").exists(), reason="Linux only")
@pytest.mark.parametrize("options", [{}, {"chunks": (4, 512, 512)}, {"chunks": (4, 512, 512), "compression": "bitshuffle"}])
def test_memory_is_bounded(tmp_path, options):
    """A file of 384 MB, most of it read twice: what the process holds on top of its libraries is a few blocks."""
    options = dict(options)
    compressed = hdf5plugin.Bitshuffle() if options.pop("compression", None) else {}
    frame = np.random.default_rng(0).poisson(10, (8, 512, 512)).astype(np.uint16)
    with h5py.File(tmp_path / "big.h5", "w") as file:
        stack = file.create_dataset("x", (768, 512, 512), "u2", **options, **compressed)
        for start in range(0, 768, 8):
            stack[start:start + 8] = frame + np.uint16(start % 7)
    found = run(f"""
        import re, h5py, hdf5plugin, numpy as np
        from edfast.image import hit_scores, radial_profile_stack
        background = np.random.default_rng(0).random((512, 512))

        def peak():
            return int(re.search(r"VmHWM:\\s*(\\d+) kB", open("/proc/self/status").read()).group(1)) / 1024

        def work(stack):
            hit_scores(stack, background, [None, None, 10, 200])
            radial_profile_stack(stack, (255.5, 255.5))

        work(np.random.default_rng(1).poisson(9, (4, 512, 512)).astype(np.uint16))
        before = peak()
        with h5py.File({str(tmp_path / "big.h5")!r}) as file:
            work(file["x"])
        print(peak() - before)
    """)
    assert found.returncode == 0, found.stderr
    assert float(found.stdout) < 160
