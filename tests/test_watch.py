"""`edfast track`: which files are new and complete, in which order they are done, and what is written and said of them."""

import itertools
import os
import signal
import subprocess
import sys
import threading
import time
import types

import h5py
import mrcfile
import numpy as np
import pytest
from click.testing import CliRunner

from edfast import _track, _watch
from edfast._results import TrackResult
from edfast._track import COLUMNS, NEWEST, Session, Tracked, frames_of, track
from edfast._watch import PATIENCE, FolderWatch
from edfast.cli import main
from edfast.geometry import Poni, beam_center, read_poni, write_poni
from edfast.simulate import ring_pattern, write_dm4

PONI = Poni(0.25, 0.001, 0.0012, 0.002, -0.001, 0.004, 2.5e-12, 1e-5, 1e-5, (256, 256), 2)
TICK = itertools.count(1_700_000_000_000_000_007, 1_000_003)


def touch(path, content=b"x", when=None):
    """A file whose time of change is new (not whole seconds), or the one given [ns]."""
    path.write_bytes(content)
    stamp = next(TICK) if when is None else when
    os.utime(path, ns=(stamp, stamp))
    return path


def taken(watch, now):
    """Names of all files whose turn it is, after one look; they are done then."""
    watch.look(now)
    names = []
    while one := watch.take(now):
        names.append(one.name)
        watch.done(one)
    return names


def looks(watch, *times):
    """Names that were taken at any of these times."""
    return [name for now in times for name in taken(watch, now)]


# -------------------------------------------------------------------------------------------------- what is complete


def test_files_that_are_there_are_left_alone_unless_asked_for(tmp_path):
    touch(tmp_path / "old")
    watch, eager = FolderWatch(tmp_path), FolderWatch(tmp_path, existing=True)
    assert looks(watch, 0, 1, 2) == []
    assert looks(eager, 0, 1, 2) == ["old"]


def test_a_new_file_is_taken_once_when_it_has_settled(tmp_path):
    watch = FolderWatch(tmp_path, settle=0.2)
    assert taken(watch, 0) == []
    touch(tmp_path / "a")
    assert [taken(watch, now) for now in (0.1, 0.2, 0.29, 0.31, 0.4, 9)] == [[], [], [], ["a"], [], []]


def test_a_growing_file_is_waited_for(tmp_path):
    watch = FolderWatch(tmp_path, settle=0.2)
    taken(watch, 0)
    for step in range(8):
        touch(tmp_path / "a", bytes(100 * (step + 1)))
        assert taken(watch, 0.15 * (step + 1)) == []
    assert looks(watch, 1.3, 1.41) == ["a"]


def test_a_file_that_is_renamed_in_is_taken_under_its_name(tmp_path):
    watch = FolderWatch(tmp_path)
    taken(watch, 0)
    hidden = touch(tmp_path / ".a.part")
    assert looks(watch, 1, 2) == []
    hidden.rename(tmp_path / "a")
    assert looks(watch, 3, 4, 5) == ["a"]


@pytest.mark.parametrize("settle", [0.2, 5])
def test_times_in_whole_seconds_hide_changes_and_are_waited_for_longer(tmp_path, settle):
    watch = FolderWatch(tmp_path, settle=settle)
    taken(watch, 0)
    touch(tmp_path / "a", b"half", when=1_700_000_000_000_000_000)
    assert looks(watch, 1, 1.5, 2.9) == []
    touch(tmp_path / "a", b"both", when=1_700_000_000_000_000_000)      # the same size and time: nothing shows
    assert looks(watch, 1 + max(settle, 2) - 0.01) == []
    assert looks(watch, 1 + max(settle, 2) + 0.01) == ["a"]


def test_a_file_that_is_written_again_is_taken_again(tmp_path):
    touch(tmp_path / "live")
    watch = FolderWatch(tmp_path)
    assert looks(watch, 0, 1) == []
    for start in (2, 4):
        touch(tmp_path / "live", b"y")      # of the same size
        assert looks(watch, start, start + 0.1) == []
        assert looks(watch, start + 0.3, start + 1) == ["live"]
    (tmp_path / ".new").write_bytes(b"y")
    os.utime(tmp_path / ".new", ns=((tmp_path / "live").stat().st_mtime_ns,) * 2)
    (tmp_path / ".new").rename(tmp_path / "live")   # of the same size and time, but another file
    assert looks(watch, 6, 6.3) == ["live"]


