"""What a file holds once it is unpacked: gzip, bzip2, xz, zstd, deflate, or a zip of files."""

from __future__ import annotations

import bz2
import gzip
import io
import lzma
import zipfile
import zlib
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from pathlib import PurePosixPath
from typing import Any

__all__ = ["COMPRESSIONS", "Part", "UnreadableFileError", "parts"]

COMPRESSIONS = (".gz", ".gzip", ".bz2", ".xz", ".zst", ".zstd", ".zip", ".deflate")
"""The endings of compressed files."""

_CHUNK_BYTES = 128 * 1024


class UnreadableFileError(ValueError):
    """A file, or the rest of one, is not what its name or the format says.

    The text follows the file's name: `is no Parquet file: …`.
    """


@dataclass(frozen=True, slots=True)
class Part:
    """A file's contents, or of a zip those of one of its files.

    Attributes:
        name: What messages call it: the file's path, in a zip with the name inside of it.
        open: Gives a binary file; raises `UnreadableFileError` where it can't be unpacked.
    """

    name: str
    open: Callable[[], Any]


def parts(path: str, raw: Any) -> list[Part]:
    """What a file holds, unpacked by its name's ending; of a zip all files in their order.

    Raises:
        UnreadableFileError: It is not compressed as its name says, or holds no file.
    """
    if PurePosixPath(path).suffix.lower() != ".zip":
        return [Part(path, partial(_uncompressed, path, raw))]
    try:
        archive = zipfile.ZipFile(raw)
    except zipfile.BadZipFile as cause:
        raise UnreadableFileError(f"is not compressed as its name says: {cause}") from cause
    except RuntimeError as cause:  # of a version that Python does not know
        raise UnreadableFileError(f"cannot be unpacked, do so first: {cause}") from cause
    members = [each for each in archive.infolist() if _is_shown(each)]
    if not members:
        raise UnreadableFileError("is a zip that holds no file")
    return [Part(f"{path}/{each.filename}", partial(_member, archive, each)) for each in members]


def _is_shown(member: zipfile.ZipInfo) -> bool:
    """Whether it is a file, but none that a system put beside the user's own."""
    folders = PurePosixPath(member.filename).parts
    hidden = any(each.startswith(".") or each == "__MACOSX" for each in folders)
    return not hidden and not member.is_dir()


def _member(archive: zipfile.ZipFile, member: zipfile.ZipInfo) -> Any:
    try:
        return _uncompressed(member.filename, archive.open(member))
    except zipfile.BadZipFile as cause:
        raise UnreadableFileError(f"is not compressed as its name says: {cause}") from cause
    except RuntimeError as cause:  # it needs a password, or a way to unpack that Python has not
        raise UnreadableFileError(f"cannot be unpacked, do so first: {cause}") from cause


def _uncompressed(path: str, raw: Any) -> Any:
    suffix = PurePosixPath(path).suffix.lower()
    try:
        if suffix in (".gz", ".gzip"):
            return gzip.open(raw)
        if suffix == ".bz2":
            return bz2.open(raw)
        if suffix == ".xz":
            return lzma.open(raw)
        if suffix in (".zst", ".zstd"):
            return io.BufferedReader(_Zstd(raw))
        if suffix == ".deflate":
            return io.BytesIO(zlib.decompress(raw.read()))
    except zlib.error as cause:
        raise UnreadableFileError(f"is not compressed as its name says: {cause}") from cause
    return raw


class _Zstd(io.RawIOBase):
    """The contents of a zstd file of any number of frames; one that is cut off ends with EOFError.

    zstandard's own reader takes the end of a cut file for the end of its contents.
    """

    def __init__(self, raw: Any) -> None:
        import zstandard

        super().__init__()
        self._raw = raw
        self._new_frame = zstandard.ZstdDecompressor().decompressobj
        self._frame = self._new_frame()
        self._inside = False
        self._rest = b""
        self._ready = memoryview(b"")
        self._given = 0

    def readable(self) -> bool:
        return True

    def tell(self) -> int:
        """How many bytes of the contents were read, as Avro's reader asks."""
        return self._given

    def readinto(self, buffer: Any) -> int:
        """Fills the buffer, as far as there is something."""
        while not self._ready:
            data = self._rest or self._raw.read(_CHUNK_BYTES)
            if not data:
                if self._inside:
                    raise EOFError("the zstd file ends in the middle of a frame")
                return 0
            self._ready = memoryview(self._decompressed(data))
        size = min(len(buffer), len(self._ready))
        buffer[:size], self._ready = self._ready[:size], self._ready[size:]
        self._given += size
        return size

    def _decompressed(self, data: bytes) -> bytes:
        contents: bytes = self._frame.decompress(data)
        self._inside, self._rest = not self._frame.eof, b""
        if self._frame.eof:
            self._rest, self._frame = self._frame.unused_data, self._new_frame()
        return contents
