"""Which files of a folder are new and complete: by looking, because network shares send no events.

A `FolderWatch` has no clock and never sleeps: whoever uses it passes the time [s] of any clock that only goes forward.
"""

import fnmatch
import os
import re
import stat
from collections import deque
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import islice

from ._validation import as_number

BEHIND = 1.0            # seconds that a complete file may wait for its turn before the newest goes first
PATIENCE = 30.0         # seconds after its last change for which a file that cannot be read is tried again,
_LONGEST_PAUSE = 4.0    # with growing pauses
_COARSE = 2.0           # seconds: the coarsest times of files in use (FAT)
_LISTED_ANYWAY = 5.0    # seconds: some shares tell late, or never, that a folder has changed
_RECENT = 100           # so many of the last files are looked at in each round, to see whether they have changed,
_CHECKED = 128          # and so many of all others


@dataclass(slots=True)
class Candidate:
    """A file that is new or has changed, and is not done yet."""

    name: str
    since: float                # since when it has not changed
    stamp: tuple | None = None
    frames: int = 0             # how many of its frames are done, perhaps before it changed,
    last: int = 0               # and a digest of the last one
    due: float = 0.0            # when to try it (again)
    ready: float | None = None  # since when it waits for its turn; None: not complete
    tries: int = 0
    error: str = ""
    order: int = 0              # its number in the order of arrival; 0 as long as it is not complete
    late: bool = False          # a newer one had its turn before