def test_of_many_files_each_is_looked_at_in_turn(tmp_path, monkeypatch):
    for number in range(1000):
        touch(tmp_path / f"{number:04}")
    watch = FolderWatch(tmp_path)
    calls = []
    monkeypatch.setattr(_watch.os, "stat", lambda path, stat=os.stat: calls.append(path) or stat(path))
    listed = []
    monkeypatch.setattr(_watch.os, "listdir", lambda path, listdir=os.listdir: listed.append(path) or listdir(path))
    for now in range(10):
        assert taken(watch, now / 10) == []
        assert len(calls) <= _watch._CHECKED + _watch._RECENT + 1
        calls.clear()
    touch(tmp_path / "0999", b"other")
    assert looks(watch, *np.arange(1, 2.2, 0.1)) == ["0999"]
    # The folder itself has not changed for long: it is listed only now and then.
    before = len(listed)
    assert looks(watch, *np.arange(10, 20, 0.1)) == []
    assert len(listed) - before <= 3
    touch(tmp_path / "new")
    assert looks(watch, 20, 20.3) == ["new"]


def test_files_that_vanish_are_forgotten(tmp_path):
    watch = FolderWatch(tmp_path)
    taken(watch, 0)
    touch(tmp_path / "soon gone")
    watch.look(0.1)
    (tmp_path / "soon gone").unlink()
    assert looks(watch, 0.2, 0.5) == []
    assert watch.vanished == 0
    touch(tmp_path / "gone when complete")
    watch.look(1)
    watch.look(2)
    (tmp_path / "gone when complete").unlink()
    one = watch.take(2)
    assert not watch.unchanged(one)
    watch.again(one, 2)
    assert looks(watch, 3, 9) == []
    assert watch.vanished == 1
    for number in range(50):        # nothing of files that are gone is kept
        path = touch(tmp_path / f"short {number}")
        assert len(looks(watch, 10 + number, 10.5 + number)) == 1
        path.unlink()
    touch(tmp_path / "last")
    taken(watch, 100)
    taken(watch, 101)
    assert set(watch._done) == set(watch._recent) == {"last"}
    assert not watch._open


def test_what_is_no_image_file_is_never_taken(tmp_path):
    watch = FolderWatch(tmp_path, "*.dm4")
    taken(watch, 0)
    for name in (".hidden.dm4", "newest.poni", "X.PONI", "notes.txt"):
        touch(tmp_path / name)
    (tmp_path / "folder.dm4").mkdir()
    (tmp_path / "dangling.dm4").symlink_to(tmp_path / "nothing")
    if hasattr(os, "mkfifo"):
        os.mkfifo(tmp_path / "pipe.dm4")
    (tmp_path / "link.dm4").symlink_to(touch(tmp_path / ".target"))
    touch(tmp_path / "it is [this].dm4")
    assert sorted(looks(watch, 1, 2, 3)) == ["it is [this].dm4", "link.dm4"]


def test_a_share_that_is_away_for_a_while_is_not_new_when_it_is_back(tmp_path):
    share, away = tmp_path / "share", tmp_path / "away"
    share.mkdir()
    for name in "abc":
        touch(share / name)
    watch = FolderWatch(share)
    taken(watch, 0)
    share.rename(away)
    with pytest.raises(FileNotFoundError):
        watch.look(1)
    share.mkdir()                   # the empty mount point
    assert looks(watch, 2, 3, 4) == []
    share.rmdir()
    away.rename(share)
    touch(share / "d")
    assert looks(watch, 5, 6, 12, 13) == ["d"]


# ------------------------------------------------------------------------------------------------------------- order


def test_in_order_of_their_times_as_long_as_it_keeps_up(tmp_path):
    watch = FolderWatch(tmp_path)
    taken(watch, 0)
    for name in "cab":
        touch(tmp_path / name)
    assert looks(watch, 1, 2) == ["c", "a", "b"]


def behind(watch, folder, names="abcde"):
    """Candidates as they are taken, when the first of these files has waited for too long."""
    taken(watch, 0)
    for name in names:
        touch(folder / name)
    watch.look(1)
    watch.look(1.5)
    order = [watch.take(1.6)]
    watch.done(order[0])
    for now in itertools.count(3):
        watch.look(now)
        if not (one := watch.take(now)):
            return order
        watch.done(one)
        order.append(one)


