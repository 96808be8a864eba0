"""The centre of each new file of a folder, while it is being filled: what `edfast track` does."""

import os
import signal
import threading
import time
from collections import Counter
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass
from datetime import datetime
from itertools import count, islice
from pathlib import Path

from . import __version__
from ._files import check_not_input
from ._recalibrate import read_mask
from ._results import TrackResult
from ._validation import as_number
from ._watch import FolderWatch
from .geometry import beam_center, fit_binning, poni_with_center, read_poni, write_poni

NEWEST = "newest.poni"
COLUMNS = ("time", "cx", "cy", "cx_err", "cy_err", "flags", "latency", "frame", "file")
_POLL = 0.1             # seconds from one look at the folder to the next,
_SHARE = 5              # or so many times what a look takes: at most a fifth of a core
_SLICE = 0.1            # seconds that a signal may have to wait
_WHOLE = 1 << 26        # bytes: smaller files are read in one go


@dataclass(frozen=True, slots=True)
class Tracked:
    """One frame that was done.

    Attributes
    ----------
    number : int
        1 for the first one of the session.
    order, frame : int
        Number of its file in the order of arrival, and its own number in the file: their order is that of the acquisition.
    name : str
        Of the file.
    result : TrackResult
        Centre, errors, flags.
    late : bool
        Whether it was done after a newer one.
    time, latency : float
        When it was done [s since 1970], and how long after its file was last seen to change [s].
    """

    number: int
    order: int
    frame: int
    name: str
    result: TrackResult
    late: bool
    time: float
    latency: float

    @property
    def flags(self):
        """``ok``, or any of ``lost``, ``jumped`` and ``late``, with commas."""
        return ",".join(name for name, is_so in (("lost", self.result.lost), ("jumped", self.result.jumped),
                                                 ("late", self.late)) if is_so) or "ok"

    def line(self):
        """The columns of `COLUMNS`, with tabs between them."""
        when = datetime.fromtimestamp(self.time).astimezone().isoformat(timespec="milliseconds")
        result, name = self.result, self.name.encode("unicode_escape").decode() if not self.name.isprintable() else self.name
        return "\t".join([when, f"{result.cx:.4f}", f"{result.cy:.4f}", f"{result.cx_err:.4f}", f"{result.cy_err:.4f}",
                          self.flags, f"{self.latency:.3f}", str(self.frame), name])


class Session:
    """The trackers of a session, what it has counted, and where it writes; see `track`."""

    def __init__(self, watch, *, mask=None, radius=None, warn=print, clock=time.monotonic, wait=time.sleep):
        self.watch, self._warn, self._clock, self._wait = watch, warn, clock, wait
        self._options = {"mask": mask, "radius": radius}
        # Frames that come late have a tracker of their own: they must not lead the other one astray.
        self._trackers = {}
        self._counts = Counter(frames=0, files=0, lost=0, jumped=0, late=0, failed=0)
        self._said, self._next_look = None, 0.0
        self.stopped = False

    @property
    def counts(self):
        """How many frames, files, lost, jumped, late, failed, skipped, vanished, and waiting there are."""
        return dict(self._counts, skipped=self.watch.skipped, vanished=self.watch.vanished, waiting=self.watch.backlog)

    def stop(self):
        """End after the frame that is in work."""
        self.stopped = True

    def warn(self, text):
        """Say it, unless it was the last thing that was said."""
        if text != self._said:
            self._said = text
            self._warn(text)

    def run(self):
        """Generator of (`Tracked`, image, fit): one frame after the other until `stop`."""
        while not self.stopped:
            self._look()
            while not self.stopped and (one := self.watch.take(self._clock())):
                for found in self._file(one):
                    yield found
                    self._look_if_due()
                self._look_if_due()
            while not self.stopped and (left := self._next_look - self._clock()) > 0:
                self._wait(min(left, _SLICE))
        for one in self.watch.unread:
            self._failed(one.error)

    def _look_if_due(self):
        if self._clock() >= self._next_look:
            self._look()

    def _look(self):
        """One look at the folder."""
        start = self._clock()
        try:
            self.watch.look(start)
        except OSError as error:
            # A share that is away for a minute comes back.
            self.warn(f"folder {self.watch.folder} cannot be read ({error.strerror or error}); waiting for it")
        end = self._clock()
        self._next_look = end + max(_POLL, _SHARE * (end - start))

    def _file(self, one):
        path = os.path.join(self.watch.folder, one.name)  # noqa: PTH118 (names that are no unicode stay as they are)
        frames = _new_frames(path, one)
        while True:
            try:
                number, image = next(frames, (None, None))
                changed = not self.watch.unchanged(one)
            except Exception as error:
                # A corrupt file can raise anything.
                if self.watch.again(one, self._clock(), _one_line(error)):
                    self._failed(one.error)
                return
            if changed:
                self.watch.again(one, self._clock())
                return
            if number is None:
                break
            try:
                tracked, fit = self._frame(one, number, image)
            except (ValueError, TypeError) as error:
                self._failed(f"{path}: {_one_line(error)}")
                break
            yield tracked, image, fit
            one.frames, one.last = number + 1, _digest(image)
            if self.stopped:
                return
        self._counts["files"] += 1
        self.watch.done(one)

    def _frame(self, one, number, image):
        tracker = self._trackers.get(one.late)
        if tracker is None or tracker.shape != image.shape:
            from .tracking import CenterTracker

            tracker = self._trackers[one.late] = CenterTracker(image.shape, **self._options)
        result = tracker.update(image)
        self._counts["frames"] += 1
        self._counts.update(lost=result.lost, jumped=result.jumped, late=one.late)
        name = one.name.encode(errors="surrogateescape").decode(errors="backslashreplace")
        return Tracked(self._counts["frames"], one.order, number, name, result, one.late, time.time(),
                       self._clock() - one.since), tracker.fit

    def _failed(self, error):
        self._counts["failed"] += 1
        self.warn(error)


