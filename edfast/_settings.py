"""The user's settings: ``settings.toml`` in edfast's configuration folder.

The folder is the one that the environment variable ``EDFAST_CONFIG`` names, else the system's (platformdirs;
``~/.config/edfast`` on Linux). The file is flat, and may be written by hand or by ``edfast bench --save``::

    jobs = 4
    block = 8

jobs
    Files that `edfast recalibrate` has in work at the same time: the default of its ``--jobs``. It is the number of threads,
    and bounds the memory (about one image for each).
block
    Files that a worker takes in one go: one task of the executor, whose rows go into the ledger in one transaction. More means
    less to do around each file, and more to do again after a run was killed. It changes nothing in the results.
"""

import logging
import os
import re
import tomllib
from pathlib import Path

from platformdirs import user_config_path

from ._files import write_atomically
from ._validation import as_count

log = logging.getLogger("edfast")
KEYS = ("jobs", "block")


def folder():
    """Where the files of the user's configuration are looked for."""
    named = os.environ.get("EDFAST_CONFIG")
    return Path(named) if named else user_config_path("edfast")


def path():
    """The file with the settings; it need not be there."""
    return folder() / "settings.toml"


def load():
    """The settings that the user has made: a dict with some of `KEYS`, empty where there is no file.

    A ValueError says in one line what is wrong with the file; keys that edfast does not know are logged and left out.
    """
    return _checked(_read(), warn=log.warning)


def save(values):
    """Write the settings `values` (a dict; None removes one) to the file, made where needed; what else it has stays.

    ValueError: a key or value makes no sense, or the file that is there cannot be read. OSError: it cannot be written.
    """
    for key, value in values.items():
        if key not in KEYS:
            raise ValueError(f"there is no setting {key!r}; there are {', '.join(KEYS)}")
        if value is not None:
            as_count(value, key, minimum=1)
    before = _read()
    wanted = _checked(before) | {key: value for key, value in values.items() if value is not None}
    wanted = {key: int(value) for key, value in wanted.items() if values.get(key, value) is not None}
    # In front of everything: after the header of a table a line would belong to that table.
    kept = re.sub(rf"^[ \t]*({'|'.join(KEYS)})[ \t]*=.*\n?", "", before, flags=re.MULTILINE)
    text = "".join(f"{key} = {value}\n" for key, value in wanted.items()) + kept
    try:
        understood = _checked(text) == wanted
    except ValueError:
        understood = False
    if not understood:
        raise ValueError(f"{path()}: is written in a way that cannot be changed automatically; write by hand: "
                         f"{', '.join(f'{key} = {value}' for key, value in wanted.items())}")
    try:
        folder().mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise type(error)(f"{folder()} cannot be made: {error.strerror or error}") from error
    write_atomically(path(), text)


def default_jobs():
    """Files in work at the same time where nobody says it: the setting, else the cores of this process, eight at most.

    Beyond eight threads the disk is the limit.
    """
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    return load().get("jobs") or min(cores, 8)


def _read():
    try:
        return path().read_text(encoding="utf-8")
    except FileNotFoundError:
        return ""
    except (OSError, UnicodeDecodeError) as error:
        raise ValueError(f"{path()}: cannot be read ({getattr(error, 'strerror', None) or error})") from error


def _checked(text, warn=log.debug):
    try:
        content = tomllib.loads(text)
    except tomllib.TOMLDecodeError as error:
        raise ValueError(f"{path()}: is no TOML ({error}); it holds lines such as jobs = 4") from error
    if unknown := [key for key in content if key not in KEYS]:
        warn("%s: unknown setting%s %s; known are %s", path(), "s" * (len(unknown) > 1), ", ".join(unknown), ", ".join(KEYS))
    try:
        return {key: _whole(content[key], key) for key in KEYS if key in content}
    except ValueError as error:
        raise ValueError(f"{path()}: {error}") from None


def _whole(value, key):
    return as_count(value, key, minimum=1)