def test_the_newest_goes_first_when_behind_and_the_others_are_done_later(tmp_path):
    watch = FolderWatch(tmp_path)
    order = behind(watch, tmp_path)
    assert [(one.name, one.late) for one in order] == [("a", False), ("e", False), ("d", True), ("c", True), ("b", True)]
    assert (watch.skipped, watch.backlog) == (0, 0)


def test_the_others_are_skipped_and_counted_if_wanted(tmp_path):
    watch = FolderWatch(tmp_path, skip=True)
    assert [one.name for one in behind(watch, tmp_path)] == ["a", "e"]
    assert watch.skipped == 3
    assert looks(watch, 50, 60) == []


def test_a_new_one_goes_before_late_ones(tmp_path):
    watch = FolderWatch(tmp_path)
    taken(watch, 0)
    for name in "abc":
        touch(tmp_path / name)
    watch.look(1)
    watch.look(1.5)
    watch.done(watch.take(9))
    touch(tmp_path / "new")
    watch.look(9.1)
    watch.look(9.5)
    assert watch.backlog == 3
    assert [watch.take(9.5).name for _ in range(3)] == ["new", "b", "a"]
    assert watch.take(9.5) is None


# ---------------------------------------------------------------------------------------------------------- trying again


def test_a_file_that_cannot_be_read_is_tried_with_growing_pauses_and_given_up(tmp_path):
    watch = FolderWatch(tmp_path, settle=0.2)
    taken(watch, 0)
    touch(tmp_path / "bad")
    tries, given_up = [], []
    for now in np.arange(0.1, 60, 0.1):
        watch.look(now)
        if one := watch.take(now):
            tries.append(now)
            if watch.again(one, now, "no good"):
                given_up.append(now)
    assert 8 < len(tries) < 20
    pauses = np.diff(tries)
    assert (np.diff(pauses) > -0.11).all()
    assert pauses[-1] < 4.2
    assert len(given_up) == 1
    assert PATIENCE < given_up[0] < PATIENCE + 5
    assert watch.unread == []
    touch(tmp_path / "bad", b"good now")
    assert looks(watch, 70, 71) == ["bad"]


def test_a_change_while_it_was_read_is_no_error(tmp_path):
    watch = FolderWatch(tmp_path)
    taken(watch, 0)
    touch(tmp_path / "a")
    watch.look(1)
    watch.look(2)
    one = watch.take(2)
    assert watch.unchanged(one)
    touch(tmp_path / "a", b"more")
    assert not watch.unchanged(one)
    assert not watch.again(one, 100)
    assert watch.unread == []
    assert looks(watch, 100.1, 100.2) == []
    assert looks(watch, 100.4) == ["a"]


@pytest.mark.parametrize(("settle", "error"), [(-1, ValueError), (float("nan"), ValueError), ("1", TypeError)])
def test_settle_is_checked(tmp_path, settle, error):
    with pytest.raises(error, match="settle must be a"):
        FolderWatch(tmp_path, settle=settle)


# ----------------------------------------------------------------------------------------------------------- sessions


class Script:
    """A clock for sessions: what is to happen at which time [s], and the end."""

    def __init__(self, *actions, end):
        self.now, self.actions, self.end, self.session = 0.0, sorted(actions, key=lambda one: one[0]), end, None

    def clock(self):
        return self.now

    def wait(self, seconds):
        self.now += seconds
        while self.actions and self.actions[0][0] <= self.now:
            self.actions.pop(0)[1]()
        if self.now >= self.end:
            self.session.stop()


class FakeTracker:
    """Says that the centre is what the first two pixels hold; lost where the first is negative."""

    made: list = []     # noqa: RUF012

    def __init__(self, shape, *, mask=None, radius=None):
        if mask is not None and mask.shape != shape:
            raise ValueError("mask has another shape")
        self.shape, self.fit, self.seen = shape, None, []
        self.made.append(self)

    def update(self, frame):
        x, y = map(float, frame.flat[:2])
        self.seen.append(x)
        return TrackResult(*[np.nan] * 4, True, False, 1e-3) if x < 0 else TrackResult(x, y, 0.5, 0.25, False, x > 900, 1e-3)


