"""A FIT file as plain messages: decoded by ``fitdecode``, every checksum checked, what is wrong refused by name.

Source: FIT protocol (file header, records, CRC, chained files). A file that fails anywhere is refused as a whole: half
an activity would look like a whole one.
"""

from __future__ import annotations

import struct
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta, timezone, tzinfo
from typing import Any, Final
from zoneinfo import ZoneInfo

from normalise.errors import SetAside, set_aside

EPOCH: Final = datetime(1989, 12, 31, tzinfo=UTC)
#: Messages of one record, at most: a day's file of a watch has some ten thousand.
_MESSAGES: Final = 150_000


@dataclass(frozen=True, slots=True)
class Message:
    """One data message.

    Attributes:
        name: As the FIT profile calls it.
        number: Its place among those of its name, from 1.
        values: Fields that have a value, by name; subfields by their own names.
        units: Their units as the profile has them.
    """

    name: str
    number: int
    values: Mapping[str, Any]
    units: Mapping[str, str]

    @property
    def where(self) -> str:
        """The sender's coordinates."""
        return f"{self.name}[{self.number}]"


@dataclass(frozen=True, slots=True)
class Clock:
    """How a file's times are read.

    Attributes:
        zone: The wearer's zone: UTC where the file does not say.
        power_on: When the device was switched on, for one that counts from then (FIT date_time below 2^28); None
            where nothing tells.
    """

    zone: tzinfo
    power_on: datetime | None

    def read(self, value: Any) -> datetime | None:
        """Return a FIT date_time in the wearer's zone, or None where it is none."""
        if isinstance(value, datetime):
            return (value if value.tzinfo else value.replace(tzinfo=UTC)).astimezone(self.zone)
        if isinstance(value, int) and self.power_on is not None:
            return self.power_on + timedelta(seconds=value)
        return None

    def of(self, message: Message) -> datetime | None:
        """Return a message's own time."""
        return self.read(message.values.get("timestamp"))


def messages(content: bytes) -> list[Message]:
    """Return the data messages of a FIT file, chained files after each other.

    Raises:
        SetAside: It is no FIT file, is cut off, or a checksum does not agree.
    """
    _check_length(content)
    counts: dict[str, int] = {}
    found: list[Message] = []
    for name, values, units in _frames(content):
        counts[name] = counts.get(name, 0) + 1
        found.append(Message(name, counts[name], values, units))
        if len(found) > _MESSAGES:
            raise set_aside("oversize", "", f"Expected at most {_MESSAGES} messages in one file.")
    return found


def _check_length(content: bytes) -> None:
    """Each header's own length is there: told before decoding, because a file that lost bytes fails anywhere."""
    at = 0
    while at < len(content) or not at:
        if len(content) - at < 12 or content[at] not in (12, 14) or content[at + 8 : at + 12] != b".FIT":
            code = "structure" if at else "not_fit"
            raise set_aside(code, f"byte {at}", "Expected the header of a FIT file; copy it from the device again.")
        (size,) = struct.unpack_from("<I", content, at + 4)
        ends = at + content[at] + size + 2
        if ends > len(content):
            message = (
                f"The header announces {ends - at} bytes, {len(content) - at} came; copy it from the device again."
            )
            raise set_aside("truncated", f"byte {at}", message)
        at = ends


def _frames(content: bytes) -> Iterator[tuple[str, dict[str, Any], dict[str, str]]]:
    import fitdecode  # type: ignore[import-untyped]

    kinds = {
        fitdecode.FitCRCError: ("checksum", "The file's checksum does not agree with its bytes; copy it again."),
        fitdecode.FitEOFError: ("truncated", "The file ends before it is complete; copy it from the device again."),
    }
    try:
        with fitdecode.FitReader(
            content, check_crc=fitdecode.CrcCheck.RAISE, error_handling=fitdecode.ErrorHandling.RAISE
        ) as reader:
            for frame in reader:
                if isinstance(frame, fitdecode.FitDataMessage):
                    fields = [one for one in frame.fields if one.value is not None]
                    # A field and its subfield may share a message; the field itself comes last and must not win.
                    values = {one.name: one.value for one in reversed(fields)}
                    yield frame.name, values, {one.name: one.units or "" for one in fields}
    except SetAside:
        raise
    except (MemoryError, RecursionError, OSError):
        raise
    except Exception as error:  # noqa: BLE001 - what a foreign decoder raises of hostile bytes is no list of ours
        code, message = kinds.get(type(error), ("structure", "The file's records cannot be decoded; copy it again."))
        offset = getattr(error, "offset", None)
        raise set_aside(code, f"byte {offset}" if offset is not None else "", message) from None


def clock(found: Sequence[Message], time_zone: str) -> Clock:
    """Return the clock of a file: messages that say the local time beside their own tell the offset.

    Args:
        found: The file's messages.
        time_zone: Of the source; the local time of a device that knows no other is in it.
    """
    for message in found:
        here, there = message.values.get("local_timestamp"), message.values.get("timestamp")
        if isinstance(here, datetime) and isinstance(there, datetime) and abs(here - there) <= timedelta(hours=14):
            return Clock(timezone(timedelta(minutes=15 * round((here - there) / timedelta(minutes=15)))), None)
        if isinstance(here, datetime) and isinstance(there, int):
            local = here.replace(tzinfo=ZoneInfo(time_zone))
            return Clock(local.tzinfo or UTC, local - timedelta(seconds=there))
    return Clock(UTC, None)
