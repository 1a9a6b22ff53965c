"""A folder into which a hospital drops files. Nothing in the folder is changed or deleted.

A file is taken once it is quiet: not changed for ``quiet_seconds`` by its own time, or found unchanged for
that long by this machine's clock (so that a wrong clock of the sender delays a file and never hides it).
Senders that write under another name and rename (``result.tmp`` to ``result.hl7``) can set ``quiet_seconds:
0``. A file that grew or was replaced is read again as a whole, also when that happens while it is read; what
was landed before lands once.

The cursor remembers each file still in the folder by 96 bits of a digest of its name, size and times; of more
than ``REMEMBERED`` files the oldest are forgotten, which costs reading them again and nothing else. Positions
name a file by the SHA-256 of its first 64 KiB, because its name may be a patient's: ``head -c 65536 FILE |
sha256sum`` finds it.
"""

from __future__ import annotations

import base64
import hashlib
import io
import logging
import os
import stat
from abc import abstractmethod
from collections.abc import Generator, Iterator, Mapping
from dataclasses import dataclass
from datetime import datetime
from fnmatch import fnmatchcase
from pathlib import Path
from typing import Any, ClassVar, Final

from connectors.contract import HEAD_BYTES, Finding, Found, Mark, PullConnector
from connectors.errors import Retry
from connectors.settings import read_settings

log = logging.getLogger(__name__)

REMEMBERED: Final = 200_000
_MARK_BYTES: Final = 12
#: Files between two cursors within one pull: each holds all marks, so not every file gets its own.
_FILES_PER_MARK: Final = 500


@dataclass(frozen=True, slots=True)
class FolderSettings:
    """Settings of a drop folder.

    Attributes:
        folder: The folder, absolute or relative to the home folder.
        pattern: Which file names are taken, as shell patterns; case matters.
        ignore: Which of these are left alone: names used while a file is being written.
        quiet_seconds: How long a file must not have changed before it is taken.
        recursive: Whether folders inside the folder are read, too.
    """

    folder: str
    pattern: tuple[str, ...] = ("*",)
    ignore: tuple[str, ...] = (".*", "*.tmp", "*.part", "*.filepart", "*.crdownload", "*~")
    quiet_seconds: float = 5.0
    recursive: bool = False

    def __post_init__(self) -> None:
        if not self.folder:
            raise ValueError("folder is empty; write the folder's path")
        if not 0 <= self.quiet_seconds <= 86_400:
            raise ValueError("quiet_seconds must be from 0 to 86400")

    def takes(self, name: str) -> bool:
        """Return whether a file of this name is one of the source's."""
        return any(fnmatchcase(name, one) for one in self.pattern) and not any(
            fnmatchcase(name, one) for one in self.ignore
        )


@dataclass(frozen=True, slots=True)
class File:
    """A file as the folder lists it; ``mark`` changes whenever its content may have."""

    path: Path
    modified: float
    mark: bytes


@dataclass(slots=True)
class _Progress:
    """What a pull knows of the folder's files so far."""

    read: dict[bytes, None]
    waiting: dict[bytes, float]
    refused: int = 0

    def mark(self) -> Mark:
        """Return the cursor that holds all of it."""
        read = b"".join(list(self.read)[-REMEMBERED:])
        seen = dict(list(self.waiting.items())[-REMEMBERED:])
        cursor = {
            "read": base64.b64encode(read).decode(),
            "seen": {base64.b64encode(mark).decode(): since for mark, since in seen.items()},
        }
        return Mark(cursor, len(self.waiting) + self.refused)