@pytest.fixture
def run(tmp_path, monkeypatch):
    """``run(*actions, end) -> (frames, warnings, session)`` of a session on ``tmp_path / "in"``, with the fake tracker."""
    import edfast.tracking

    monkeypatch.setattr(edfast.tracking, "CenterTracker", FakeTracker)
    FakeTracker.made = []
    (tmp_path / "in").mkdir()

    def run(*actions, end, mask=None, **options):
        script, said = Script(*actions, end=end), []
        script.session = session = Session(FolderWatch(tmp_path / "in", **options), mask=mask, warn=said.append,
                                           clock=script.clock, wait=script.wait)
        session.watch.look(0)
        return [tracked for tracked, _, _ in session.run()], said, session

    return run


def image(x, y=1.0, shape=(8, 8)):
    pixels = np.zeros(shape, np.float32)
    pixels.flat[:2] = x, y
    return pixels


def places(frames):
    return [(one.name, one.frame, one.result.cx) for one in frames]


def test_a_partly_written_dm4_is_done_when_it_is_whole(tmp_path, run):
    write_dm4(tmp_path / "whole.dm4", image(7, 5))
    content, path = (tmp_path / "whole.dm4").read_bytes(), tmp_path / "in" / "a.dm4"
    # Half of it stays for longer than the file has to settle: it is tried in vain, and nothing is said.
    frames, said, session = run((1, lambda: path.write_bytes(content[:-90])), (5, lambda: path.write_bytes(content[:-30])),
                                (12, lambda: path.write_bytes(content)), end=20)
    assert places(frames) == [("a.dm4", 0, 7.0)]
    assert said == []
    assert 0.19 < frames[0].latency < 0.6
    assert {name: count for name, count in session.counts.items() if count} == {"frames": 1, "files": 1}


def test_a_partly_written_hdf5_file_is_done_when_it_is_whole(tmp_path, run):
    with h5py.File(tmp_path / "whole.h5", "w") as file:
        file["data"] = np.stack([image(1), image(2)])
    content, path = (tmp_path / "whole.h5").read_bytes(), tmp_path / "in" / "a.h5"
    frames, said, _ = run((1, lambda: path.write_bytes(content[:600])), (3, lambda: path.write_bytes(content)), end=9)
    assert places(frames) == [("a.h5", 0, 1.0), ("a.h5", 1, 2.0)]
    assert said == []


def test_a_file_that_stays_truncated_is_reported_once(tmp_path, run):
    write_dm4(tmp_path / "whole.dm4", image(7))
    path = tmp_path / "in" / "a.dm4"
    frames, said, session = run((1, lambda: path.write_bytes((tmp_path / "whole.dm4").read_bytes()[:-10])), end=100)
    assert frames == []
    assert len(said) == 1
    assert str(path) in said[0]
    assert session.counts["failed"] == 1


def test_what_is_no_image_is_reported_once_and_stops_nothing(tmp_path, run):
    folder = tmp_path / "in"
    frames, said, session = run((1, lambda: (folder / "empty").touch()),
                                (1, lambda: (folder / "notes").write_text("hello " * 99)),
                                (2, lambda: write_dm4(folder / "b.dm4", image(3))), end=99)
    assert places(frames) == [("b.dm4", 0, 3.0)]
    assert sorted("empty" in line for line in said) == [False, True]
    assert session.counts["failed"] == 2


def test_an_unreadable_file_that_is_still_tried_is_named_at_the_end(tmp_path, run):
    frames, said, session = run((1, lambda: (tmp_path / "in" / "x").write_bytes(b"{ no edf")), end=5)
    assert frames == []
    assert len(said) == 1
    assert session.counts["failed"] == 1


def test_stacks_give_all_frames_and_only_the_new_ones_when_they_grow(tmp_path, run):
    path, other = tmp_path / "in" / "a.h5", tmp_path / "in" / "b.mrc"

    def grow(*values):
        with h5py.File(path, "a") as file:
            data = file.require_dataset("data", (0, 8, 8), "f4", maxshape=(None, 8, 8)) if "data" not in file else file["data"]
            data.resize(len(data) + len(values), axis=0)
            data[-len(values):] = [image(value) for value in values]

    frames, said, session = run((1, lambda: grow(1, 2, 3)), (3, lambda: grow(4, 5)),
                                (6, lambda: mrcfile.write(other, np.stack([image(7), image(8)]))), end=9)
    assert places(frames) == [("a.h5", 0, 1), ("a.h5", 1, 2), ("a.h5", 2, 3), ("a.h5", 3, 4), ("a.h5", 4, 5),
                              ("b.mrc", 0, 7), ("b.mrc", 1, 8)]
    assert said == []
    assert session.counts["frames"] == 7


