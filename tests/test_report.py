"""The HTML report of a run: what it says, what it draws, in a real browser, and that no file name is executed."""

import math
import os
import re
import shutil
import sqlite3
from html.parser import HTMLParser
from pathlib import Path

import numpy as np
import pytest
from click.testing import CliRunner

from edfast import _charts, report
from edfast.batch import Ledger, recalibrate_batch
from edfast.cli import main
from edfast.geometry import Poni, write_poni
from edfast.report import write_report
from edfast.simulate import BeamStop, ring_pattern, write_dm4

NAN = math.nan
NUMBERS = ("cx", "cy", "cx_err", "cy_err", "dx", "dy", "a", "b", "angle", "quality", "smooth_cx", "smooth_cy")


class Rows:
    """What `write_report` uses of a `Ledger`, around rows that are made up."""

    started, finished = "2026-11-21T10:00:00+00:00", "2026-11-21T10:00:10+00:00"
    folder = Path("/data/run & more")

    def __init__(self, rows):
        self.made = rows
        self.options = {"method": "ring", "frame": None, "beamstop": True, "poni": "<i>cal</i>.poni"}
        self.versions = {"edfast": "0.1.0", "numpy": "2.4"}

    def rows(self):
        return iter(self.made)


def made_up(n, *, jumps=(), failed=(), errors=True, smooth=False, path="/nowhere/frame_{:06}.dm4"):
    """Rows of a drift of 3 pixels with noise, with jumps of 50 pixels and failures at the given places."""
    rng = np.random.default_rng(0)
    rows = []
    for k in range(n):
        row = dict.fromkeys(NUMBERS, NAN) | {"path": path.format(k), "poni": "", "status": "failed", "error": "", "flags": "",
                                             "milliseconds": 4.0 + k % 3, "size": 1000, "mtime_ns": 1, "index": k}
        if k in failed:
            row["error"] = f"{row['path']}: no ring found: too dark"
        else:
            dx, dy = 3 * k / max(n, 2) + rng.normal(0, 0.02) + 50 * (k in jumps), rng.normal(0, 0.02)
            row |= {"status": "ok", "dx": dx, "dy": dy, "cx": 100 + dx, "cy": 90 + dy, "a": 60.1 + 1e-3 * rng.normal(),
                    "b": 60.0, "angle": 0.3, "quality": 0.9, "flags": "jump" if k in jumps else ""}
            if errors:
                row |= {"cx_err": 0.02, "cy_err": 0.03}
            if smooth:
                row |= {"smooth_cx": row["cx"] - 0.01, "smooth_cy": row["cy"]}
        rows.append(row)
    return rows


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    """A ledger of a real run: good files, bad ones, and one whose name is a trap."""
    folder = tmp_path_factory.mktemp("run")
    for k in range(4):
        image, _ = ring_pattern((200, 240), (118.4 + k, 101.7), [60], beamstop=BeamStop(18), random_state=k)
        write_dm4(folder / f"image_{k}.dm4", image)
    shutil.copy(folder / "image_0.dm4", folder / "<script>document.title='hacked'<\\script>.dm4")
    odd = os.fsencode(folder / "odd") + b"\n\"'&\xff\xe2\x80\xae.dm4"
    shutil.copy(folder / "image_1.dm4", odd)
    (folder / "<img src=x onerror=alert(1)>.dm4").write_bytes((folder / "image_0.dm4").read_bytes()[:3000])
    (folder / "empty.dm4").touch()
    write_poni(folder / "cal.poni", Poni(0.25, 0.001, 0.0012, 0, 0, 0, 2.5e-12, 1e-5, 1e-5, (200, 240)))
    files = [*sorted(os.fsdecode(path) for path in folder.glob("*.dm4")), os.fspath(folder / "gone.dm4")]
    return recalibrate_batch(files, folder / "cal.poni", output=folder / "out")


