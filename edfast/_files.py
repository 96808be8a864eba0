"""Output files: checked before any work, and there complete or not at all."""

import contextlib
import os
import uuid
from itertools import filterfalse
from pathlib import Path


def check_output(path, name="output"):
    """Raise OSError, in one line, if a file at `path` cannot be written: to be called before any work."""
    path = Path(path)
    folder = _target(path).parent
    if path.is_dir():
        raise IsADirectoryError(f"{name} {path} is a folder: give the name of a file")
    if not folder.is_dir():
        raise NotADirectoryError(f"{name} {path} cannot be written: {folder} is not a folder" if folder.exists() else
                                 f"{name} {path} cannot be written: there is no folder {folder}")
    if not os.access(folder, os.W_OK):
        raise PermissionError(f"{name} {path} cannot be written: no permission to write in {folder}")


def is_array(image):
    """Whether `image` holds pixels, rather than the name of a file."""
    return not isinstance(image, (str, bytes, os.PathLike))


def check_not_input(output, *inputs, name="output"):
    """Raise, before any work, if `output` cannot be written, or is one of the inputs; what is no name of a file is none."""
    check_output(output, name)
    for path in map(os.fsdecode, filterfalse(is_array, inputs)):
        if Path(output).exists() and Path(path).exists() and Path(output).samefile(path):
            raise ValueError(f"{name} {output} is the same file as the input {path}: inputs are never overwritten")


def write_atomically(path, content, *, sync=False):
    """Write `content` (str or bytes) to a temporary file beside `path`, and rename it: never half a file.

    With `sync` the disk has the content before the name: then not even a power cut leaves half a file.
    """
    with replacing(path) as temporary, temporary.open("xb") as file:
        file.write(content.encode(errors="backslashreplace") if isinstance(content, str) else content)
        if sync:
            file.flush()
            os.fsync(file.fileno())


def _target(path):
    """The file that is written for `path`, absolute: what a symbolic link names. Folders need not be followed for that."""
    path = Path(path).absolute()
    return Path(os.path.realpath(path)) if path.is_symlink() else path


@contextlib.contextmanager
def replacing(path):
    """Path of a temporary file beside `path`, for libraries that write files themselves; renamed once the block is done.

    Whatever goes wrong in the block, nothing is left behind and a file that was there stays as it was.
    """
    target = _target(path)
    # Not by the tempfile module, whose files are private: this one gets the permissions that the umask gives.
    temporary = target.with_name(f".{uuid.uuid4().hex}.tmp")
    try:
        yield temporary
        temporary.replace(target)
    except BaseException as error:
        with contextlib.suppress(OSError):
            temporary.unlink()
        if isinstance(error, OSError):
            raise type(error)(f"{path} cannot be written: {error.strerror or error}") from error
        raise