def test_a_stack_that_is_written_anew_is_done_anew(tmp_path, run):
    path = tmp_path / "in" / "a.mrc"

    def write(*values):
        mrcfile.write(path, np.stack([image(value) for value in values]), overwrite=True)

    frames, _, _ = run((1, lambda: write(1, 2)), (3, lambda: write(3, 4, 5)), (5, lambda: write(6)), (7, lambda: write(6)),
                       end=9)
    assert [one.result.cx for one in frames] == [1, 2, 3, 4, 5, 6, 6]


@pytest.mark.parametrize("whole", [0, 1 << 30])
def test_frames_of_a_file(tmp_path, monkeypatch, whole):
    monkeypatch.setattr(_track, "_WHOLE", whole)
    mrcfile.write(tmp_path / "stack.mrc", np.stack([image(value) for value in (5, 6, 7)]))
    write_dm4(tmp_path / "one.dm4", image(9))

    def found(name, *first):
        return [(number, float(pixels[0, 0])) for number, pixels in frames_of(tmp_path / name, *first)]

    assert found("stack.mrc") == [(0, 5), (1, 6), (2, 7)]
    assert found("stack.mrc", 2) == [(2, 7)]
    assert found("stack.mrc", 3) == found("stack.mrc", 9) == found("one.dm4", 1) == []
    assert found("one.dm4") == [(0, 9)]


def test_a_frame_that_changed_while_it_was_read_does_not_count(tmp_path, run, monkeypatch):
    path = tmp_path / "in" / "a.dm4"
    load = _track.frames_of

    def meddled(name, first=0):
        for number, pixels in load(name, first):
            if pixels[0, 0] == 1:
                write_dm4(path, image(2))       # by somebody else, at this very moment
            yield number, pixels

    monkeypatch.setattr(_track, "frames_of", meddled)
    frames, said, _ = run((1, lambda: write_dm4(path, image(1))), end=5)
    assert places(frames) == [("a.dm4", 0, 2.0)]
    assert said == []


def test_late_frames_have_a_tracker_of_their_own(tmp_path, run):
    folder = tmp_path / "in"

    def write(*values):
        for value in values:
            write_dm4(folder / f"{value}.dm4", image(value))
            stamp = next(TICK)
            os.utime(folder / f"{value}.dm4", ns=(stamp, stamp))

    def slow(tracker, frame, update=FakeTracker.update):
        script.now += 0.4
        return update(tracker, frame)

    script = Script((1, lambda: write(1, 2, 3, 4, 5, 6)), end=20)
    session = Session(FolderWatch(folder), clock=script.clock, wait=script.wait)
    script.session = session
    session.watch.look(0)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(FakeTracker, "update", slow)
        frames = [tracked for tracked, _, _ in session.run()]
    assert [one.result.cx for one in frames] == [1, 2, 3, 6, 5, 4]
    assert [one.late for one in frames] == [False] * 4 + [True] * 2
    assert [tracker.seen for tracker in FakeTracker.made] == [[1, 2, 3, 6], [5, 4]]
    assert sorted(frames, key=lambda one: (one.order, one.frame)) == sorted(frames, key=lambda one: one.result.cx)
    assert session.counts["late"] == 2


def test_another_shape_gets_another_tracker_and_a_wrong_mask_is_an_error_at_once(tmp_path, run):
    folder = tmp_path / "in"
    frames, said, _ = run((1, lambda: write_dm4(folder / "a.dm4", image(1))),
                          (2, lambda: write_dm4(folder / "b.dm4", image(2, shape=(9, 8)))), end=3, mask=np.zeros((8, 8), bool))
    assert places(frames) == [("a.dm4", 0, 1.0)]
    assert said == [f"{folder / 'b.dm4'}: mask has another shape"]


def test_the_folder_is_looked_at_between_the_frames_of_a_long_stack(tmp_path, run, monkeypatch):
    folder, seen = tmp_path / "in", []

    def slow(tracker, frame, update=FakeTracker.update):
        script.now += 0.2
        seen.append((frame[0, 0], session.watch.backlog))
        return update(tracker, frame)

    def write():
        mrcfile.write(folder / "a.mrc", np.stack([image(value) for value in range(1, 9)]))

    script = Script((1, write), end=9)
    script.session = session = Session(FolderWatch(folder), clock=script.clock, wait=script.wait)
    session.watch.look(0)
    monkeypatch.setattr(FakeTracker, "update", slow)
    places = []
    for tracked, _, _ in session.run():
        places.append(tracked.result.cx)
        if tracked.result.cx == 2:
            write_dm4(folder / "b.dm4", image(20))
    assert places == [1, 2, 3, 4, 5, 6, 7, 8, 20]
    assert [backlog for _, backlog in seen][4:] == [1, 1, 1, 1, 0]