class Reader(HTMLParser):
    """The elements of a page; fails on tags that do not match."""

    def __init__(self, content):
        super().__init__()
        self.open, self.elements, self.words = [], [], []
        self.feed(content)
        assert self.open == []

    def handle_starttag(self, tag, attributes):
        self.elements.append((tag, dict(attributes)))
        if tag not in ("meta", "img", "br"):
            self.open.append(tag)

    def handle_startendtag(self, tag, attributes):
        self.elements.append((tag, dict(attributes)))

    def handle_endtag(self, tag):
        assert self.open.pop() == tag

    def handle_data(self, data):
        self.words.append(data)

    def attributes(self, *tags):
        return [attributes for tag, attributes in self.elements if tag in tags]


def written(tmp_path, rows):
    path = write_report(Rows(rows), tmp_path / "report.html")
    content = path.read_text(encoding="utf-8")
    return content, Reader(content)


# --------------------------------------------------------------------------------------------------------------- page


def test_what_the_page_says(tmp_path):
    content, page = written(tmp_path, made_up(50, jumps=(20,), failed=(3, 30), smooth=True))
    words = " ".join(" ".join(page.words).split())
    for said in ("Recalibration of 50 files", "/data/run & more", "2026-11-21 10:00:00", "recalibrated 48", "failed 2",
                 "flagged 1", "Flags: jump 1", "median error / pixel 0.0361", "median time / ms 5", "files per second 5",
                 "column 100.00, row 90.00", "frame_000020.dm4", "no. 21", "no ring found: too dark", "smooth trajectory",
                 "beyond the scale", "Median radius 60.05", "<i>cal</i>.poni", "there is no such file"):
        assert said in words, said
    assert "<script" not in content
    assert [attributes["lang"] for attributes in page.attributes("html")] == ["en"]
    for picture in page.attributes("svg"):
        assert picture.get("aria-label") or picture.get("aria-hidden")
    for head in page.attributes("th"):
        assert head["scope"] in ("col", "row")
    assert len(page.attributes("table")) == len(re.findall("<caption>", content)) == 5
    assert "tabular-nums" in content
    assert not re.search(r'(src|href)="(?!data:)|url\(|@import', content)


