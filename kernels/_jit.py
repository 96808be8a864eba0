"""The project's one decorator around numba: flags, and a cache that can never serve a stale kernel.

numba decides whether a cached kernel is fresh by the file that it stands in, not by the files of the kernels that it calls.
A change in one file would therefore leave old machine code in use in another. The cache folder carries a digest of all
kernel sources instead: any change, an upgrade too, starts an empty folder.
"""

import hashlib
import logging
import os
from pathlib import Path

import numba
from platformdirs import user_cache_path

# Everything that lets loops vectorise and contract, but neither "nnan" nor "ninf": NaN and inf are data here.
FASTMATH = {"nsz", "arcp", "contract", "afn", "reassoc"}

log = logging.getLogger("edfast")


def sources_digest(folder=None):
    """Digest of the kernel sources in `folder` (this package's own by default), 16 hexadecimal digits."""
    digest = hashlib.sha256()
    for path in sorted(Path(folder or Path(__file__).parent).glob("*.py")):
        digest.update(path.name.encode())
        digest.update(path.read_bytes())
    return digest.hexdigest()[:16]


def _cache_folder():
    """Writable cache folder of this version of the kernels, or None where there is none."""
    chosen = os.environ.get("NUMBA_CACHE_DIR")
    checked = "-boundscheck" * bool(numba.config.BOUNDSCHECK)  # other machine code from the same sources
    folder = (Path(chosen) if chosen else user_cache_path("edfast")) / f"kernels-{sources_digest()}{checked}"
    try:
        folder.mkdir(parents=True, exist_ok=True)
        probe = folder / f".write-{os.getpid()}"
        probe.touch()
        probe.unlink()
    except OSError as error:
        log.warning("kernels are compiled anew in each process: cannot write the cache folder %s (%s); "
                    "set NUMBA_CACHE_DIR to a folder that can be written", folder, error)
        return None
    return folder


CACHE_FOLDER = None if numba.config.DISABLE_JIT else _cache_folder()


def jit(function=None, *, fastmath=False, parallel=False, inline="never"):
    """Compile `function` lazily: nogil, IEEE division, cached. ``fastmath=True`` means the NaN-safe set above."""
    if function is None:
        return lambda f: jit(f, fastmath=fastmath, parallel=parallel, inline=inline)
    previous, numba.config.CACHE_DIR = numba.config.CACHE_DIR, str(CACHE_FOLDER or "")
    try:
        return numba.njit(nogil=True, error_model="numpy", cache=CACHE_FOLDER is not None, parallel=parallel,
                          fastmath=FASTMATH if fastmath else False, inline=inline)(function)
    finally:
        numba.config.CACHE_DIR = previous


def read_only(array):
    """A view of `array` that cannot be written: numba compiles a kernel for such arrays and for others, and one will do."""
    view = array.view()
    view.flags.writeable = False
    return view