class FolderConnector(PullConnector):
    """Pulls every new or changed file of a folder, oldest first; a kind says what stands in one.

    Cursor: ``{"read": <base64 of the marks of files read>, "seen": {<mark of a file not quiet yet>: <since
    when it is known unchanged, Unix time>}}``.
    """

    #: The settings of the kind.
    shape: ClassVar[type[FolderSettings]] = FolderSettings

    def prepare(self) -> None:
        """The settings are read."""
        self.settings = read_settings(self.source, self.shape)
        #: The file that ``contents`` is called for; its name may be a patient's.
        self.file: File | None = None

    @abstractmethod
    def contents(self, stream: io.FileIO, name: str) -> Iterator[Found]:
        """Yield what one file holds, in its order, in bounded memory.

        Args:
            stream: The file, at its start.
            name: What positions call it; no file name.
        """

    def read(self, cursor: Mapping[str, Any]) -> Iterator[Found | Mark]:
        """Yield what each new quiet file holds, oldest file first, and what is known of the folder."""
        files = self.listed()
        before = _marks(cursor.get("read", ""))
        seen = {base64.b64decode(mark): float(since) for mark, since in cursor.get("seen", {}).items()}
        progress = _Progress({one.mark: None for one in files if one.mark in before}, {})
        now = self.now().timestamp()
        for count, file in enumerate((one for one in files if one.mark not in before), 1):
            since = min(file.modified, seen.get(file.mark, now))
            if now - since < self.settings.quiet_seconds:
                progress.waiting[file.mark] = min(now, since)
                continue
            yield from self._take(file, progress)
            if count % _FILES_PER_MARK == 0:
                yield progress.mark()
        yield progress.mark()
        if progress.refused:
            log.warning("%s: %d files may not be read; they are tried again", self.source.id, progress.refused)
        if progress.refused and progress.refused == len(files):
            raise Retry(f"{self.source.id}: none of the folder's files may be read; give this user the right to")

    def past(self, begin: datetime, end: datetime) -> Iterator[Found | Mark]:
        """Yield what each quiet file holds that was last changed in that time, oldest file first."""
        progress = _Progress({}, {})
        for file in self.listed():
            quiet = self.now().timestamp() - file.modified >= self.settings.quiet_seconds
            if quiet and begin.timestamp() <= file.modified < end.timestamp():
                yield from self._take(file, progress)
        yield progress.mark()

    def check(self) -> tuple[Finding, ...]:
        """Return whether the folder is there, may be listed and read, and what its files' times say of its clock."""
        try:
            files = self.listed()
        except Retry as error:
            return (Finding("connection", False, str(error)),)
        except OSError:
            return (Finding("rights", False, "the folder may not be listed; give this user the right to read it"),)
        there = Finding("connection", True, f"the folder is there, with {len(files)} files of the pattern")
        closed = sum(not os.access(one.path, os.R_OK) for one in files)
        message = f"{closed} of {len(files)} files may not be read; give this user the right to" if closed else (
            "its files may be read" if files else "the folder may be listed; it holds no file to try"
        )  # fmt: skip
        ahead = max((one.modified - self.now().timestamp() for one in files), default=0.0)
        clock = (
            f"the newest file is dated {ahead:.0f} s in the future; set the sender's clock (files wait for it)"
            if ahead > 60
            else "no file is dated in the future"
        )
        return (there, Finding("rights", not closed, message), Finding("clock", ahead <= 60, clock))

    def listed(self) -> list[File]:
        """Return the regular files that the settings name, oldest first; links are not followed.

        Raises:
            Retry: The folder is not there.
        """
        folder = self.home / self.settings.folder
        if not folder.is_dir():
            raise Retry(
                f"{self.source.id}: expected the folder that settings.folder names, it is not there; "
                "create or mount it, then run again"
            )
        found = (_listed(path) for path in _walk(folder, self.settings.recursive) if self.settings.takes(path.name))
        return sorted((one for one in found if one), key=lambda one: (one.modified, os.fsencode(one.path)))

    def _take(self, file: File, progress: _Progress) -> Iterator[Found]:
        """Yield what one file holds; note whether it was read, is still written, or may not be read."""
        try:
            whole = yield from self._whole(file)
        except FileNotFoundError:
            return  # taken away since the folder was listed
        except PermissionError:
            progress.refused += 1
            return
        if whole:
            progress.read[file.mark] = None
        else:
            progress.waiting[file.mark] = self.now().timestamp()

    def _whole(self, file: File) -> Generator[Found, None, bool]:
        """Yield what a file holds; return whether it stayed as it was listed while it was read.

        The last thing is held back until that is known: of a file that still grows it may be half of one.
        """
        self.file = file
        with opened(file.path) as stream:
            name = hashlib.sha256(os.pread(stream.fileno(), HEAD_BYTES, 0)).hexdigest()[:16]
            last: Found | None = None
            for found in self.contents(stream, name):
                if last is not None:
                    yield last
                last = found
            if _mark(file.path, os.fstat(stream.fileno())) != file.mark:
                return False
            if last is not None:
                yield last
        return True


def opened(path: Path) -> io.FileIO:
    """Return the open file; a link or a pipe that took its place since is an OSError, never followed or waited for."""
    return io.FileIO(os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC))


def _walk(folder: Path, recursive: bool) -> Iterator[Path]:
    def stop(error: OSError) -> None:
        raise error

    for parent, folders, names in os.walk(folder, onerror=stop):
        yield from (Path(parent, name) for name in names)
        if not recursive:
            folders.clear()


def _listed(path: Path) -> File | None:
    try:
        status = path.lstat()
    except FileNotFoundError:
        return None
    if not stat.S_ISREG(status.st_mode):
        return None
    return File(path, status.st_mtime, _mark(path, status))


def _mark(path: Path, status: os.stat_result) -> bytes:
    parts = (os.fsencode(path.name), status.st_ino, status.st_size, status.st_mtime_ns, status.st_ctime_ns)
    return hashlib.sha256(repr(parts).encode()).digest()[:_MARK_BYTES]


def _marks(packed: str) -> set[bytes]:
    data = base64.b64decode(packed)
    return {data[at : at + _MARK_BYTES] for at in range(0, len(data), _MARK_BYTES)}
