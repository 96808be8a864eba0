"""A page that shows what `edfast track` is doing: http.server with the limits that an open port needs.

Nothing can be changed through it, and no file can be reached: there are three addresses, each made in the memory.
"""

import base64
import hashlib
import io
import ipaddress
import json
import logging
import math
import re
import secrets
import socket
import struct
import threading
import time
import zlib
from collections import deque
from contextlib import suppress
from http import HTTPStatus
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from importlib.resources import files

import numpy as np

from . import __version__
from .plots import log_scale

log = logging.getLogger("edfast")

KEPT = 500              # frames in the drift
PICTURE = 768           # pixels of the longer side of the picture, at most
_TROUBLES = 5
_RATE_OVER = 10.0       # seconds
_CONNECTIONS = 32       # at the same time; each has a thread
_DEADLINE = 10.0        # seconds for a request to arrive, for an answer to leave, and between two requests
_REQUEST = 1 << 14      # bytes of a request line and its headers
_HOST = re.compile(r"(\[[0-9A-Fa-f:.]+\]|[^\s:/@\[\]]+)(?::\d{1,5})?")
_LINGER = 0.5           # seconds that a client may take to stop sending after it was refused
_JOIN = 2.0             # seconds that a thread may take to notice that its connection was closed


class Page:
    """The page, served from a background thread while the block of its ``with`` statement runs.

    Parameters
    ----------
    host : str
        Address or name of this machine on which to listen.
    port : int
        0 for any that is free.
    folder : str
        For the heading.
    counts : callable
        Gives the session's counters as a dict.

    Raises
    ------
    OSError
        In one line, if the port is in use or not allowed.
    """

    def __init__(self, host, port, *, folder, counts):
        self._folder, self._counts = folder, counts
        # Of the newest frame: (Tracked, image, fit, beam); replaced as a whole, so that readers need no lock.
        self._newest: tuple | None = None
        self._results: deque = deque(maxlen=KEPT)
        self._troubles: deque = deque(maxlen=_TROUBLES)
        self._times: deque[float] = deque(maxlen=10_000)
        self._lock, self._encoding = threading.Lock(), threading.Lock()
        self._png = (0, b"", 1)     # number of the frame, PNG, step
        self._run, self._started = secrets.token_hex(8), time.time()
        self._server = _Server(host, port, self)
        name = f"[{host}]" if ":" in host else host
        self.port = self._server.server_address[1]
        self.address = f"http://{name}:{self.port}/"
        self.is_public = not ipaddress.ip_address(str(self._server.server_address[0])).is_loopback
        self._thread = threading.Thread(target=self._server.serve_forever, args=(0.1,), name="page", daemon=True)

    def __enter__(self):
        self._thread.start()
        return self

    def __exit__(self, *_):
        self._server.shutdown()
        self._server.close()
        self._thread.join()

    def publish(self, tracked, image, fit, beam=None):
        """Show a frame: what `edfast._track.Session.run` gives, and where the input PONI has the beam in it, or None."""
        with self._lock:
            self._results.append(tracked)
            self._times.append(time.monotonic())
            if not tracked.late:
                self._newest = tracked, image, fit, beam

    def trouble(self, text):
        """Show a line of text among the last problems."""
        with self._lock:
            self._troubles.append([time.time(), text])

    def state(self, after=0):
        """What the page shows beside the picture, as a dict for JSON; of the frames, those with a number above `after`."""
        with self._lock:
            results, troubles, newest = list(self._results), list(self._troubles), self._newest
            recent = self._times[-1] if self._times else 0
            since = max(time.monotonic() - _RATE_OVER, 0)
            rated = sum(1 for when in self._times if when >= since)
            first = next((when for when in self._times if when >= since), recent)
        latencies = sorted(one.latency for one in results[-50:] if not one.late)
        span = max(time.monotonic() - first, 1.0)
        return {
            "run": self._run, "version": __version__, "folder": self._folder, "started": self._started, "now": time.time(),
            "kept": KEPT, "counts": self._counts(), "troubles": troubles, "newest": newest and newest[0].number,
            "rate": rated / span, "latency": latencies[len(latencies) // 2] if latencies else None,
            "beam": newest and newest[3],
            "results": [_row(one) for one in results if one.number > after],
        }

    def picture(self):
        """(PNG, what is drawn over it as a dict) of the newest frame, or None; made once somebody asks."""
        newest = self._newest
        if newest is None:
            return None
        tracked, image, fit, beam = newest
        with self._encoding:
            if self._png[0] != tracked.number:
                self._png = tracked.number, *encode(image)
            _, png, step = self._png
        height, width = image.shape
        size = [-(-side // step) * step for side in image.shape]
        return png, {"number": tracked.number, "name": tracked.name, "frame": tracked.frame, "shape": [height, width],
                     "size": size, "beam": beam, "result": _row(tracked), "rings": _rings(fit)}


def encode(image, longest=PICTURE):
    """(PNG, step): the image as grey values of its logarithm, means of blocks of `step` pixels; transparent without data."""
    step = -(-max(image.shape) // longest)
    means = _block_means(image, step)
    values, low, high = log_scale(means)
    with np.errstate(invalid="ignore"):
        grey = np.nan_to_num(1.5 + 254 * np.clip((values - low) / (high - low), 0, 1), nan=0).astype(np.uint8)
    return png_bytes(grey), step


def png_bytes(grey):
    """An 8-bit picture (H, W) as PNG; the value 0 is transparent."""
    height, width = grey.shape
    rows = np.zeros((height, width + 1), np.uint8)
    rows[:, 1:] = grey

    def chunk(kind, data):
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))

    return b"".join((b"\x89PNG\r\n\x1a\n", chunk(b"IHDR", struct.pack(">IIBBBBB", width, height, 8, 0, 0, 0, 0)),
                     chunk(b"tRNS", b"\0\0"), chunk(b"IDAT", zlib.compress(rows.tobytes(), 1)), chunk(b"IEND", b"")))


def _block_means(image, step):
    """Means of the finite pixels in blocks of step x step, smaller ones at the edges; NaN where there are none."""
    if step == 1:
        return np.where(np.isfinite(image), image, np.nan).astype(np.float32)
    total = _block_sums(image, step)
    if np.isfinite(total).all():
        rows, columns = (np.minimum(step, size - np.arange(0, size, step)) for size in image.shape)
        return total / np.multiply.outer(rows, columns).astype(np.float32)
    finite = np.isfinite(image)
    number = _block_sums(finite, step)
    return np.divide(_block_sums(np.where(finite, image, 0), step), number, out=np.full(number.shape, np.nan, np.float32),
                     where=number > 0)


def _block_sums(image, step):
    """Sums over blocks: whole rows first, which is as fast as the memory, and then columns of what is left."""
    for axis in (0, 1):
        image = np.moveaxis(image, axis, 0)
        sums = np.zeros((-(-len(image) // step), image.shape[1]), np.float32)
        for first in range(min(step, len(image))):
            part = image[first::step]
            sums[:len(part)] += part
        image = np.moveaxis(sums, 0, axis)
    return image


def _row(tracked):
    """One frame for JSON, which knows no NaN."""
    result = tracked.result
    return [tracked.number, tracked.order, tracked.frame, round(tracked.time, 3),
            *(_number(value, 4) for value in (result.cx, result.cy, result.cx_err, result.cy_err)),
            tracked.flags, _number(tracked.latency, 4), _number(result.latency * 1e3, 3), tracked.name]


def _number(value, digits):
    return round(float(value), digits) if math.isfinite(value) else None


def _rings(fit):
    """Semi-axes and direction of the rings, and which sectors of the azimuth were used."""
    if fit is None:
        return None
    axes = [[round(value, 2) for value in fit.ellipse(ring)[:2]] for ring in fit.rings]
    return {"axes": axes, "angle": round(fit.angle, 4), "center": [round(value, 3) for value in fit.center],
            "sectors": "".join("1" if weight > 0.3 else "0" for weight in fit.sectors)}


# -------------------------------------------------------------------------------------------------------------- server


class _Server(ThreadingHTTPServer):
    """With a bounded number of connections, all of which end with it."""

    daemon_threads = True
    block_on_close = False          # the threads are joined here, after their connections were closed
    allow_reuse_address = hasattr(socket, "AF_UNIX")    # elsewhere (Windows) it would let two servers have one port
    request_queue_size = _CONNECTIONS

    def __init__(self, host, port, page):
        self.page, self.html = page, files("edfast").joinpath("_page.html").read_bytes()
        self.security = _security(self.html.decode())
        self._connections, self._guard = {}, threading.Lock()
        self.names = {"localhost", host.lower().rstrip("."), socket.gethostname().lower()}
        try:
            self.address_family, *_, address = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)[0]
            super().__init__(address, _Handler)  # type: ignore[arg-type]
        except (OSError, UnicodeError) as error:
            reason = getattr(error, "strerror", None) or str(error)
            hint = "; give another port with --serve, or 0 for any" if isinstance(error, OSError) and port else ""
            raise OSError(f"the page cannot be served on {host}, port {port}: {reason}{hint}") from None

    def server_bind(self):
        """Without the search for the machine's full name, which can take seconds."""
        socket.socket.setsockopt(self.socket, socket.SOL_SOCKET, socket.SO_REUSEADDR, int(self.allow_reuse_address))
        self.socket.bind(self.server_address)
        self.server_address = self.socket.getsockname()

    def process_request(self, request, client_address):
        """A thread for the connection, unless there are too many."""
        with self._guard:
            self._connections = {one: thread for one, thread in self._connections.items() if thread.is_alive()}
            full = len(self._connections) >= _CONNECTIONS
            if not full:
                thread = threading.Thread(target=self.process_request_thread, args=(request, client_address),
                                          name="page connection", daemon=True)
                self._connections[request] = thread
        if not full:
            thread.start()
            return
        with suppress(OSError):
            request.settimeout(0)
            request.send(b"HTTP/1.1 503 Service Unavailable\r\nContent-Length: 0\r\nConnection: close\r\n\r\n")
        self.shutdown_request(request)

    def handle_error(self, request, client_address):
        log.debug("page: connection from %s", client_address, exc_info=True)

    def close(self):
        """Close the port and all connections, and wait for their threads."""
        self.server_close()
        with self._guard:
            connections = list(self._connections.items())
        for request, _ in connections:
            with suppress(OSError):
                request.shutdown(socket.SHUT_RDWR)
        end = time.monotonic() + _JOIN
        for _, thread in connections:
            thread.join(max(end - time.monotonic(), 0))


class _TooLargeError(Exception):
    pass


class _Incoming(io.RawIOBase):
    """What a client sends: so many bytes until a certain time, however slowly it sends them."""

    def __init__(self, connection):
        self._connection = connection
        self.allow()

    def allow(self, seconds=None, size=_REQUEST):
        self._left, self._end = size, time.monotonic() + (_DEADLINE if seconds is None else seconds)

    def readable(self):
        return True

    def readinto(self, buffer):
        left = self._end - time.monotonic()
        if left <= 0:
            raise TimeoutError
        if self._left <= 0:
            raise _TooLargeError
        self._connection.settimeout(left)
        count = self._connection.recv_into(memoryview(buffer)[:self._left])
        self._left -= count
        return count


class _Handler(BaseHTTPRequestHandler):
    """GET and HEAD of three addresses; a client that is slow or sends anything else is told so and disconnected."""

    server: _Server
    protocol_version = "HTTP/1.1"
    default_request_version = "HTTP/1.0"    # a request without a version is an old one, but gets headers
    server_version, sys_version = "edfast", ""

    def setup(self):
        super().setup()
        self._incoming, self._refused = _Incoming(self.connection), False
        self.rfile = io.BufferedReader(self._incoming)

    def finish(self):
        super().finish()
        if self._refused:
            # What is closed with something unread is reset, and the client may never see the answer.
            with suppress(OSError, TimeoutError, _TooLargeError):
                self.connection.shutdown(socket.SHUT_WR)
                self._incoming.allow(_LINGER, 16 * _REQUEST)
                while self._incoming.readinto(bytearray(4096)):
                    pass

    def handle_one_request(self):
        """Read a request and answer it."""
        self.close_connection, self.command, self.requestline, self.request_version = True, "", "", "HTTP/1.0"
        self._incoming.allow()
        try:
            self.raw_requestline = self.rfile.readline(_REQUEST + 1)
            if self.raw_requestline and self.parse_request():
                self._respond()
        except _TooLargeError:
            self.send_error(HTTPStatus.REQUEST_HEADER_FIELDS_TOO_LARGE)
        except (TimeoutError, ConnectionError):
            self.close_connection = True
        except Exception:
            log.exception("page: %r", self.requestline)
            self.send_error(HTTPStatus.INTERNAL_SERVER_ERROR)

    def handle_expect_100(self):
        """Nobody is asked to go on and send a body."""
        return True

    def _respond(self):
        if self.command not in ("GET", "HEAD"):
            self.send_error(HTTPStatus.METHOD_NOT_ALLOWED)
        elif self.headers.get("Transfer-Encoding") or self.headers.get("Content-Length", "0") != "0":
            self.send_error(HTTPStatus.REQUEST_ENTITY_TOO_LARGE)
        elif len(hosts := self.headers.get_all("Host", [])) != 1 or not (host := _HOST.fullmatch(hosts[0])):
            self.send_error(HTTPStatus.BAD_REQUEST)
        elif not self._is_known(host[1]):
            # A name that somebody else's server gives out for this address: its scripts must not read what is here.
            self.send_error(HTTPStatus.MISDIRECTED_REQUEST)
        else:
            path, _, query = self.path.partition("?")
            make = {"/": self._html, "/state": self._state, "/frame.png": self._frame}.get(path)
            make(query) if make else self.send_error(HTTPStatus.NOT_FOUND)

    def _is_known(self, name):
        with suppress(ValueError):
            ipaddress.ip_address(name.strip("[]"))
            return True
        return name.lower().rstrip(".") in self.server.names

    def _html(self, query):
        self._answer(HTTPStatus.OK, "text/html; charset=utf-8", self.server.html)

    def _state(self, query):
        after = re.fullmatch(r"after=(\d{1,15})", query) if query else None
        if query and not after:
            self.send_error(HTTPStatus.BAD_REQUEST)
            return
        state = self.server.page.state(int(after[1]) if after else 0)
        self._answer(HTTPStatus.OK, "application/json", json.dumps(state, allow_nan=False, separators=(",", ":")).encode())

    def _frame(self, query):
        found = self.server.page.picture()
        if found is None:
            self._answer(HTTPStatus.NO_CONTENT)
        else:
            self._answer(HTTPStatus.OK, "image/png", found[0], {"Edfast-Frame": json.dumps(found[1], allow_nan=False)})

    def _answer(self, status, kind="", content=b"", headers=()):
        self.connection.settimeout(_DEADLINE)
        self.send_response(status)
        more = {"Content-Type": kind} if kind else {}
        more |= {} if status == HTTPStatus.NO_CONTENT else {"Content-Length": str(len(content))}
        more |= {"Connection": "close"} if self.close_connection else {}
        for name, value in {**more, **dict(headers), **self.server.security}.items():
            self.send_header(name, value)
        self.end_headers()
        if self.command != "HEAD" and content:
            self.wfile.write(content)

    def send_error(self, code, message=None, explain=None):
        """The error's number and name, and the end of the connection: what else was sent is not looked at."""
        self.close_connection = self._refused = True
        allow = {"Allow": "GET, HEAD"} if code == HTTPStatus.METHOD_NOT_ALLOWED else {}
        with suppress(OSError):
            status = HTTPStatus(code)
            self._answer(status, "text/plain; charset=utf-8", f"{status.value} {status.phrase}\n".encode(), allow)

    def log_message(self, format, *arguments):
        log.debug("page: %s", format % arguments)


def _security(html):
    """Headers that let the page's own script and style run and nothing else, and no other page use any of it."""
    allowed = {kind: " ".join(f"'sha256-{base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()}'"
                              for text in re.findall(rf"<{tag}>(.*?)</{tag}>", html, re.DOTALL))
               for kind, tag in (("script-src", "script"), ("style-src", "style"))}
    policy = {"default-src": "'none'", **allowed, "img-src": "'self' blob: data:", "connect-src": "'self'",
              "base-uri": "'none'", "form-action": "'none'", "frame-ancestors": "'none'"}
    return {"Content-Security-Policy": "; ".join(f"{name} {value}" for name, value in policy.items()),
            "X-Content-Type-Options": "nosniff", "X-Frame-Options": "DENY", "Referrer-Policy": "no-referrer",
            "Cross-Origin-Resource-Policy": "same-origin", "Cache-Control": "no-store"}
