"""Zip archives as data: every member read once, and nothing believed that is not there."""

import io
import struct
import zipfile
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import BinaryIO

from torchedge.errors import ArtifactError
from torchedge.reading.files import open_regular
from torchedge.reading.names import one_line

__all__ = ["read_archive", "written_archive"]

_MOST_MEMBERS = 20_000
_MOST_BYTES = 8 * 2**30
_LONGEST_NAME = 512
_CHUNK = 2**20
_HEADER_BYTES, _PLACE_OF_LENGTHS, _DESCRIPTOR_BYTES = 30, 26, 24
_DIRECTORY_ENTRY = b"PK\x01\x02"
_ENCRYPTED = 0x1 | 0x40 | 0x2000
_EPOCH = (1980, 1, 1, 0, 0, 0)


def read_archive(path: Path) -> Iterator[tuple[str, bytes]]:
    """Name and bytes of every member of an archive of stored members, in its directory's order.

    Python reads one of the directories that a file may have. Whatever that one names is what is
    returned here, and the caller builds on nothing else. What it does not name must not be there:
    members lie one behind the other from the first byte on.

    Raises:
        ArtifactError: It is no archive; or a member is compressed, encrypted, a link or folder,
            named twice or with other letters only in case; or they overlap, or something lies
            before, between or behind them.
    """
    try:
        with open_regular(path, follow=True) as stream:
            yield from _members(path, stream)
    except (
        zipfile.BadZipFile,
        ValueError,
        EOFError,
        NotImplementedError,
        RuntimeError,
        struct.error,
    ) as error:
        raise ArtifactError(
            f"'{path}' is no intact torch.export archive ({one_line(error)}); save the model again."
        ) from error
    except (OSError, OverflowError) as error:
        raise ArtifactError(
            f"'{path}' is no intact torch.export archive; save the model again."
        ) from error


def _members(path: Path, stream: BinaryIO) -> Iterator[tuple[str, bytes]]:
    _require_few(path, stream)
    with zipfile.ZipFile(stream) as archive:
        entries = archive.infolist()
        _require_sound(entries)
        _require_tiled(stream, entries, archive.start_dir)
        for entry in entries:
            yield entry.filename, archive.read(entry)


def written_archive(members: Mapping[str, bytes]) -> io.BytesIO:
    """A new archive of stored members."""
    stream = io.BytesIO()
    with zipfile.ZipFile(stream, "w", zipfile.ZIP_STORED) as archive:
        for name, data in members.items():
            archive.writestr(zipfile.ZipInfo(name, _EPOCH), data)
    stream.seek(0)
    return stream


def _require_few(path: Path, stream: BinaryIO) -> None:
    """Count entries of directories before Python makes an object of each."""
    count, before, size = 0, b"", 0
    while chunk := stream.read(_CHUNK):
        count += (before + chunk).count(_DIRECTORY_ENTRY)
        before, size = chunk[1 - len(_DIRECTORY_ENTRY) :], size + len(chunk)
        if count > _MOST_MEMBERS or size > _MOST_BYTES:
            raise ArtifactError(
                f"'{path}' has more than {_MOST_MEMBERS:,} members or {_MOST_BYTES:,} bytes."
            )


def _require_tiled(stream: BinaryIO, entries: list[zipfile.ZipInfo], ends: int) -> None:
    """No byte that is of no member: another archive could hide there."""
    place = 0
    for entry in sorted(entries, key=lambda entry: entry.header_offset):
        if not 0 <= entry.header_offset - place <= _DESCRIPTOR_BYTES:
            raise ValueError(f"something lies before the member {entry.filename[:60]!r}")
        stream.seek(entry.header_offset + _PLACE_OF_LENGTHS)
        name, extra = struct.unpack("<HH", stream.read(4))
        place = entry.header_offset + _HEADER_BYTES + name + extra + entry.compress_size
    if not 0 <= ends - place <= _DESCRIPTOR_BYTES:
        raise ValueError("something lies between its members and its directory")


def _require_sound(entries: list[zipfile.ZipInfo]) -> None:
    names = [entry.filename.casefold() for entry in entries]
    if len(set(names)) != len(names):
        twice = next(name for name in names if names.count(name) > 1)
        raise ValueError(f"two members are called {twice[:60]!r}")
    for entry in entries:
        wrong = _wrong(entry)
        if wrong:
            raise ValueError(f"the member {entry.filename[:60]!r} {wrong}")


def _wrong(entry: zipfile.ZipInfo) -> str:
    if entry.compress_type != zipfile.ZIP_STORED or entry.compress_size != entry.file_size:
        return "is compressed, which torch's archives are not"
    if entry.flag_bits & _ENCRYPTED:
        return "is encrypted"
    kind = entry.external_attr >> 28
    if entry.is_dir() or kind not in {0, 8}:
        return "is a folder, link or device"
    if len(entry.filename) > _LONGEST_NAME or not entry.filename.isascii():
        return "has a name that torch does not give"
    if entry.orig_filename != entry.filename:
        return "has a name with a byte 0 or another separator"
    return ""
