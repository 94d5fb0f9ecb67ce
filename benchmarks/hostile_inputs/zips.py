"""Zip archives byte by byte, to say in one place what another place denies."""

import struct
import zipfile
import zlib
from collections.abc import Iterable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import final

__all__ = ["Member", "archive", "deflated", "directory", "members_of", "two_directories"]


@final
@dataclass(frozen=True, kw_only=True)
class Member:
    """One member, and what its two headers say of it.

    Args:
        name: In the directory.
        data: As stored.
        local_name: In the header before the data; the same where it is empty.
        flags: Bit 0 for encryption, bit 3 for sizes behind the data.
        method: 0 stored, 8 deflated.
        size: Unpacked; that of the data where it is -1.
        attributes: Of a file system, in the upper 16 bits.
    """

    name: str
    data: bytes
    local_name: str = ""
    flags: int = 0
    method: int = 0
    size: int = -1
    attributes: int = 0

    @property
    def unpacked(self) -> int:
        """Its declared size."""
        return len(self.data) if self.size < 0 else self.size


def members_of(path: Path) -> list[Member]:
    """What an archive holds."""
    with zipfile.ZipFile(path) as opened:
        return [Member(name=e.filename, data=opened.read(e)) for e in opened.infolist()]


def archive(members: Iterable[Member], *, shared: bool = False) -> bytes:
    """All members and one directory.

    Args:
        members: In their order.
        shared: Every entry of the directory leads to the first member.
    """
    body, offsets, held = b"", [], list(members)
    for member in held:
        offsets.append(0 if shared else len(body))
        body += _local(member)
    return body + directory(held, offsets, len(body))


def directory(members: Iterable[Member], offsets: Iterable[int], begins: int) -> bytes:
    """A directory with its end."""
    held = list(members)
    named = b"".join(_central(m, o) for m, o in zip(held, offsets, strict=True))
    return named + _end(len(held), len(named), begins)


def two_directories(harmless: list[Member], evil: list[Member]) -> bytes:
    """Python's reader finds the harmless members, torch's the others."""
    body, offsets = b"", []
    for member in evil:
        offsets.append(len(body))
        body += _local(member)
    body += bytes(max(0, sum(len(_local(m)) for m in harmless) + 1 - len(body)))
    begins = len(body)
    named = b"".join(_central(m, o) for m, o in zip(evil, offsets, strict=True))
    named += bytes(max(0, sum(len(_central(m, 0)) for m in harmless) - len(named)))
    body, offsets = body + named, []
    for member in harmless:
        offsets.append(len(body))
        body += _local(member)
    shift = len(body) - begins
    body += b"".join(_central(m, o - shift) for m, o in zip(harmless, offsets, strict=True))
    return body + _end(len(harmless), len(named), begins)


def _local(member: Member) -> bytes:
    name = (member.local_name or member.name).encode()
    crc, sizes = zlib.crc32(member.data), (len(member.data), member.unpacked)
    behind = b""
    if member.flags & 8:
        behind = struct.pack("<4sIII", b"PK\7\x08", crc, *sizes)
        crc, sizes = 0, (0, 0)
    fixed = (20, member.flags, member.method, 0, 0x21, crc, *sizes, len(name), 0)
    return struct.pack("<4sHHHHHIIIHH", b"PK\3\4", *fixed) + name + member.data + behind


def _central(member: Member, offset: int) -> bytes:
    name, crc = member.name.encode(), zlib.crc32(member.data)
    sizes = (len(member.data), member.unpacked)
    fixed = (20, 20, member.flags, member.method, 0, 0x21, crc, *sizes, len(name), 0, 0, 0, 0)
    attributes = member.attributes << 16
    return struct.pack("<4sHHHHHHIIIHHHHHII", b"PK\1\2", *fixed, attributes, offset) + name


def _end(count: int, size: int, begins: int) -> bytes:
    return struct.pack("<4sHHHHIIH", b"PK\5\6", 0, 0, count, count, size, begins, 0)


def deflated(member: Member, bytes_of_zeros: int) -> Member:
    """A member of many zeros, packed."""
    packer = zlib.compressobj(9, zlib.DEFLATED, -15)
    packed = b"".join(packer.compress(bytes(2**20)) for _ in range(bytes_of_zeros // 2**20))
    return replace(member, data=packed + packer.flush(), method=8, size=bytes_of_zeros)
