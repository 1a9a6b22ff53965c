"""What is wrong with a source's feed, from when on, and until when: told once, shown as long as it lasts."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime

from vault.layout import Document, Layout


@dataclass(frozen=True, slots=True)
class Alert:
    """One thing that is wrong.

    Attributes:
        source: Id of the source.
        code: ``silent``, ``doubled``, ``shape`` or ``stopped``.
        message: What was expected, what is, what to do; numbers, and no value of any record.
        since: When it was first seen.
    """

    source: str
    code: str
    message: str
    since: datetime


@dataclass(frozen=True, slots=True)
class News:
    """How a look differs from the one before: what began, what lasts, what ended."""

    began: tuple[Alert, ...]
    lasts: tuple[Alert, ...]
    ended: tuple[str, ...]


class Alerts:
    """The alerts of one institution's sources."""

    def __init__(self, layout: Layout) -> None:
        self._alerts = layout["alerts"]

    def update(self, source: str, found: Mapping[str, str], run: str = "") -> News:
        """Return what is new; from now on ``found`` (message by code) is what is wrong with the source.

        Args:
            source: Id of the source.
            found: What is wrong with it now.
            run: Who looks; the same run, taken up after a crash, is told the same news again.
        """
        now = datetime.now(UTC)
        now = now.replace(microsecond=now.microsecond // 1000 * 1000)  # as exact as it is stored
        began, lasts = list[Alert](), list[Alert]()
        for code, message in found.items():
            fresh: Document = {"source": source, "code": code, "since": now, "run": run}
            change = {"$set": {"message": message}, "$setOnInsert": fresh}
            before = self._alerts.find_one_and_update({"_id": f"{source}/{code}"}, change, upsert=True)
            alert = Alert(source, code, message, (before or fresh)["since"])
            new = before is None or bool(run and before["run"] == run)
            (began if new else lasts).append(alert)
        ended = tuple(one.code for one in self.list(source) if one.code not in found)
        self._alerts.delete_many({"_id": {"$in": [f"{source}/{code}" for code in ended]}})
        return News(tuple(began), tuple(lasts), ended)

    def list(self, source: str | None = None) -> list[Alert]:
        """Return what is wrong with one source or all, the oldest first."""
        found = self._alerts.find({} if source is None else {"source": source}).sort("since", 1)
        return [Alert(one["source"], one["code"], one["message"], one["since"]) for one in found]
