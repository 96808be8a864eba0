"""The page of `edfast track`: what it sends, what it refuses, and what a browser shows of it."""

import gc
import http.client
import io
import json
import os
import re
import signal
import socket
import threading
import time
import weakref
from contextlib import ExitStack, closing, contextmanager, suppress

import numpy as np
import pytest
from click.testing import CliRunner

from edfast import _serve
from edfast._results import Ring, RingFit, TrackResult
from edfast._serve import KEPT, PICTURE, Page, encode
from edfast._track import Tracked
from edfast.cli import main
from edfast.geometry import Poni, write_poni
from edfast.simulate import ring_pattern, write_dm4

NAN = float("nan")
SHAPE = (96, 128)
COUNTS = {"frames": 0, "files": 0, "lost": 0, "jumped": 0, "late": 0, "failed": 0, "skipped": 0, "vanished": 0, "waiting": 0}


def threads():
    return [one for one in threading.enumerate() if one.name.startswith("page")]


def wait_for(condition, seconds=10):
    end = time.monotonic() + seconds
    while not (found := condition()) and time.monotonic() < end:
        time.sleep(0.01)
    return found


@contextmanager
def serving(host="127.0.0.1", port=0):
    """A page that must leave no thread and no open port behind."""
    assert threads() == []
    with Page(host, port, folder="/data/today", counts=lambda: dict(COUNTS)) as page:
        yield page
    assert wait_for(lambda: not threads(), 3)
    with pytest.raises(ConnectionRefusedError), socket.create_connection((host, page.port), timeout=1):
        pass


@pytest.fixture
def page():
    with serving() as page:
        yield page


def fit_at(cx, cy):
    rings = (Ring(20.0, 0.01, 1.5, 50.0, 1.0), Ring(35.0, 0.01, 1.5, 50.0, 1.0))
    return RingFit(cx, cy, 21.0, 19.0, 0.4, 0.01, 0.02, 0.01, 0.01, 0.0, 0.9, 2, 1.0, True, rings, (1.0,) * 20 + (0.0,) * 4)


def show(page, number, x=64.0, y=48.0, *, order=None, late=False, lost=False, jumped=False, name=None, image=None):
    """Publish a frame."""
    result = TrackResult(*([NAN] * 4 if lost else (x, y, 0.02, 0.03)), lost, jumped, 1e-3)
    tracked = Tracked(number, order or number, 0, name or f"img_{number:04}.dm4", result, late, time.time(), 0.25)
    image = np.random.default_rng(number).poisson(20, SHAPE).astype(np.float32) if image is None else image
    page.publish(tracked, image, None if lost else fit_at(x, y), (60, 50))


def get(page, path="/", method="GET", **headers):
    """(response, content)"""
    with closing(http.client.HTTPConnection("127.0.0.1", page.port, timeout=10)) as connection:
        connection.request(method, path, headers=headers)
        response = connection.getresponse()
        return response, response.read()


def raw(page, sent, timeout=10):
    """All that comes back for these bytes, until the server closes."""
    with socket.create_connection(("127.0.0.1", page.port), timeout=timeout) as connection:
        connection.sendall(sent)
        connection.shutdown(socket.SHUT_WR)
        return b"".join(iter(lambda: connection.recv(1 << 16), b""))


def state(page, after=None):
    response, content = get(page, "/state" if after is None else f"/state?after={after}")
    assert response.status == 200
    return json.loads(content, parse_constant=lambda name: pytest.fail(f"{name} is no JSON"))


# --------------------------------------------------------------------------------------------------------- what is sent


