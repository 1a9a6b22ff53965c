"""What `xinglin request new` is told by options, and asks for where a person wants to be asked."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from datetime import date, datetime
from typing import TYPE_CHECKING

import typer

from console.exits import USAGE, fail

if TYPE_CHECKING:
    from sharing.request.template import Wishes


@dataclass(frozen=True, slots=True)
class Asked:
    """The options, as they were typed; empty where nothing was."""

    title: str
    requester: str
    holders: Sequence[str]
    purpose: str
    codes: Sequence[str]
    since: str
    until: str
    ages: str
    sexes: Sequence[str]
    views: Sequence[str]
    most: int
    keep_until: str
    ethics: str

    def wishes(self) -> Wishes:
        """Return what the draft begins with; what nobody said is left for a person to complete."""
        from sharing.request.template import Wishes
        from sharing.views import library

        return Wishes(
            requester=self.requester or "institution-that-asks",
            title=self.title or "What it is for, in one line",
            holders=self.holders or ["hospital-that-is-asked"],
            purpose=self.purpose or "research",
            keep_until=_day(self.keep_until, "keep-until") if self.keep_until else _in_two_years(),
            views=self.views,
            codes=[_codes(one) for one in self.codes],
            period=(_open_day(self.since, "from"), _open_day(self.until, "until")),
            ages=_ages(self.ages),
            sexes=self.sexes,
            most=self.most,
            ethics=_ethics(self.ethics),
            known_views=tuple(library()),
        )


def ask_for_the_rest(asked: Asked) -> Asked:
    """Return the options with a person's answers in place of those that were not given."""
    from sharing.views import library

    def one(given: str, question: str, default: str | None = None) -> str:
        return given or str(typer.prompt(question, default=default, err=True, show_default=bool(default)))

    def several(given: Sequence[str], question: str, apart: str = ",", default: str | None = None) -> list[str]:
        words = one("\0".join(given), question, default).split("\0" if given else apart)
        return [word.strip() for word in words if word.strip()]

    return replace(
        asked,
        title=one(asked.title, "What is it for, in one line?"),
        requester=one(asked.requester, "Which institution asks?"),
        holders=several(asked.holders, "Whose records, separated by commas?"),
        purpose=one(asked.purpose, "For research, claims, public-health, audit or care?", "research"),
        codes=several(
            asked.codes, "Patients with which codes (SYSTEM|CODE,… ; … for each that must be there)?", ";", ""
        ),
        since=one(asked.since, "Records from which date (empty: any)?", ""),
        until=one(asked.until, "Records until which date (empty: any)?", ""),
        ages=one(asked.ages, "Which ages, like 18-89 (empty: any)?", ""),
        views=several(asked.views, f"Which tables, separated by commas ({', '.join(library())}, or files.json)?"),
        keep_until=one(asked.keep_until, "By when do you delete the dataset?", _in_two_years().isoformat()),
        ethics=one(asked.ethics, "Ethics approval: COMMITTEE,NUMBER,FROM,UNTIL,FILE (empty: none)?", ""),
    )


def _in_two_years() -> date:
    now = datetime.now().astimezone().date()
    return date(now.year + 2, 12, 31)


def _day(text: str, option: str) -> date:
    try:
        return datetime.strptime(text, "%Y-%m-%d").date()  # noqa: DTZ007  (a day has no zone)
    except ValueError:
        fail(f"--{option} {text}: expected a date like 2026-11-23", USAGE)


def _open_day(text: str, option: str) -> str:
    return _day(text, option).isoformat() if text else ""


def _codes(text: str) -> list[str]:
    found = [one.strip() for one in text.split(",")]
    if not all("|" in one for one in found):
        fail(f"--code {text}: expected SYSTEM|CODE, as in http://loinc.org|2339-0", USAGE)
    return found


def _ages(text: str) -> tuple[int, int] | None:
    if not text:
        return None
    first, dash, last = text.partition("-")
    if not (dash and first.isdigit() and last.isdigit()):
        fail(f"--ages {text}: expected two numbers, as in 18-89", USAGE)
    return int(first), int(last)


def _ethics(text: str) -> Sequence[str]:
    found = [one.strip() for one in text.split(",")] if text else []
    if found and len(found) != 5:
        fail(f"--ethics: {len(found)} parts, expected COMMITTEE,NUMBER,FROM,UNTIL,FILE", USAGE)
    return found