class FolderWatch:
    """Files of a folder, as they become complete.

    A file is complete when its size and time of change stay the same for `settle` seconds (two where the times are whole
    seconds, which hide changes) and its reader is content; otherwise it is tried again for half a minute. Folders, hidden
    files and PONI files are never taken. A file that changes after it was done is taken again: at once if it is one of the
    last hundred or the folder is small, otherwise when its turn to be looked at has come.

    Parameters
    ----------
    folder : str or path-like
        Not its subfolders.
    pattern : str, optional
        Only files with such names; ``*``, ``?`` and ``[]`` as in the shell.
    existing : bool, optional
        Take the files that are there at the first look too.
    settle : float, optional
        [s]
    skip : bool, optional
        When behind, leave the older files out; otherwise they are done when there is nothing new.
    """

    def __init__(self, folder, pattern="*", *, existing=False, settle=0.2, skip=False):
        self.folder, self._skip, self._existing = os.fspath(folder), skip, existing
        self._settle = as_number(settle, "settle", minimum=0, unit="of seconds")
        self._wanted = re.compile(fnmatch.translate(pattern)).match
        self._done = {}         # name -> digest of its stamp; None: there from the start, and not looked at yet
        self._open = {}         # name -> Candidate
        self._unwanted = set()
        self._fresh: deque[Candidate] = deque()
        self._late: list[Candidate] = []
        self._recent = {}       # name -> `frames` and `last` of its candidate
        self._others: Iterator[str] = iter(())
        self._listed_at, self._folder_stamp, self._stamp_since = None, None, 0.0
        self._arrived = self._newest = 0
        self.skipped = self.vanished = 0

    @property
    def backlog(self):
        """How many complete files wait for their turn."""
        return len(self._fresh) + len(self._late)

    @property
    def unread(self):
        """The candidates that could not be read so far."""
        return [one for one in self._open.values() if one.error]

    def look(self, now):
        """One round: what is new, what has changed, what is complete. OSError if the folder cannot be read."""
        if self._must_list(now):
            self._list(now, os.listdir(self.folder))  # noqa: PTH208 (names, without making Paths)
        self._check_done(now)
        self._check_open(now)

    def take(self, now):
        """The `Candidate` whose turn it is, or None; it is to be handed back to `done` or `again`.

        In the order of arrival as long as none waits for more than a second, otherwise the newest first.
        """
        if self._fresh and now - self._fresh[0].ready > BEHIND:
            newest = self._fresh.pop()
            self._leave_behind()
            self._fresh.append(newest)
        if not self._fresh:
            return self._late.pop() if self._late else None
        one = self._fresh.popleft()
        self._newest = max(self._newest, one.order)
        return one

    def unchanged(self, one):
        """Whether the file is still what it was when it was found complete: to be asked after reading it."""
        return self._stamp(one.name) == one.stamp

    def done(self, one):
        """The file was read to its end."""
        self._open.pop(one.name, None)
        self._done[one.name] = hash(one.stamp)
        self._recent.pop(one.name, None)
        self._recent[one.name] = one.frames, one.last
        if len(self._recent) > _RECENT:
            del self._recent[next(iter(self._recent))]

    def again(self, one, now, error=""):
        """The file could not be read, or (no error) changed meanwhile. True if it is given up until it changes."""
        one.error = error
        if error and now - one.since > PATIENCE:
            self.done(one)
            return True
        one.due = now + min(self._settle * 2**one.tries, _LONGEST_PAUSE)
        one.tries += 1
        one.ready = None
        return False

    def _must_list(self, now):
        """Whether names may have come since the last time: listing 100 000 takes 40 ms, this look 2 microseconds."""
        found = os.stat(self.folder)  # noqa: PTH116 (ten times a second, without making a Path)
        stamp = found.st_mtime_ns, found.st_ino, found.st_dev
        if stamp != self._folder_stamp:
            self._folder_stamp, self._stamp_since = stamp, now
        # What comes within the same tick of the folder's time, after a listing, would not show.
        return (self._listed_at is None or self._listed_at <= self._stamp_since + _COARSE
                or now - self._listed_at >= _LISTED_ANYWAY)

    def _list(self, now, names):
        take_all = self._existing or self._listed_at is not None
        for name in names:
            if name in self._done or name in self._open or name in self._unwanted:
                continue
            if name.startswith(".") or name.lower().endswith(".poni") or not self._wanted(name):
                self._unwanted.add(name)
            elif take_all:
                self._open[name] = Candidate(name, now)
            else:
                self._done[name] = None
        # An empty folder may be a share that is not mounted at the moment.
        if names and len(names) < len(self._done) + len(self._open) + len(self._unwanted):
            there = set(names)
            self._unwanted &= there
            self._done = {name: digest for name, digest in self._done.items() if name in there}
            self._recent = {name: frames for name, frames in self._recent.items() if name in there}
        self._listed_at = now

    def _check_done(self, now):
        """Look whether files have changed that were done, or there from the start: the last ones, and others in turn."""
        if not (others := list(islice(self._others, _CHECKED))):
            self._others = iter(list(self._done))
            others = list(islice(self._others, _CHECKED))
        for name in {*self._recent, *others}:
            if name not in self._done or name in self._open or not (stamp := self._stamp(name)):
                continue
            before = self._done[name]
            if before is None:
                self._done[name] = hash(stamp)
            elif before != hash(stamp):
                del self._done[name]
                frames, last = self._recent.get(name, (0, 0))
                self._open[name] = Candidate(name, now, stamp, frames, last, now + self._calm(stamp))

    def _check_open(self, now):
        """Look which candidates have become complete: they queue in the order of their times."""
        complete = []
        for one in list(self._open.values()):
            if one.ready is not None:
                continue
            stamp = self._stamp(one.name)
            if stamp is None:
                del self._open[one.name]
                self.vanished += bool(one.order)
            elif not stamp:
                del self._open[one.name]
                self._unwanted.add(one.name)
            elif stamp != one.stamp:
                one.stamp, one.since, one.due, one.tries, one.order = stamp, now, now + self._calm(stamp), 0, 0
            elif now >= one.due:
                complete.append(one)
        for one in sorted(complete, key=lambda one: (one.stamp[1], one.name)):
            self._queue(one, now)

    def _queue(self, one, now):
        if not one.order:
            self._arrived += 1
            one.order = self._arrived
        one.ready = now
        one.late = one.order < self._newest
        (self._late if one.late else self._fresh).append(one)

    def _leave_behind(self):
        for one in self._fresh:
            one.late = True
            if self._skip:
                self.skipped += 1
                self.done(one)
            else:
                self._late.append(one)
        self._fresh.clear()

    def _calm(self, stamp):
        """For how long a file with this stamp must stay as it is."""
        return self._settle if stamp[1] % 1_000_000_000 else max(self._settle, _COARSE)

    def _stamp(self, name):
        """What changes with the file; () if it is no regular file, None if there is none."""
        try:
            found = os.stat(os.path.join(self.folder, name))  # noqa: PTH116, PTH118 (hundreds of them, without making Paths)
        except OSError:
            return None
        return (found.st_size, found.st_mtime_ns, found.st_ino) if stat.S_ISREG(found.st_mode) else ()
