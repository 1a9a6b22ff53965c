"""Wearables from a folder: Open mHealth JSON, Apple Health exports, Garmin FIT files and vendors' replies.

What a file is, its first bytes tell. JSON is taken apart into data points (single, array or NDJSON); an export into one
record for each kind of sample and day (``apple_export.py``); a FIT file and a vendor's reply are one record each.
Whose it is, ``user`` says where the file itself does not: the folder it lies in, or its name.
"""

from __future__ import annotations

import io
import itertools
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from typing import ClassVar, Final, Literal

from connectors.contract import HEAD_BYTES, Finding, Found, oversize
from connectors.folders import FolderConnector, FolderSettings, opened
from connectors.wearables.apple_export import pieces
from connectors.wearables.json_values import elements, is_point, lines, values
from schemas.attribution import attributed

Kind = Literal["apple-health", "fit", "omh", "wearable-api", "json", "unknown"]

#: JSON larger than this is read line by line, bytes.
_WHOLE_BYTES: Final = 16 * 1024 * 1024
_LOOKED_AT: Final = 20
_USERS: Final = ("content", "folder", "name")
_MEDIA: Final = ("auto", "omh", "wearable-api")


@dataclass(frozen=True, slots=True)
class WearableFilesSettings(FolderSettings):
    """Settings of a folder of wearables' files.

    Attributes:
        folder: The folder, absolute or relative to the home folder.
        pattern: Which file names are taken, as shell patterns; case matters.
        ignore: Which of these are left alone: names used while a file is being written.
        quiet_seconds: How long a file must not have changed before it is taken.
        recursive: Whether folders inside the folder are read, too.
        user: Where a file's user stands: in the file itself (content), as the name of the folder inside the folder
            (folder), or as the file's name up to its first underscore or dot (name).
        media: What JSON files hold: omh, wearable-api, or auto to tell by their elements.
    """

    pattern: tuple[str, ...] = ("*.json", "*.ndjson", "*.jsonl", "*.zip", "*.xml", "*.fit", "*.FIT")
    recursive: bool = True
    user: str = "content"
    media: str = "auto"

    def __post_init__(self) -> None:
        FolderSettings.__post_init__(self)
        if self.user not in _USERS:
            raise ValueError(f"user must be one of {', '.join(_USERS)}")
        if self.media not in _MEDIA:
            raise ValueError(f"media must be one of {', '.join(_MEDIA)}")


