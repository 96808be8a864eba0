"""The tag tree of DigitalMicrograph files (DM3 and DM4): read and written, image data stepped over.

Gatan does not publish the format; the layout is the one that C. Boothroyd found out and describes ("Digital Micrograph file
format", https://personal.ntu.edu.sg/cbb/info/dmformat/). In short: a header (version, length, byte order), then groups of
entries, each either a group again or a value with a description of its type. Structure is big-endian, values have the byte
order that the header says. DM4 has 64-bit where DM3 has 32-bit counts, and the length in bytes in front of each entry.

ncempy reads the same tree; it takes 8 ms for the 300 tags of an ordinary image, because it makes a numpy array of each
number. This reader takes a twentieth of that, and checks each length against the size of the file before it uses it.
"""

import os
import struct
from functools import lru_cache
from typing import NamedTuple

import numpy as np

GROUP, VALUE = 20, 21
STRUCT, STRING, ARRAY = 15, 18, 20
DELIMITER = b"%%%%"
# Type of a tag's value -> its code in the struct module.
CODES = {2: "h", 3: "i", 4: "H", 5: "I", 6: "f", 7: "d", 8: "?", 9: "b", 10: "b", 11: "q", 12: "Q"}
SIZES = {kind: struct.calcsize("=" + code) for kind, code in CODES.items()}
# Type of the values that the writer takes, which is the reverse of it: numpy's dtype -> type of the tag.
KINDS = {"int16": 2, "int32": 3, "uint16": 4, "uint32": 5, "float32": 6, "float64": 7, "bool": 8, "int8": 9, "uint8": 10,
         "int64": 11, "uint64": 12}
# DataType of an image -> numpy's name of a pixel, as RosettaSciIO and ncempy have them too.
PIXELS = {1: "int16", 2: "float32", 3: "complex64", 6: "uint8", 7: "int32", 9: "int8", 10: "uint16", 11: "uint32",
          12: "float64", 13: "complex128", 14: "bool"}
LONGEST_TEXT = 1 << 16  # longer arrays of 16-bit numbers are data, not text
DEEPEST = 64
BLOCK = 1 << 16
ENTRY = struct.Struct(">BH")


class FileFormatError(ValueError):
    """A file that cannot be read as an image: truncated, damaged, of an unknown format, without an image. One line."""

    __module__ = "edfast.filereader"  # where it is public


class NoSuchFrameError(FileFormatError):
    """The file has fewer frames."""


class Block(NamedTuple):
    """An array that was stepped over: where it stands in the file, and how many bytes it has."""

    offset: int
    nbytes: int


class _Layout(NamedTuple):
    """What differs between the versions: the words in front of a group and of a value."""

    word: str
    skip: int  # the length in front of each entry
    group: struct.Struct
    value: struct.Struct


LAYOUTS = {
    3: _Layout("I", 0, struct.Struct(">2xI"), struct.Struct(">4sII")),
    4: _Layout("Q", 8, struct.Struct(">8x2xQ"), struct.Struct(">8x4sQQ")),
}


class _Cursor:
    """Reads ahead in blocks. The file is not mapped: a map kills the process if somebody truncates the file meanwhile."""

    def __init__(self, file):
        self.file = file
        self.size = os.fstat(file.fileno()).st_size
        self.block = b""
        self.start = self.at = 0  # position of the block in the file, next byte within the block

    @property
    def position(self):
        return self.start + self.at

    def take(self, count):
        """Offset within `block` of the next `count` bytes, which are stepped over."""
        at = self.at
        if at + count > len(self.block):
            position = self.start + at
            if position + count > self.size:
                raise FileFormatError(f"truncated or damaged: it ends at byte {self.size}, within its tags")
            self.file.seek(position)
            self.block = self.file.read(max(count, BLOCK))
            if len(self.block) < count:
                raise FileFormatError("it became shorter while it was read")
            self.start, at = position, 0
        self.at = at + count
        return at

    def unpack(self, form):
        """The values that the next bytes hold."""
        at = self.take(form.size)
        return form.unpack_from(self.block, at)

    def skip(self, count, name):
        """Step over `count` bytes, and return where they are in the file."""
        position = self.position
        if position + count > self.size:
            raise FileFormatError(f"truncated or damaged: it ends at byte {self.size}, but the tag {name!r} needs {count} "
                                  f"bytes from byte {position} on")
        self.at += count
        if self.at > len(self.block):
            self.block, self.start, self.at = b"", position + count, 0
        return position