def test_a_folder_that_is_away_is_waited_for(tmp_path, run):
    folder, away = tmp_path / "in", tmp_path / "away"
    frames, said, _ = run((1, lambda: folder.rename(away)), (5, lambda: away.rename(folder)),
                          (6, lambda: write_dm4(folder / "a.dm4", image(1))), end=9)
    assert places(frames) == [("a.dm4", 0, 1.0)]
    assert len(said) == 1
    assert str(folder) in said[0]


def test_a_look_never_takes_more_than_its_share_of_the_time(tmp_path, run):
    script = Script(end=100)
    looked = []
    slow = types.SimpleNamespace(folder="x", take=lambda now: None, unread=[], skipped=0, vanished=0, backlog=0,
                                 look=lambda now: (looked.append(now), setattr(script, "now", script.now + 2)))
    script.session = session = Session(slow, clock=script.clock, wait=script.wait)
    assert list(session.run()) == []
    assert np.diff(looked) == pytest.approx(12, abs=0.2)


# ------------------------------------------------------------------------------------------------------------ the lines


def test_a_line_has_the_columns_and_no_other_tabs():
    lost = TrackResult(*[np.nan] * 4, True, False, 1e-3)
    good = TrackResult(12.34567, 8, 0.01, 0.02, False, True, 1e-3)
    line = Tracked(3, 2, 1, "a b.dm4", good, True, 1.7e9, 0.25).line().split("\t")
    assert len(line) == len(COLUMNS)
    assert line[1:] == ["12.3457", "8.0000", "0.0100", "0.0200", "jumped,late", "0.250", "1", "a b.dm4"]
    assert time.strptime(line[0][:19], "%Y-%m-%dT%H:%M:%S")
    line = Tracked(3, 2, 0, "a\tb\n.dm4", lost, False, 1.7e9, 0.25).line()
    assert line.split("\t")[1:] == ["nan"] * 4 + ["lost", "0.250", "0", r"a\tb\n.dm4"]
    assert "\n" not in line


# ---------------------------------------------------------------------------------------------------------- the command


@pytest.fixture
def place(tmp_path):
    """Folder with ``in`` and ``cal.poni``."""
    (tmp_path / "in").mkdir()
    write_poni(tmp_path / "cal.poni", PONI)
    return tmp_path


def command(place, *arguments, **options):
    result = CliRunner().invoke(main, ["track", "--watch", str(place / "in"), "-p", str(place / "cal.poni"), "-o",
                                       str(place / "out"), *map(str, arguments)], **options)
    assert result.exception is None or isinstance(result.exception, SystemExit), result.exception
    return result.exit_code, result.stdout, result.stderr


def pattern(number, center=(121.4, 130.2)):
    return ring_pattern((256, 256), center, [50, 80], random_state=number)[0].astype(np.float32)


@pytest.fixture(scope="module")
def compiled():
    """The tracker's kernels, compiled beforehand: what waits for frames does not wait for the compiler."""
    from edfast.tracking import CenterTracker

    tracker = CenterTracker((256, 256))
    for number in range(3):
        tracker.update(pattern(number))


