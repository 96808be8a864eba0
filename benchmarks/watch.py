"""What `edfast track` costs: `python -m benchmarks.watch`.

A folder of 100 000 files that is looked at ten times a second; memory over many frames; how long after a file was written its
centre is known, with and without somebody who looks at the page; the parts of the page.
"""

import argparse
import http.client
import json
import os
import resource
import statistics
import tempfile
import threading
import time
import tracemalloc
from pathlib import Path

import numpy as np

from edfast import _track
from edfast._results import TrackResult
from edfast._serve import Page, encode
from edfast._track import Session
from edfast._watch import FolderWatch
from edfast.simulate import BeamStop, ring_pattern, write_dm4
from edfast.tracking import CenterTracker


def main():
    """Run all parts, or those that are named."""
    parts = {"folder": large_folder, "memory": memory, "latency": latency, "page": page_parts}
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("parts", nargs="*", choices=[*parts, []], default=list(parts))
    for name in parser.parse_args().parts:
        with tempfile.TemporaryDirectory() as folder:
            parts[name](Path(folder))


def large_folder(folder, files=100_000):
    """Time of a look at a folder with so many files, and what is kept of their names."""
    for number in range(files):
        (folder / f"series_0001_image_{number:06}.dm4").touch()
    tracemalloc.start()
    watch = FolderWatch(folder)
    start = time.perf_counter()
    watch.look(0)
    first = time.perf_counter() - start
    kept = tracemalloc.get_traced_memory()[0]
    tracemalloc.stop()
    idle, full, now = [], [], 1000.0
    for number in range(50):
        now += 10 if number % 5 == 0 else 0.1       # the folder is listed anyway every few seconds
        before = watch._listed_at
        start = time.perf_counter()
        watch.look(now)
        (idle if watch._listed_at == before else full).append(time.perf_counter() - start)
    busy = []
    for number in range(20):
        (folder / f"new_{number}.dm4").write_bytes(b"x")
        start = time.perf_counter()
        watch.look(now + 0.1 * number)
        busy.append(time.perf_counter() - start)
    print(f"{files} files: first look {first * 1e3:.0f} ms (traced), idle look {_ms(idle)}, with a listing {_ms(full)}, "
          f"while files arrive {_ms(busy)}; {kept / 2**20:.0f} MiB kept")


def memory(folder, frames=20_000):
    """Growth of the process over so many files that come, are done and go."""

    class Quick:
        def __init__(self, shape, **_):
            self.shape, self.fit = shape, None

        def update(self, frame):
            return TrackResult(1.0, 2.0, 0.1, 0.1, False, False, 1e-4)

    import edfast.tracking

    edfast.tracking.CenterTracker = Quick
    pixels, written = np.zeros((64, 64), np.float32), 0
    session = Session(FolderWatch(folder, settle=0), wait=lambda seconds: feed(min(200, frames - written)))

    def feed(count):
        nonlocal written
        if session.counts["files"] < written:
            return
        for path in folder.iterdir():
            path.unlink()
        for number in range(written, written + count):
            write_dm4(folder / f"{number:06}.dm4", pixels)
        written += count
        if not count:
            session.stop()

    session.watch.look(0)
    sizes = []
    with Page("127.0.0.1", 0, folder="x", counts=lambda: session.counts) as page:
        for done, (tracked, image, fit) in enumerate(session.run()):
            page.publish(tracked, image, fit)
            if done % (frames // 4) == frames // 8:
                sizes.append(_resident())
    print(f"{frames} frames: {', '.join(f'{size:.1f}' for size in sizes)} MiB resident after 1, 3, 5 and 7 eighths; "
          f"{session.counts['frames']} done")


def latency(folder, frames=40, rate=5.0, size=2048):
    """From the end of writing to the result, for files of `size`^2 float32 at `rate` a second."""
    images = [ring_pattern((size, size), (size / 2 + 3 + 0.1 * k, size / 2 - 5), [0.15 * size, 0.25 * size, 0.35 * size],
                           beamstop=BeamStop(60), random_state=k)[0].astype(np.float32) for k in range(4)]
    tracker = CenterTracker((size, size))
    for image in images:        # compiled
        tracker.update(image)
    for viewers in (0, 1, 4):
        watched = folder / str(viewers)
        watched.mkdir()
        ended, delays, fits = {}, [], []

        def feed(watched=watched, ended=ended):
            for number in range(frames):
                write_dm4(watched / f"{number}.dm4", images[number % 4])
                ended[f"{number}.dm4"] = time.perf_counter()
                time.sleep(1 / rate)

        session = Session(FolderWatch(watched))
        session.watch.look(time.monotonic())
        with Page("127.0.0.1", 0, folder="x", counts=lambda session=session: session.counts) as page:
            lookers = [threading.Thread(target=_look, args=(page, session)) for _ in range(viewers)]
            feeder = threading.Thread(target=feed)
            for thread in (feeder, *lookers):
                thread.start()
            for tracked, image, fit in session.run():
                delays.append(time.perf_counter() - ended[tracked.name])
                fits.append(tracked.result.latency)
                page.publish(tracked, image, fit)
                if len(delays) == frames:
                    session.stop()
            for thread in (feeder, *lookers):
                thread.join()
        print(f"{size}^2 at {rate:g}/s, {viewers} looking: from written to known {_ms(delays[4:])}, of it {_ms(fits[4:])} the "
              f"fit (a file has to settle for 200 ms, and is looked at every {1e3 * _track._POLL:.0f} ms)")


def page_parts(folder):
    """Time to make the picture and the state."""
    for size in (512, 2048, 4096):
        image = ring_pattern((size, size), random_state=0, radii=[0.3 * size])[0].astype(np.float32)
        png = encode(image)[0]
        times = _repeat(lambda image=image: encode(image))
        print(f"picture of {size}^2: {_ms(times)}, {len(png) / 1e3:.0f} kB")
    result = TrackResult(1234.56789, 987.654321, 0.01, 0.01, False, False, 1e-4)
    with Page("127.0.0.1", 0, folder="x", counts=dict) as page:
        for number in range(1, 1001):
            page.publish(_track.Tracked(number, number, 0, f"image_{number}.dm4", result, False, time.time(), 0.2), None, None)
        full = json.dumps(page.state())
        print(f"state: {_ms(_repeat(lambda: json.dumps(page.state(997))))}; at the beginning {len(full) / 1e3:.0f} kB, "
              f"{_ms(_repeat(lambda: json.dumps(page.state())))}")


def _look(page, session):
    """What the page's script does, twice a second."""
    after = 0
    while not session.stopped:
        connection = http.client.HTTPConnection("127.0.0.1", page.port)
        connection.request("GET", f"/state?after={after}")
        state = json.loads(connection.getresponse().read())
        connection.request("GET", "/frame.png")
        connection.getresponse().read()
        connection.close()
        after = state["newest"] or 0
        time.sleep(0.5)


def _repeat(work, times=15):
    found = []
    for _ in range(times):
        start = time.perf_counter()
        work()
        found.append(time.perf_counter() - start)
    return found


def _ms(seconds):
    ordered = sorted(seconds)
    return f"{statistics.median(ordered) * 1e3:.2f} ms (p95 {ordered[int(0.95 * (len(ordered) - 1))] * 1e3:.2f})"


def _resident():
    statm = Path("/proc/self/statm")
    if not statm.exists():
        return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    return int(statm.read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE") / 2**20


if __name__ == "__main__":
    main()