def test_three_addresses_and_their_headers(page):
    html = "text/html; charset=utf-8"
    for path, kind in (("/", html), ("/?x=1", html), ("/state", "application/json")):
        full, content = get(page, path)
        assert (full.status, full.headers["Content-Type"]) == (200, kind)
        assert len(content) == int(full.headers["Content-Length"])
        head, nothing = get(page, path, "HEAD")
        assert nothing == b""
        for response in (full, head):
            policy = dict(part.split(" ", 1) for part in response.headers["Content-Security-Policy"].split("; "))
            assert {policy[name] for name in ("default-src", "frame-ancestors", "base-uri", "form-action")} == {"'none'"}
            assert re.fullmatch(r"'sha256-[\w+/=]+'", policy["script-src"])
            assert re.fullmatch(r"'sha256-[\w+/=]+'", policy["style-src"])
            assert response.headers["X-Content-Type-Options"] == "nosniff"
            assert response.headers["Cache-Control"] == "no-store"
            assert response.headers["Server"].strip() == "edfast"
            assert "Access-Control-Allow-Origin" not in response.headers
    assert get(page, "/frame.png")[0].status == 204
    show(page, 1)
    response, png = get(page, "/frame.png")
    assert (response.status, response.headers["Content-Type"], png[:4]) == (200, "image/png", b"\x89PNG")
    facts = json.loads(response.headers["Edfast-Frame"])
    assert (facts["number"], facts["shape"], facts["size"], facts["beam"]) == (1, [96, 128], [96, 128], [60, 50])
    assert facts["rings"]["center"] == [64.0, 48.0]
    assert np.prod(facts["rings"]["axes"], axis=1) == pytest.approx([400, 1225], rel=1e-2)
    assert facts["rings"]["sectors"] == "1" * 20 + "0" * 4


def test_the_page_needs_nothing_from_anywhere_else(page):
    content = get(page)[1].decode()
    assert set(re.findall(r"https?://[^'\"\s]*", content)) == {"http://www.w3.org/2000/svg"}
    assert not re.search(r"\s(on\w+|style)=", content)


def test_the_state_gives_what_is_new(page):
    assert state(page)["results"] == []
    for number in (1, 2, 3):
        show(page, number, lost=number == 2, jumped=number == 3)
    show(page, 4, order=1, late=True)
    found = state(page)
    assert [row[0] for row in found["results"]] == [1, 2, 3, 4]
    assert [row[8] for row in found["results"]] == ["ok", "lost", "jumped", "late"]
    assert found["results"][1][4:8] == [None] * 4
    assert found["results"][0][4:8] == [64.0, 48.0, 0.02, 0.03]
    assert found["newest"] == 3     # a late one is not the newest
    assert found["latency"] == 0.25
    assert found["rate"] == 4
    assert [row[0] for row in state(page, after=2)["results"]] == [3, 4]
    page.trouble("a\nb \udc80")
    assert state(page)["troubles"][0][1] == "a\nb \udc80"


def test_memory_is_bounded(page):
    old = []
    for number in range(1, KEPT + 200):
        image = np.zeros((4, 4), np.float32)
        old.append(weakref.ref(image))
        show(page, number, image=image)
        page.trouble(f"trouble {number}")
    del image
    found = state(page)
    assert [row[0] for row in found["results"]] == list(range(200, KEPT + 200))
    assert [text for _, text in found["troubles"]] == [f"trouble {KEPT + 199 - k}" for k in range(4, -1, -1)]
    gc.collect()
    assert sum(one() is not None for one in old) == 1


def test_a_picture_is_made_once_and_only_when_somebody_looks(page, monkeypatch):
    made = []
    monkeypatch.setattr(_serve, "encode", lambda image: made.append(1) or encode(image))
    for number in range(1, 20):
        show(page, number)
        state(page)
        get(page)
    assert made == []
    pictures = {get(page, "/frame.png")[1] for _ in range(3)}
    assert (len(made), len(pictures)) == (1, 1)
    show(page, 20)
    get(page, "/frame.png")
    assert len(made) == 2


def test_many_readers_at_once_while_frames_arrive(page):
    wrong, stop = [], threading.Event()
    show(page, 1, x=1.0)

    def look():
        last = 0
        while not stop.is_set():
            response, png = get(page, "/frame.png")
            facts = json.loads(response.headers["Edfast-Frame"])
            numbers = [row[0] for row in state(page)["results"]]
            # Picture and what is drawn on it belong together, and nothing goes back.
            if (facts["result"][4] != facts["number"] or facts["number"] < last or png[:4] != b"\x89PNG"
                    or numbers != list(range(1, len(numbers) + 1))):
                wrong.append(facts)
            last = facts["number"]

    readers = [threading.Thread(target=look) for _ in range(6)]
    for reader in readers:
        reader.start()
    for number in range(2, 60):
        show(page, number, x=float(number))
        time.sleep(0.005)
    stop.set()
    for reader in readers:
        reader.join()
    assert wrong == []