class WearableFilesConnector(FolderConnector):
    """Pulls every new or changed file of a folder, oldest first."""

    media: ClassVar[str] = "omh"
    shape: ClassVar[type[FolderSettings]] = WearableFilesSettings

    def contents(self, stream: io.FileIO, name: str) -> Iterator[Found]:
        """Yield the records of one file."""
        head = stream.read(4096)
        stream.seek(0)
        kind, user = kind_of(head), self._user()
        if kind == "apple-health":
            yield from self._export(stream, name, user)
        elif kind == "json":
            yield from self._json(stream, name, user)
        else:
            # What is neither is landed all the same, and refused by name when it is normalised.
            yield self._whole_file(stream, f"file {name}", user, "fit" if kind == "fit" else "omh")

    def check(self) -> tuple[Finding, ...]:
        """Return whether the folder can be read, and what its first files are."""
        findings = super().check()
        if not all(one.ok for one in findings if one.aspect != "clock"):
            return findings
        kinds: Counter[str] = Counter()
        for file in itertools.islice(self.listed(), _LOOKED_AT):
            try:
                with opened(file.path) as stream:
                    kinds[kind_of(stream.read(4096))] += 1
            except OSError:
                continue  # taken away, or not readable, which `rights` has said
        if not kinds:
            return findings
        said = ", ".join(f"{kind} {count}" for kind, count in kinds.most_common())
        known = kinds.total() > kinds["unknown"]
        more = "" if not kinds["unknown"] else "; name only what is known in settings.pattern"
        return (*findings, Finding("content", known, f"the first {kinds.total()} files are: {said}{more}"))

    def _user(self) -> str:
        """Return the user's id that folder or name of the file says, or ``""``."""
        settings = self.settings
        assert isinstance(settings, WearableFilesSettings)
        if self.file is None or settings.user == "content":
            return ""
        inside = self.file.path.relative_to(self.home / settings.folder)
        if settings.user == "folder":
            return inside.parts[0] if len(inside.parts) > 1 else ""
        return inside.name.partition("_")[0].partition(".")[0]

    def _whole_file(self, stream: io.FileIO, position: str, user: str, media: str) -> Found:
        limit = self.source.record_bytes
        content = _read(stream, limit + 1)
        if len(content) <= limit:
            return Found(attributed(user, content), position, media=media)
        digest, size = self.digest(), len(content)
        digest.update(content)
        while chunk := stream.read(1 << 20):
            digest.update(chunk)
            size += len(chunk)
        return Found(content[:HEAD_BYTES], position, "", oversize(limit, "file"), size, digest.hexdigest())

    def _export(self, stream: io.FileIO, name: str, user: str) -> Iterator[Found]:
        for piece in pieces(stream, self.source.record_bytes - 2048):
            position = f"{piece.label} of file {name}"
            if piece.refusal is not None:
                yield Found(piece.content, position, "", piece.refusal)
            else:
                yield Found(attributed(user, piece.content), position, media="apple-health")

    def _json(self, stream: io.FileIO, name: str, user: str) -> Iterator[Found]:
        media = self._media()
        content = _read(stream, _WHOLE_BYTES + 1)
        try:
            text = content.decode("utf-8-sig")
        except UnicodeDecodeError:
            text = ""
        found = values(text) if text and len(content) <= _WHOLE_BYTES else None
        if not found:
            yield from self._lines_or_whole(stream, content, name, user)
        elif len(found) > 1:
            for number, (value, one) in enumerate(found, 1):
                kind = media or ("omh" if is_point(value) else "wearable-api")
                yield Found(attributed(user, one.encode()), f"value {number} of file {name}", media=kind)
        elif isinstance(found[0][0], list) and found[0][0] and is_point(found[0][0][0]) and media != "wearable-api":
            for number, one in enumerate(elements(found[0][1]), 1):
                yield Found(attributed(user, one.encode()), f"element {number} of file {name}", media="omh")
        else:
            kind = media or ("omh" if is_point(found[0][0]) else "wearable-api")
            stream.seek(0)
            yield self._whole_file(stream, f"file {name}", user, kind)

    def _media(self) -> str:
        settings = self.settings
        assert isinstance(settings, WearableFilesSettings)
        return "" if settings.media == "auto" else settings.media

    def _lines_or_whole(self, stream: io.FileIO, content: bytes, name: str, user: str) -> Iterator[Found]:
        """What is not JSON as a whole: a line a record where the first line is a value by itself, else one record."""
        first = content.lstrip().partition(b"\n")[0]
        stream.seek(0)
        if not values(first.decode("utf-8", "replace")) or content.lstrip()[:1] == b"[":
            yield self._whole_file(stream, f"file {name}", user, self._media() or "omh")
            return
        limit = self.source.record_bytes
        for number, (line, size) in enumerate(lines(stream, limit), 1):
            position = f"line {number} of file {name}"
            if size > limit:
                yield Found(line[:HEAD_BYTES], position, "", oversize(limit, f"line {number}"), size)
            else:
                yield Found(attributed(user, line.rstrip(b"\r")), position, media=self._media() or "omh")


def kind_of(head: bytes) -> Kind:
    """Return what a file is by its first bytes."""
    if head[8:12] == b".FIT":
        return "fit"
    text = head.lstrip(b"\xef\xbb\xbf \t\r\n")
    if text.startswith(b"PK\x03\x04") or (text.startswith(b"<") and not text.startswith(b"<html")):
        return "apple-health"
    return "json" if text[:1] in (b"{", b"[") else "unknown"


def _read(stream: io.FileIO, most: int) -> bytes:
    """Return the first ``most`` bytes; a raw file may give fewer at a time than it is asked for."""
    content = bytearray()
    while len(content) < most and (chunk := stream.read(min(1 << 20, most - len(content)))):
        content += chunk
    return bytes(content)