def wait_for(condition, seconds=30):
    """Whether the condition came true."""
    end = time.monotonic() + seconds
    while not (found := condition()) and time.monotonic() < end:
        time.sleep(0.02)
    return found


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_the_command_follows_the_centre_until_a_signal(place, compiled, number):
    out = place / "out"
    centers = [(121.4, 130.2), (121.6, 130.1)]
    handlers = [signal.getsignal(one) for one in (signal.SIGINT, signal.SIGTERM)]

    def feed():
        wait_for((out).is_dir)
        time.sleep(0.3)
        for k, center in enumerate(centers):
            write_dm4(place / "in" / f"{k}.dm4", pattern(k, center))
            wait_for((out / f"{k}.dm4.poni").exists)
        write_dm4(place / "in" / "empty.dm4", np.random.default_rng(0).poisson(9, (256, 256)).astype(np.float32))
        time.sleep(0.8)
        os.kill(os.getpid(), number)

    feeder = threading.Thread(target=feed)
    feeder.start()
    code, said, err = command(place, "--each", "--settle", "0.05")
    feeder.join()
    assert code == 0
    assert [signal.getsignal(one) for one in (signal.SIGINT, signal.SIGTERM)] == handlers
    header, *lines = [line.split("\t") for line in said.splitlines()]
    assert tuple(header) == COLUMNS
    assert [line[-1] for line in lines] == ["0.dm4", "1.dm4", "empty.dm4"]
    assert [line[5] for line in lines] == ["ok", "ok", "lost"]
    for line, center in zip(lines, centers, strict=False):
        found, errors = np.array(line[1:3], float), np.array(line[3:5], float)
        assert (np.abs(found - center) < 5 * errors + 0.02).all()
    assert "3 frames of 3 files in" in err
    assert "1 lost" in err
    # The newest PONI is that of the newest centre, not of the frame without one.
    assert beam_center(read_poni(out / NEWEST)) == pytest.approx(tuple(map(float, lines[1][1:3])), abs=1e-4)
    assert beam_center(read_poni(out / "0.dm4.poni")) == pytest.approx(tuple(map(float, lines[0][1:3])), abs=1e-4)
    assert sorted(path.name for path in out.iterdir()) == ["0.dm4.poni", "1.dm4.poni", NEWEST]


def test_the_process_ends_cleanly_when_the_reader_of_its_table_has_gone(place, compiled):
    program = "import sys; from edfast.cli import main; main()"
    for k in range(3):
        write_dm4(place / "in" / f"{k}.dm4", pattern(k))
    process = subprocess.Popen([sys.executable, "-c", program, "track", "--watch", "in", "-p", "cal.poni", "--existing"],
                               cwd=place, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    with process:
        assert process.stdout.readline().split() == list(COLUMNS)
        process.stdout.close()
        assert process.wait(90) == 0
        said = process.stderr.read().splitlines()
    assert [line.split(":")[0] for line in said] == ["edfast"] * len(said)
    assert (place / NEWEST).exists() or "frames of" in said[-1]


@pytest.mark.parametrize(("arguments", "message"), [
    (("--watch", "{}/nowhere"), "there is no folder {}/nowhere to watch"),
    (("-p", "{}/no.poni"), "no.poni"),
    (("-m", "{}/no.npy"), "there is no mask {}/no.npy"),
    (("-o", "{}/cal.poni"), "output folder {}/cal.poni is a file"),
    (("--settle", "-1"), "settle must be a finite number of seconds at least 0, not -1.0"),
    (("--radius", "0"), "radius must be a finite number of pixels above 0, not 0.0"),
    (("--host", "no such host", "--serve", "0"), "the page cannot be served on no such host, port 0"),
])
def test_wrong_input_is_one_line_and_exit_code_2(place, arguments, message):
    code, said, err = command(place, *[argument.format(place) for argument in arguments])
    assert (code, said) == (2, "")
    assert len(err.splitlines()) == 1
    assert message.format(place) in err


def test_inputs_are_never_overwritten(place):
    (place / "out").mkdir()
    write_poni(place / "out" / NEWEST, PONI)
    before = (place / "out" / NEWEST).read_bytes()
    code, _, err = command(place, "-p", place / "out" / NEWEST)
    assert code == 2
    assert "inputs are never overwritten" in err
    assert (place / "out" / NEWEST).read_bytes() == before


def test_a_poni_of_another_camera_is_said_once_and_the_centres_are_known_all_the_same(place, monkeypatch):
    import edfast.tracking

    monkeypatch.setattr(edfast.tracking, "CenterTracker", FakeTracker)
    for k in range(3):
        write_dm4(place / "in" / f"{k}.dm4", image(k, shape=(8, 8)))
    lines, said = [], []

    def say(line):
        lines.append(line)
        if len(lines) == 4:
            signal.raise_signal(signal.SIGINT)

    (place / "out").mkdir()
    write_poni(place / "cal.poni", Poni(0.2, 0.001, 0.001, 0, 0, 0, None, 1e-5, 1e-5, (11, 13)))
    track(place / "in", place / "cal.poni", place / "out", existing=True, settle=0.01, say=say, warn=said.append)
    assert [line.split("\t")[1] for line in lines[1:]] == ["0.0000", "1.0000", "2.0000"]
    assert sum("whole binning factor" in line for line in said) == 1
    assert list((place / "out").iterdir()) == []