@pytest.mark.parametrize("n", [0, 1, 2, 3, 599, 600, 601, 5000])
@pytest.mark.parametrize("errors", [True, False])
def test_any_number_of_files(tmp_path, n, errors):
    content, page = written(tmp_path, made_up(n, jumps=(n // 2,) * (n > 4), failed=(1,) * (n > 1), errors=errors))
    assert f"Recalibration of {n // 1000 or ''}" in content
    assert len(page.attributes("figure")) == (0 if n == 0 else 4 if errors else 3)
    assert "nan" not in " ".join(value for _, attributes in page.elements for value in attributes.values() if value).split()
    assert ("This method gives no errors" in content) == (n > 0 and not errors)
    if n == 0:
        assert "There are no files in this run" in content


def test_nothing_recalibrated_and_nothing_done_yet(tmp_path):
    content, page = written(tmp_path, made_up(5, failed=range(5)))
    assert "No file was recalibrated" in content
    assert not page.attributes("figure")
    rows = [row | {"status": "pending", "error": ""} for row in made_up(2, failed=range(2))] + made_up(3)
    content, _ = written(tmp_path, rows)
    assert "2 of 5 files are pending" in content
    assert "--resume" in content


def circles(content, kind):
    return re.findall(rf'<circle class="{kind}" cx="([\d.]+)" cy="([\d.]+)"[^>]*><title>([^<]*)</title>', content)


def test_points_are_where_the_numbers_are(tmp_path):
    rows = made_up(40)
    for k, row in enumerate(rows):
        row["dx"] = float(k % 5)
    content, _ = written(tmp_path, rows)
    first = circles(content, "dot")[:40]
    assert [said.split(": ")[0] for *_, said in first] == [f"frame_{k:06}.dm4" for k in range(40)]
    assert first[3][2] == "frame_000003.dm4: +3.000 \u00b1 0.020 pixel"
    x, y = np.array([point[:2] for point in first], float).T
    np.testing.assert_allclose(np.diff(x), np.diff(x).mean(), atol=0.11)
    slope, origin = np.polyfit(np.arange(40) % 5, y, 1)
    assert slope < 0        # up is more
    np.testing.assert_allclose(y, origin + slope * (np.arange(40) % 5), atol=0.06)


def test_many_files_keep_extremes_flags_and_failures(tmp_path):
    n, jumps = 50_000, (123, 25_000, 49_999)
    rows = made_up(n, jumps=jumps, failed=(7, 8, 40_000))
    rows[31_000]["dx"] += 0.7           # not flagged, and yet to be seen
    path = write_report(Rows(rows), tmp_path / "report.html")
    content = path.read_text()
    assert path.stat().st_size < 700_000
    for number in jumps:
        assert f"<title>file {number + 1}: +" in content
    drift = content[content.index("Drift of the centre"):content.index("Where the centre was")]
    columns = re.findall(r"M[\d.]+ ([\d.]+)V([\d.]+)", drift.split('class="range"')[1].split("/>")[0])
    assert len(columns) == _charts.COLUMNS
    heights = np.array([float(foot) - float(top) for top, foot in columns])
    assert heights.argmax() == 31_000 * _charts.COLUMNS // n
    assert heights.max() > 3 * np.median(heights)
    assert len(re.findall(r"M[\d.]+ [\d.]+V", drift.split('class="failed"')[1].split("/>")[0])) == 2


def test_the_worst_come_first(tmp_path):
    rows = made_up(40, jumps=(11,))
    for k, error in ((5, 0.9), (17, 0.5)):
        rows[k]["cx_err"] = error
    content, _ = written(tmp_path, rows)
    table = content[content.index("<h2>Worst files"):]
    assert re.findall(r"no\. (\d+),", table)[:3] == ["12", "6", "18"]
    assert len(re.findall(r"no\. \d+,", table)) == 12


def test_failures_are_counted_by_reason_and_their_number_is_bounded(tmp_path):
    rows = made_up(1500, failed=range(0, 1500, 2))
    for k in range(0, 1500, 4):
        rows[k]["error"] = f"{rows[k]['path']}: truncated"
    content, _ = written(tmp_path, rows)
    assert "The first 100 of 750; the ledger has all." in content
    reasons = re.findall(r"<td class=n>(\d+)</td><td>([^<]*)</td>", content)
    assert reasons[:2] == [("375", "truncated"), ("375", "no ring found: too dark")]
    assert len(re.findall(r'class="missing"', content)) == 24


# --------------------------------------------------------------------------------------------------------- real files


def test_thumbnails_show_the_image_and_what_was_found(run, tmp_path):
    content = write_report(run, tmp_path / "report.html").read_text()
    shown = re.findall(r'<svg class="thumbnail" width="150" height="125" viewBox="0 0 240 200"[^>]*>(.*?)</svg>', content)
    assert len(shown) == sum(row["status"] == "ok" for row in run.rows()) == 6
    for thumbnail in shown:
        x, y, a, b = map(float, re.search(r'<ellipse class="found" cx="([\d.]+)" cy="([\d.]+)" rx="([\d.]+)" ry="([\d.]+)"',
                                          thumbnail).groups())
        assert (y, a, b) == pytest.approx((102.2, 60, 60), abs=0.2)     # the integer is the centre of a pixel
        assert 118.8 < x < 122
    assert "changed since the run" not in content


def test_changed_and_vanished_files(run, tmp_path):
    folder = tmp_path / "copy"
    folder.mkdir()
    for k in range(2):
        shutil.copy(next(Path(row["path"]) for row in run.rows() if row["path"].endswith("image_0.dm4")), folder / f"{k}.dm4")
    ledger = recalibrate_batch(sorted(folder.glob("*.dm4")), folder.parent / run.options["poni"], output=folder / "out")
    os.utime(folder / "0.dm4", (1, 1))
    (folder / "1.dm4").unlink()
    content = write_report(ledger, tmp_path / "report.html").read_text()
    assert content.count("changed since the run") == 1
    assert content.count('<p class="missing">there is no such file</p>') == 1


def test_small_pictures_and_their_png():
    from PIL import Image

    image = np.zeros((301, 155), np.uint16)
    image[200:260, 20:60] = 1000
    small = report._small(image)
    assert report._small(np.arange(5000.0)[None] + np.zeros((2500, 1))).shape == (70, 139)
    assert small.shape == (101, 52)
    assert (small[70:85, 8:18] == 255).all()
    assert small[:60].max() == 0
    import io

    np.testing.assert_array_equal(np.asarray(Image.open(io.BytesIO(report._png(small)))), small)
    for odd in (np.full((5, 7), NAN), np.array([[np.inf, 1], [-np.inf, NAN]]), np.full((3, 400), -7), np.zeros((1, 1), bool)):
        assert report._small(odd).dtype == np.uint8


def test_large_files_are_not_read_again(run, tmp_path, monkeypatch):
    monkeypatch.setattr(report, "_LARGE", 100_000)
    content = write_report(run, tmp_path / "report.html").read_text()
    assert content.count('class="thumbnail"') == 0
    assert content.count("too large to be read again") == 6


def test_names_are_shown_and_not_executed(run, tmp_path):
    content = write_report(run, tmp_path / "report.html").read_text()
    assert "<script" not in content
    assert "<img" not in content
    assert "&lt;script&gt;document.title=&#x27;hacked&#x27;&lt;\\script&gt;.dm4" in content
    assert "odd\\n&quot;&#x27;&amp;\\xff\\u202e.dm4" in content
    Reader(content)


# ------------------------------------------------------------------------------------------------------------ browser


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_a_real_run_in_a_browser(run, tmp_path, open_page, scheme):
    page = open_page(write_report(run, tmp_path / "report.html"), color_scheme=scheme)
    assert page.title() == "Recalibration of 9 files"
    for drawing in page.locator("figure > svg").all():
        box = drawing.bounding_box()
        assert box["width"] > 300
        assert box["height"] > 250
        assert box["x"] + box["width"] <= page.viewport_size["width"]
    names = page.locator("table.files .name").all_inner_texts()
    assert any("<script>document.title='hacked'" in name for name in names)
    assert any(r"""odd\n"'&\xff\u202e.dm4""" in name for name in names)
    heads = page.locator("table.files").first.locator("thead th").all_inner_texts()
    assert heads == ["image", "file", "centre (x, y) / pixel", "error", "shift (x, y) / pixel", "semi-axes", "quality",
                     "flags", "ms"]
    assert page.locator("table.files").first.locator("tbody tr").count() == 6
    assert page.locator("table.files").last.locator("tbody tr").count() == 3
    for picture in page.locator("svg.thumbnail").all():
        assert picture.bounding_box()["height"] == pytest.approx(125, abs=1)
    paper, ink = page.evaluate("[getComputedStyle(document.body).backgroundColor, getComputedStyle(document.body).color]")
    light = [sum(map(int, re.findall(r"\d+", color)[:3])) for color in (paper, ink)]
    assert (light[0] > light[1]) == (scheme == "light")
    page.emulate_media(media="print")
    assert page.evaluate("getComputedStyle(document.body).backgroundColor") == "rgb(255, 255, 255)"


@pytest.mark.parametrize("n", [0, 1, 2000, 100_000])
def test_any_size_in_a_browser(tmp_path, open_page, n):
    rows = made_up(n, jumps=range(17, n, 371), failed=range(5, n, 97), smooth=True)
    path = write_report(Rows(rows), tmp_path / "report.html")
    assert path.stat().st_size < 1_000_000
    page = open_page(path, viewport={"width": 1180, "height": 900})
    assert page.locator("figure > svg").count() == 4 * (n > 0)
    boxes = [drawing.bounding_box() for drawing in page.locator("figure > svg").all()]
    assert all(box["width"] > 400 and box["height"] > 300 for box in boxes)
    if n > 1:
        dots = page.locator("figure .flag").count()
        assert dots > 10
    # Nothing sticks out of the page to the right.
    assert page.evaluate("document.documentElement.scrollWidth <= document.documentElement.clientWidth")


# ---------------------------------------------------------------------------------------------------------- wrong use


def edfast(*arguments):
    result = CliRunner().invoke(main, ["report", *map(str, arguments)])
    assert result.exception is None or isinstance(result.exception, SystemExit), result.exception
    return result.exit_code, result.stdout, result.stderr


def test_the_command(run, tmp_path):
    page = run.folder / "report.html"
    page.unlink(missing_ok=True)
    for ledger in (run.folder, run.path):
        assert edfast(ledger) == (0, f"report  {page}\n", "")
        assert "Recalibration of 9 files" in page.read_text()
    other = tmp_path / "x.html"
    assert edfast(run.folder, "-o", other) == (0, f"report  {other}\n", "")
    assert write_report(str(run.path), str(other)) == other


def test_wrong_use(run, tmp_path):
    (tmp_path / "text.sqlite").write_text("no ledger, but long enough to be looked at as if it were one" * 20)
    sqlite3.connect(tmp_path / "other.sqlite").executescript("CREATE TABLE x (y)").connection.close()
    for ledger, output, message in (
            (tmp_path / "none.sqlite", "r.html", "there is no ledger"), (tmp_path / "text.sqlite", "r.html", "text.sqlite"),
            (tmp_path / "other.sqlite", "r.html", "is not a ledger of edfast"),
            (run.path, "no/r.html", "there is no folder"), (run.path, ".", "is a folder"),
            (run.path, run.path, "is the same file as the input"),
            (run.path, next(run.rows("ok"))["path"], "is the same file as the input"),
            (run.path, next(run.rows("ok"))["poni"], "is the same file as the input")):
        code, said, err = edfast(ledger, "-o", tmp_path / output)
        assert (code, said, len(err.splitlines())) == (2, "", 1)
        assert message in err
        with pytest.raises((OSError, ValueError), match=re.escape(message)):
            write_report(ledger, tmp_path / output)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["other.sqlite", "text.sqlite"]
    assert len(Ledger(run.path)) == 9


# ------------------------------------------------------------------------------------------------------------- charts


@pytest.mark.parametrize(("low", "high"), [(0, 1), (-3.2, 17.5), (1e-7, 2e-7), (1023.4, 1023.6), (-1e6, 1e6), (5, 5.0001)])
def test_ticks_are_round_and_inside(low, high):
    places, decimals = _charts.ticks((low, high))
    assert 2 <= len(places) <= 6
    assert low - 1e-9 * abs(low) <= places[0] <= places[-1] <= high + 1e-9 * abs(high)
    step = (places[-1] - places[0]) / (len(places) - 1)
    assert f"{step:.0e}"[0] in "125"
    assert all(float(f"{place:.{decimals}f}") == pytest.approx(place, abs=1e-3 * step) for place in places)


def test_large_numbers_do_not_run_into_the_name_of_the_axis():
    parts = _charts.scales(_charts.Axes(_charts.LEFT, 8, 380, 190, (0, 1), (-123_456, 123_456)), "files")
    found = [re.match(r'.*<text x="([\d.]+)" .* text-anchor="end">(.*)</text>', part) for part in parts]
    numbers = [(float(match[1]), match[2]) for match in found if match]
    assert max(len(number) for _, number in numbers) == 7
    assert min(x - 7 * len(number) for x, number in numbers) > 18 + 6  # at 7 a digit; the name stands at 18


def test_the_scale_is_that_of_the_bulk():
    values = np.r_[np.linspace(0, 1, 500), 300.0, -200.0, NAN]
    low, high = _charts.span(values)
    assert -1 < low < 0
    assert 1 < high < 2
    assert _charts.span(np.array([NAN])) == (-1, 1)
    assert _charts.span(np.array([7.0]), 0.5) == (6.5, 7.5)
    low, high = _charts.span(np.array([0.0, 300.0]))      # too few to know which is the bulk
    assert low < 0
    assert high > 300


@pytest.mark.parametrize(("name", "shown"), [
    ("a<b>&\"'.dm4", "a&lt;b&gt;&amp;&quot;&#x27;.dm4"), ("\udcff\udc80", "\\xff\\x80"), ("a\nb\tc\x00", "a\\nb\\tc\\x00"),
    ("\u202egnp.x", "\\u202egnp.x"), ("Ümläut µ 中", "Ümläut µ 中"), ("\ud800", "\\ud800"),
])
def test_text_for_html(name, shown):
    assert _charts.text(name) == shown
    shown.encode()