# ----------------------------------------------------------------------------------------------------------- the picture


def decoded(image):
    """(grey values, opaque?) of the picture, by another program, and its step."""
    from PIL import Image

    png, step = encode(image)
    with Image.open(io.BytesIO(png)) as picture:
        assert picture.format == "PNG"
        return *np.moveaxis(np.asarray(picture.convert("LA")), -1, 0), step


@pytest.mark.parametrize("shape", [(1, 1), (3, 700), (PICTURE, PICTURE), (PICTURE + 1, 5), (1500, 1000)])
@pytest.mark.parametrize("dtype", ["float32", "uint16", "float64", "int8"])
def test_the_picture_shows_means_of_blocks_in_order(shape, dtype):
    image = (np.arange(np.prod(shape)).reshape(shape) % 120).astype(dtype)
    grey, opaque, step = decoded(image)
    assert max(grey.shape) <= PICTURE
    assert grey.shape == tuple(-(-size // step) for size in shape)
    assert opaque.all()
    means = np.array([[image[i:i + step, j:j + step].mean(dtype=float) for j in range(0, shape[1], step)]
                      for i in range(0, min(shape[0], 8 * step), step)])
    # Brighter where there is more, whatever the scale.
    pairs = np.argsort(means, axis=None)
    assert (np.diff(grey[:len(means)].ravel()[pairs].astype(int)) >= -1).all()


def test_pixels_without_data_are_transparent(page):
    image = np.random.default_rng(0).poisson(50, (1600, 1600)).astype(np.float32)
    image[:400] = np.nan
    image[800, 800] = np.inf        # one of the nine of its block
    grey, opaque, step = decoded(image)
    assert step == 3
    assert not opaque[:133].any()
    assert opaque[134:].all()
    for constant in (0.0, 7.0, -1e30, np.nan, np.inf):
        grey, opaque, _ = decoded(np.full((5, 5), constant))
        assert opaque.all() == np.isfinite(constant)
        assert len(np.unique(grey)) == 1
    show(page, 1, image=image[::20])
    assert get(page, "/frame.png")[0].status == 200


# ------------------------------------------------------------------------------------------------------- what is refused


# One server for all cases: to end it takes longer than to ask it.
PATHS = ["/../../etc/passwd", "/%2e%2e/%2e%2e/etc/passwd", "/..%2f..%2fetc%2fpasswd", "//etc/passwd",
         "/_page.html", "/state/", "/frame.png/../../x", "/STATE", "/%00", "/state%00", "/\\..\\x", "/favicon.ico",
         "http://127.0.0.1/state", "*"]


def test_there_is_nothing_else(page):
    for path in PATHS:
        answer = raw(page, f"GET {path} HTTP/1.1\r\nHost: localhost\r\n\r\n".encode())
        assert answer.startswith(b"HTTP/1.1 404 "), path
        assert answer.endswith(b"\r\n\r\n404 Not Found\n"), path


def test_nothing_can_be_written(page):
    body, another = b"x" * 1000, b"GET / HTTP/1.1\r\nHost: localhost\r\n\r\n"
    for method in ("POST", "PUT", "DELETE", "PATCH", "OPTIONS", "TRACE", "CONNECT", "MOVE", "get", "X" * 999):
        head = f"{method} /state HTTP/1.1\r\nHost: localhost\r\nContent-Length: 1000\r\n\r\n".encode()
        answer = raw(page, head + body + another)
        assert answer.startswith(b"HTTP/1.1 405 "), method
        assert b"\r\nAllow: GET, HEAD\r\n" in answer
        assert b"\r\nConnection: close\r\n" in answer
        assert answer.count(b"HTTP/1.1") == 1       # what follows is not taken for another request


HOST = b"Host: localhost\r\n"


MALFORMED = [
    (b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03" + bytes(range(256)) + b"\r\n\r\n", 400),       # somebody tries https
    (b"GET\r\n\r\n", 400),
    (b"\r\n\r\n", None),
    (b"GET / HTTP/1.1 x\r\n" + HOST + b"\r\n", 400),
    (b"GET / HTTP/one\r\n" + HOST + b"\r\n", 400),
    (b"GET / HTTP/1.1.1\r\n" + HOST + b"\r\n", 400),
    (b"GET / HTTP/9.1\r\n" + HOST + b"\r\n", 505),
    (b"GET / HTTP/1.1\r\n\r\n", 400),
    (b"GET /\r\n\r\n", 400),
    (b"GET / HTTP/1.1\r\n" + 2 * HOST + b"\r\n", 400),
    (b"GET / HTTP/1.1\r\nHost:\r\n\r\n", 400),
    (b"GET / HTTP/1.1\r\nHost: a b\r\n\r\n", 400),
    (b"GET / HTTP/1.1\r\nHost: user@localhost\r\n\r\n", 400),
    (b"GET / HTTP/1.1\r\nHost: localhost:port\r\n\r\n", 400),
    (b"GET / HTTP/1.1\r\nno colon\r\n" + HOST + b"\r\n", 400),
    (b"GET / HTTP/1.1\r\n" + HOST + b"Content-Length: 5\r\n\r\nhello", 413),
    (b"GET / HTTP/1.1\r\n" + HOST + b"Content-Length: -1\r\n\r\n", 413),
    (b"GET / HTTP/1.1\r\n" + HOST + b"Transfer-Encoding: chunked\r\n\r\n0\r\n\r\n", 413),
    (b"GET /state?after=-1 HTTP/1.1\r\n" + HOST + b"\r\n", 400),
    (b"GET /state?after=1e3 HTTP/1.1\r\n" + HOST + b"\r\n", 400),
    (b"GET /state?after=" + b"9" * 16 + b" HTTP/1.1\r\n" + HOST + b"\r\n", 400),
    (b"GET /state?x=1 HTTP/1.1\r\n" + HOST + b"\r\n", 400),
    (b"GET /" + b"a" * 20_000 + b" HTTP/1.1\r\n" + HOST + b"\r\n", 431),
    (b"GET / HTTP/1.1\r\n" + HOST + b"X: " + b"a" * 20_000 + b"\r\n\r\n", 431),
    (b"GET / HTTP/1.1\r\n" + HOST + b"X: y\r\n" * 200 + b"\r\n", 431),
    (b"GET / HTTP/1.1\r\n" + HOST + b"A: b\r\n" * 10_000 + b"\r\n", 431),
    (b"a" * 100_000, 431),
    (b"GET / HTTP/1.1\r\nHost: local", 421),      # and no more
    (b"", None),
]


def test_malformed_requests_are_answered(page, capfd):
    for sent, status in MALFORMED:
        answer = raw(page, sent)
        if status is None:
            assert answer == b"", sent
        else:
            assert answer.startswith(f"HTTP/1.1 {status} ".encode()), (sent[:99], answer[:99])
            assert b"nosniff" in answer
            assert b"<" not in answer.partition(b"\r\n\r\n")[2]
        assert get(page, "/state")[0].status == 200
    assert capfd.readouterr() == ("", "")


def test_only_names_of_this_machine_are_answered(page):
    """A page elsewhere whose name is suddenly that of this machine (DNS rebinding) gets nothing."""
    mine = ["127.0.0.1", f"127.0.0.1:{page.port}", "localhost", "LocalHost.:9", "[::1]:80", "192.168.0.17:8080",
            socket.gethostname()]
    others = ["evil.example", f"evil.example:{page.port}", "127.0.0.1.evil.example", "localhost.evil.example", "xlocalhost"]
    for hosts, statuses in ((mine, {200, 204}), (others, {421}), (["[evil]"], {400})):
        for host in hosts:
            for path in ("/", "/state", "/frame.png"):
                answer = raw(page, f"GET {path} HTTP/1.1\r\nHost: {host}\r\n\r\n".encode())
                assert int(answer.split()[1]) in statuses, host


def test_requests_after_one_another_on_one_connection(page):
    answer = raw(page, b"GET /state HTTP/1.1\r\nHost: localhost\r\n\r\n" * 3 + b"HEAD / HTTP/1.0\r\nHost: localhost\r\n\r\n")
    assert answer.count(b"HTTP/1.1 200 OK") == 4
    assert answer.count(b'"folder":"/data/today"') == 3


def test_slow_clients_are_disconnected(page, monkeypatch):
    monkeypatch.setattr(_serve, "_DEADLINE", 0.4)
    with socket.create_connection(("127.0.0.1", page.port), timeout=5) as slow, \
            socket.create_connection(("127.0.0.1", page.port), timeout=5) as idle:
        start = time.monotonic()
        with suppress(ConnectionError):
            for _ in range(200):        # a byte now and then keeps other servers waiting for ever
                slow.sendall(b"G")
                time.sleep(0.03)
        assert time.monotonic() - start < 3
        assert idle.recv(1) == b""
    assert wait_for(lambda: len(threads()) == 1, 3)


def test_a_client_that_does_not_read_is_disconnected(page, monkeypatch):
    monkeypatch.setattr(_serve, "_DEADLINE", 0.3)
    show(page, 1, image=np.random.default_rng(0).normal(size=(768, 768)))
    with socket.socket() as client:
        client.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        client.connect(("127.0.0.1", page.port))
        client.sendall(b"GET /frame.png HTTP/1.1\r\nHost: localhost\r\n\r\n" * 20)
        assert wait_for(lambda: len(threads()) == 2, 3)
        assert wait_for(lambda: len(threads()) == 1, 3)


def test_connections_are_limited(page):
    with ExitStack() as stack:
        open_ones = [stack.enter_context(socket.create_connection(("127.0.0.1", page.port), timeout=5))
                     for _ in range(_serve._CONNECTIONS)]
        assert wait_for(lambda: len(threads()) == _serve._CONNECTIONS + 1)
        refused = raw(page, b"")
        assert refused.startswith(b"HTTP/1.1 503 ")
        open_ones[0].sendall(b"GET /state HTTP/1.1\r\nHost: localhost\r\n\r\n")
        assert open_ones[0].recv(100).startswith(b"HTTP/1.1 200 ")
        assert len(threads()) == _serve._CONNECTIONS + 1
    assert wait_for(lambda: len(threads()) == 1)
    assert get(page)[0].status == 200


def test_a_port_in_use_is_one_clear_line(page):
    with pytest.raises(OSError, match=r"the page cannot be served on 127\.0\.0\.1, port .*: .*give another port") as caught:
        Page("127.0.0.1", page.port, folder="", counts=dict)
    assert str(page.port) in str(caught.value)
    assert "\n" not in str(caught.value)


def test_other_machines_can_look_only_where_that_is_asked_for(page):
    assert not page.is_public
    assert page._server.socket.getsockname()[0] == "127.0.0.1"
    with Page("0.0.0.0", 0, folder="", counts=dict) as public:
        assert public.is_public
        assert get(public, "/state", Host="192.168.0.17")[0].status == 200


def test_ipv6():
    try:
        socket.create_server(("::1", 0), family=socket.AF_INET6).close()
    except OSError:
        pytest.skip("this machine has no IPv6")
    with serving("::1") as page, closing(http.client.HTTPConnection("::1", page.port, timeout=5)) as connection:
        assert page.address == f"http://[::1]:{page.port}/"
        connection.request("GET", "/state")
        assert connection.getresponse().status == 200


def test_an_error_of_our_own_is_answered_too(page, monkeypatch, caplog):
    monkeypatch.setattr(page, "state", lambda after: 1 / 0)
    response, content = get(page, "/state")
    assert (response.status, content) == (500, b"500 Internal Server Error\n")
    assert "ZeroDivisionError" in caplog.text
    assert get(page)[0].status == 200


# -------------------------------------------------------------------------------------------------------------- command


def test_the_command_serves_the_page(tmp_path, monkeypatch):
    write_poni(tmp_path / "cal.poni", Poni(0.25, 0.001, 0.0012, 0, 0, 0, None, 1e-5, 1e-5, (256, 256)))
    (tmp_path / "in").mkdir()
    write_dm4(tmp_path / "in" / "a.dm4", ring_pattern((256, 256), (121.4, 130.2), [50, 80], random_state=0)[0])
    pages, seen = [], {}
    enter = Page.__enter__
    monkeypatch.setattr(Page, "__enter__", lambda page: pages.append(page) or enter(page))

    def look():
        try:
            wait_for(lambda: pages, 60)
            seen["state"] = wait_for(lambda: (found := state(pages[0]))["results"] and found, 300)
            seen["png"] = get(pages[0], "/frame.png")[1]
        finally:
            os.kill(os.getpid(), signal.SIGINT)

    looker = threading.Thread(target=look)
    looker.start()
    result = CliRunner().invoke(main, ["track", "--watch", str(tmp_path / "in"), "-p", str(tmp_path / "cal.poni"), "-o",
                                       str(tmp_path / "out"), "--existing", "--serve", "0"])
    looker.join()
    assert result.exit_code == 0
    assert f"edfast: page: http://127.0.0.1:{pages[0].port}/\n" in result.stderr
    assert seen["state"]["counts"]["frames"] == 1
    assert seen["state"]["beam"] == pytest.approx([119.5, 99.5])
    assert seen["png"][:4] == b"\x89PNG"
    assert threads() == []


# -------------------------------------------------------------------------------------------------------------- browser


def text(tab, name):
    return tab.locator(f"#{name}").text_content()


def until(tab, script, value=None):
    """Until the expression is true; not by playwright's own waiting, which needs eval, which the page forbids."""
    assert wait_for(lambda: tab.evaluate(script, value)), (script, tab.evaluate("document.body.innerText"))


def boxes(tab):
    return tab.evaluate("[...document.querySelectorAll('section, #status, .plot, #view')].map(node => "
                        "{ const box = node.getBoundingClientRect(); return [box.x, box.y, box.width, box.height]; })")


TRAP = '<img src=x onerror="alert(1)">.dm4'


def test_the_page_follows_the_session(page, open_page):
    tab = open_page(page.address, viewport={"width": 1280, "height": 820})
    until(tab, "document.querySelector('#status').textContent.includes('waiting for the first frame')")
    assert text(tab, "folder") == "/data/today"
    before = boxes(tab)
    for number in range(1, 9):
        show(page, number, 64 + 0.01 * number, 48 - 0.02 * number)
    until(tab, "document.querySelector('#x').textContent.startsWith('64.08')")
    assert (text(tab, "x"), text(tab, "y")) == ("64.08 ± 0.02", "47.84 ± 0.03")
    assert text(tab, "x-moved") == "+4.08 px from PONI file"
    assert text(tab, "y-moved") == "\u22122.16 px from PONI file"
    assert text(tab, "moved") == "+0.50, \u22121.00"
    assert text(tab, "scatter") == "scatter 0.000, 0.000 px"
    assert text(tab, "status") == "● following the centre"
    until(tab, "document.querySelector('#caption').textContent.startsWith('img_0008.dm4, 128 \u00d7 96 pixels')")
    assert tab.locator("#plot-x .points").get_attribute("d").count("M") == 8
    assert tab.locator("#plot-y .errors").get_attribute("d").count("M") == 8
    assert tab.locator("#used").get_attribute("d").count("M") == 2      # two rings, each with one part that is left out
    assert tab.evaluate("document.querySelector('#pixels').getBBox().width") == 128
    assert boxes(tab) == before         # nothing has moved by a pixel
    # The ring on the page is where the fit is: the leftmost point of the outer ellipse.
    edge = tab.evaluate("document.querySelector('#used').getBBox().x")
    a, b, angle = fit_at(64.08, 47.84).ellipse(fit_at(0, 0).rings[1])
    assert edge == pytest.approx(64.08 - np.hypot(a * np.cos(angle), b * np.sin(angle)), abs=0.1)

    show(page, 13, 70, 40, jumped=True, name=TRAP)
    until(tab, "document.querySelector('#status').textContent === '◆ jumped just now'")
    until(tab, "name => document.querySelector('#caption').title === name", TRAP)
    assert text(tab, "badge") == "jumped"
    assert tab.locator("#plot-x .jumps").get_attribute("d").count("M") == 1
    show(page, 14, lost=True)
    until(tab, "document.querySelector('#status').textContent === '✕ centre lost'")
    until(tab, "document.querySelector('#badge').textContent === 'lost'")
    assert tab.locator("#used").get_attribute("d") == ""
    assert text(tab, "x-moved") == "before it was lost"
    assert tab.locator("#plot-y .losses").get_attribute("d").count("M") == 1
    show(page, 15, 64, 48, order=5, late=True)
    page.trouble(f"{TRAP}: truncated")
    until(tab, "document.querySelector('#plot-x .late')")
    assert text(tab, "troubles").endswith(f"{TRAP}: truncated")
    assert tab.locator("#troubles img").count() == 0
    assert boxes(tab) == before

    tab.locator("#plot-x").focus()
    tab.keyboard.press("ArrowLeft")
    assert "lost" in text(tab, "readout")
    tab.keyboard.press("ArrowLeft")
    assert "x 70.00 ± 0.02, y 40.00 ± 0.03 · jumped" in text(tab, "readout")
    assert tab.locator("#plot-y .cursor").get_attribute("d") != ""


def test_the_page_says_when_the_session_has_ended_and_takes_up_a_new_one(open_page):
    with serving() as page:
        port = page.port
        tab = open_page(page.address)
        show(page, 7, 10, 20)
        until(tab, "document.querySelector('#x').textContent.startsWith('10.00')")
    until(tab, "document.querySelector('#status').textContent.includes('no connection')")
    with serving(port=port) as page:
        show(page, 1, 30, 40)
        until(tab, "document.querySelector('#x').textContent.startsWith('30.00')")
        assert tab.locator("#plot-x .points").get_attribute("d").count("M") == 1
        tab.close()
    tab_troubles = [one for one in tab.troubles if "ERR_CONNECTION_REFUSED" not in one and "ERR_EMPTY" not in one
                    and "ERR_CONNECTION_RESET" not in one]
    tab.troubles[:] = tab_troubles


# Relative luminance and contrast as WCAG 2 defines them.
CONTRAST = """selector => {
  const parse = color => color.match(/[\\d.]+/g).slice(0, 3).map(Number);
  const light = rgb => rgb.map(v => v / 255).map(v => v <= 0.04045 ? v / 12.92 : ((v + 0.055) / 1.055) ** 2.4)
    .reduce((sum, v, k) => sum + v * [0.2126, 0.7152, 0.0722][k], 0);
  const node = document.querySelector(selector);
  let behind = node;
  while (getComputedStyle(behind).backgroundColor.endsWith(', 0)')) behind = behind.parentElement;
  const style = getComputedStyle(node), ink = node instanceof SVGElement ? style.fill : style.color;
  const [a, b] = [light(parse(ink)), light(parse(getComputedStyle(behind).backgroundColor))].sort((a, b) => b - a);
  return (a + 0.05) / (b + 0.05);
}"""


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("width", [360, 1600])
def test_the_page_is_legible(page, open_page, scheme, width):
    for number in range(1, 8):
        show(page, number, 64 + 0.5 * number, 48, lost=number == 3, jumped=number == 5, name=f"{number}" * 200)
    tab = open_page(page.address, viewport={"width": width, "height": 800}, color_scheme=scheme)
    until(tab, "document.querySelector('#plot-x .points') && document.querySelector('#caption').textContent")
    assert tab.evaluate("document.documentElement.scrollWidth <= document.documentElement.clientWidth")
    assert tab.evaluate("getComputedStyle(document.body).backgroundColor") == {
        "light": "rgb(243, 245, 248)", "dark": "rgb(15, 20, 26)"}[scheme]
    for selector in ("#x", ".under", "#readout", "#folder", "#status", "h2", ".legend li", "#plot-x text", "#plot-x .name"):
        assert tab.evaluate(CONTRAST, selector) > 4.5, selector
    for selector in ("#plot-x .points", "#plot-x .jumps"):
        assert tab.evaluate(CONTRAST, selector) > 3, selector
    assert tab.locator("svg[role=img]").count() == 3
    assert "x / pixel over 7 frames, newest 67.5" in tab.locator("#plot-x").get_attribute("aria-label")
    assert len(set(tab.locator(".plot text").all_text_contents())) > 8      # labels, all of them different from each other