def _new_frames(path, one):
    """Generator of (number, image): those that were appended, if the last one that is done is still there; otherwise all."""
    if one.frames:
        frames = frames_of(path, one.frames - 1)
        _, last = next(frames, (0, None))
        if last is not None and _digest(last) == one.last and (appended := next(frames, None)):
            yield appended
            yield from frames
            return
    yield from frames_of(path)


def _digest(image):
    """Of a few thousand pixels: two frames of a detector never agree in them."""
    return hash((image.shape, image.reshape(-1)[::max(1, image.size // 4096)].tobytes()))


def frames_of(path, first=0):
    """Generator of (number, image) of a file's frames from number `first` on.

    Of large files and of HDF5 (whose size says little) there is never more than one frame in the memory.
    """
    from ._dm import NoSuchFrameError
    from .filereader import load_data

    with Path(path).open("rb") as file:
        whole = os.fstat(file.fileno()).st_size <= _WHOLE and file.read(4) != b"\x89HDF"
    if whole:
        images = load_data(path, verbose=False)[1]
        yield from islice(enumerate(images if images.ndim == 3 else [images]), first, None)
        return
    with suppress(NoSuchFrameError):
        for number in count(first):
            yield number, load_data(path, verbose=False, frame=number)[1]


def track(folder, ponifile, output=".", *, mask=None, radius=None, pattern="*", existing=False, settle=0.2, skip=False,
          each=False, serve=None, host="127.0.0.1", say=print, warn=print):
    """Follow the centre in the new files of a folder until a signal comes, as `edfast track` does.

    `say` gets the lines of the table, `warn` all other lines. What cannot work is raised before anything is written.
    """
    poni, output = read_poni(ponifile), Path(output)
    if not Path(folder).is_dir():
        raise NotADirectoryError(f"there is no folder {folder} to watch")
    radius = None if radius is None else as_number(radius, "radius", above=0, unit="of pixels")
    watch = FolderWatch(folder, pattern, existing=existing, settle=settle, skip=skip)
    check_not_input(output / NEWEST, ponifile, mask)
    page = None

    def tell(text):
        warn(text)
        if page:
            page.trouble(text)

    session = Session(watch, mask=None if mask is None else read_mask(mask), radius=radius, warn=tell)
    start = time.monotonic()
    with ExitStack() as stack:
        if serve is not None:
            from ._serve import Page

            page = stack.enter_context(Page(host, serve, folder=os.fspath(folder), counts=lambda: session.counts))
            warn(f"page: {page.address}{' (for everybody who reaches this address)' if page.is_public else ''}")
        stack.enter_context(_stopping(session))
        watch.look(time.monotonic())
        warn(f"watching {folder} for new files; Ctrl-C ends it")
        with suppress(BrokenPipeError):
            say("\t".join(COLUMNS))
            for tracked, image, fit in session.run():
                say(tracked.line())
                beam = None
                try:
                    fitting = fit_binning(poni, image.shape)
                    beam = beam_center(fitting)
                    _write(tracked, fitting, output, each, ponifile)
                except (OSError, ValueError) as error:
                    # The centre is known all the same, and the next frame may be luckier.
                    session.warn(_one_line(error))
                if page:
                    page.publish(tracked, image, fit, beam)
    warn(_summary(session.counts, time.monotonic() - start))


def _write(tracked, poni, output, each, source):
    """The PONI file of the newest frame, and one of its own for each if that is wanted; none where the centre is lost."""
    if tracked.result.lost:
        return
    moved, comment = poni_with_center(poni, *tracked.result.center), _origin(tracked, source)
    if each:
        path = output / (f"{tracked.name}.poni" if tracked.frame == 0 else f"{tracked.name}_frame{tracked.frame}.poni")
        check_not_input(path, source)
        write_poni(path, moved, comment=comment)
    if not tracked.late:
        write_poni(output / NEWEST, moved, comment=comment)


def _origin(tracked, source):
    result = tracked.result
    return (f"Beam centre (column, row) = ({result.cx:.4f} +- {result.cx_err:.4f}, {result.cy:.4f} +- {result.cy_err:.4f}) "
            f"pixel, found in {tracked.name}, frame {tracked.frame}\n"
            f"by edfast {__version__} track: convention pyfai, flags {tracked.flags}\n"
            f"Distance and tilts from {os.fsdecode(source)}")


def _summary(counts, seconds):
    texts = {"lost": "lost", "jumped": "jumped", "late": "late", "skipped": "skipped", "vanished": "gone before their turn",
             "failed": "failed", "waiting": "still waiting"}
    extras = [f"{counts[name]} {text}" for name, text in texts.items() if counts[name]]
    return (f"{counts['frames']} frames of {counts['files']} files in {seconds:.1f} s"
            f"{': ' if extras else ''}{', '.join(extras)}")


@contextmanager
def _stopping(session):
    """SIGINT and SIGTERM stop the session after the frame in work; a second one does what it always does."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    before = {number: signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)}

    def restore():
        for number, handler in before.items():
            signal.signal(number, handler)

    def stop(*_):
        session.stop()
        restore()

    for number in before:
        signal.signal(number, stop)
    try:
        yield
    finally:
        restore()


def _one_line(error):
    return " ".join(str(error).split()) or type(error).__name__