class _TagReader:
    """One walk over the tree: nested dicts, in which entries without a name have their number (from 0) as the key."""

    def __init__(self, file):
        self.cursor = _Cursor(file)
        version, little = self._header()
        self.layout = LAYOUTS[version]
        self.order = "<" if little else ">"

    def _header(self):
        if self.cursor.size < 24:
            raise FileFormatError(f"not a DM3 or DM4 file, or truncated: it has only {self.cursor.size} bytes")
        version, = self.cursor.unpack(_packer(">I"))
        if version not in LAYOUTS:
            raise FileFormatError(f"not a DM3 or DM4 file: its version is {version}")
        self.cursor.take(8 if version == 4 else 4)
        little, = self.cursor.unpack(_packer(">I"))
        if little > 1:
            raise FileFormatError(f"not a DM3 or DM4 file: its byte order is {little}")
        return version, bool(little)

    def tree(self):
        # The root alone has no length in front of it.
        self.cursor.at -= self.layout.skip
        return self.group(0)

    def group(self, depth):
        if depth > DEEPEST:
            raise FileFormatError(f"damaged: its tags are nested more than {DEEPEST} deep")
        cursor, layout = self.cursor, self.layout
        count, = cursor.unpack(layout.group)
        entries = {}
        for number in range(count):
            kind, length = cursor.unpack(ENTRY)
            name = number
            if length:
                at = cursor.take(length)
                name = _text(cursor.block[at:at + length])
            if kind == VALUE:
                entries[name] = self.value(name)
            elif kind == GROUP:
                entries[name] = self.group(depth + 1)
            else:
                raise FileFormatError(f"damaged: an entry of unknown kind {kind} at byte {cursor.position}")
        return entries

    def value(self, name):
        cursor, layout = self.cursor, self.layout
        mark, count, kind = cursor.unpack(layout.value)
        if mark != DELIMITER:
            raise FileFormatError(f"damaged: the tag {name!r} before byte {cursor.position} does not begin as it should")
        if kind in CODES:
            return cursor.unpack(_packer(self.order + CODES[kind]))[0]
        if not 2 <= count <= 4096:
            raise FileFormatError(f"damaged: the tag {name!r} describes its type in {count} words")
        return self.compound(name, (kind, *cursor.unpack(_packer(f">{count - 1}{layout.word}"))))

    def compound(self, name, words):
        try:
            size, codes, end = _describe(words, 0)
        except (KeyError, IndexError):
            raise FileFormatError(f"damaged: the tag {name!r} has a value of unknown type {words[:8]}") from None
        if end != len(words):
            raise FileFormatError(f"damaged: the tag {name!r} has a type that does not add up: {words[:8]}")
        if words[0] == STRUCT:
            return self.cursor.unpack(_packer(self.order + codes))
        if words[0] == STRING or (words[0] == ARRAY and words[1] == 4 and size <= LONGEST_TEXT and name != "Data"):
            at = self.cursor.take(size)
            raw = self.cursor.block[at:at + size]
            if words[0] == STRING:
                return _text(raw)
            return raw.decode("utf-16-le" if self.order == "<" else "utf-16-be", "replace")
        return Block(self.cursor.skip(size, name), size)


@lru_cache(maxsize=256)
def _packer(form):
    return struct.Struct(form)


def _text(raw):
    """Names and byte strings are UTF-8 in new files and Latin-1 in old ones (the mu of "Emission Current (uA)")."""
    try:
        return raw.decode()
    except UnicodeDecodeError:
        return raw.decode("latin-1")


def _describe(words, at):
    """Size in bytes of the value that `words` describe from `at` on, its codes (structs only), and where that ends."""
    kind = words[at]
    if kind == STRUCT:
        fields = [words[at + 4 + 2 * i] for i in range(words[at + 2])]
        return sum(SIZES[field] for field in fields), "".join(CODES[field] for field in fields), at + 3 + 2 * len(fields)
    if kind == ARRAY:
        size, _, end = _describe(words, at + 1)
        return size * words[end], "", end + 1
    if kind == STRING:
        return words[at + 1], "", at + 2
    return SIZES[kind], CODES[kind], at + 1


def read_tags(file):
    """The tags of an open DM3 or DM4 file.

    Parameters
    ----------
    file : file object
        Opened for reading in binary mode, preferably without a buffer.

    Returns
    -------
    tags : dict
        Nested dicts; text is str, structs are tuples, arrays are `Block` records (not read). Entries of lists, which have no
        name, have their number (from 0) as the key.
    order : str
        Byte order of the values, "<" or ">".

    Raises
    ------
    FileFormatError
        The file is not one of these, is truncated or damaged; says what is wrong, without the file's name.
    """
    reader = _TagReader(file)
    return reader.tree(), reader.order


# --------------------------------------------------------------------------------------------------------------- writing


def encode(tags):
    """The bytes of a DM4 file with these tags, little-endian.

    Parameters
    ----------
    tags : dict
        Entries of the root group. A dict becomes a group, a list a group of entries without names, text an array of 16-bit
        characters, a numpy scalar a number of its type, a tuple of numpy scalars a struct, an ndarray an array.

    Returns
    -------
    bytes
    """
    root = _group(tags)
    size = sum(map(len, root))
    # Eight zeros end the file; its length is counted without the 16 bytes of the header and these.
    return b"".join([struct.pack(">IQI", 4, size, 1), *root, bytes(8)])


def _group(entries):
    """Buffers of a group: flags (sorted or not, closed), the number of its entries, and these."""
    named = isinstance(entries, dict)
    items = entries.items() if named else (("", value) for value in entries)
    parts = [struct.pack(">BBQ", named, 0, len(entries))]
    for name, value in items:
        kind, body = (GROUP, _group(value)) if isinstance(value, (dict, list)) else (VALUE, _value(value))
        raw = name.encode()
        parts += [struct.pack(">BH", kind, len(raw)), raw, struct.pack(">Q", sum(map(len, body))), *body]
    return parts


def _value(value):
    """Buffers of a value: the mark, the number of words that describe its type, these, and its bytes."""
    if isinstance(value, str):
        value = np.frombuffer(value.encode("utf-16-le"), np.uint16)
    if isinstance(value, tuple):
        words = [STRUCT, 0, len(value)]
        for field in value:
            words += [0, KINDS[field.dtype.name]]
        data = b"".join(field.astype(field.dtype.newbyteorder("<")).tobytes() for field in value)
    else:
        words = [KINDS[value.dtype.name]]
        if isinstance(value, np.ndarray):
            words = [ARRAY, *words, value.size]
        data = np.ascontiguousarray(value, value.dtype.newbyteorder("<")).tobytes()
    return [DELIMITER + struct.pack(f">{1 + len(words)}Q", len(words), *words), data]
