"""The scorecard as files, JSON and a page, and whether a source may be enabled on it."""

from __future__ import annotations

import os
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any, Final

import orjson

from dags.steps.onboarding.fingerprint import fingerprint
from dags.steps.onboarding.page import page
from schemas.documents import check_document
from schemas.errors import ConfigurationError
from schemas.home import Home
from schemas.source import Source

#: How long a scorecard says anything of a source that lives on.
FRESH: Final = timedelta(days=30)


def folder(home: Home, source: str) -> Path:
    """Return where the scorecard of a source lies."""
    return home.path / "scorecards" / source


def keep(home: Home, card: dict[str, Any]) -> Path:
    """Return the scorecard's page once both files stand in place of an earlier one's.

    Raises:
        ConfigurationError: The card breaks ``scorecard.schema.json``.
    """
    check_document(card, "scorecard", "scorecard")
    place = folder(home, card["source"])
    place.mkdir(parents=True, exist_ok=True, mode=0o700)
    _write(place / "scorecard.json", orjson.dumps(card, option=orjson.OPT_INDENT_2 | orjson.OPT_SORT_KEYS))
    _write(place / "scorecard.html", page(card).encode())
    return place / "scorecard.html"


def _write(path: Path, content: bytes) -> None:
    unfinished = path.with_suffix(f".{os.getpid()}.tmp")
    unfinished.write_bytes(content)
    unfinished.replace(path)


def load(home: Home, source: str) -> dict[str, Any] | None:
    """Return the scorecard of a source, or None before the first.

    Raises:
        ConfigurationError: The file is no scorecard.
    """
    path = folder(home, source) / "scorecard.json"
    try:
        card = orjson.loads(path.read_bytes())
    except FileNotFoundError:
        return None
    except orjson.JSONDecodeError:
        raise ConfigurationError(f"scorecards/{source}/scorecard.json is no JSON; certify again") from None
    check_document(card, "scorecard", f"scorecards/{source}/scorecard.json")
    assert isinstance(card, dict)
    return card


def hindrances(home: Home, source: Source, now: datetime | None = None) -> list[str]:
    """Return why the source may not be enabled, each with what to do; empty where it may."""
    again = f"run `xinglin source certify {source.id}`"
    card = load(home, source.id)
    if card is None:
        return [f"it has no scorecard; {again}"]
    found = [
        f"{one['name']}: needed {one['needed']}, found {one['found']}; see {folder(home, source.id)}/scorecard.html"
        for one in card["bar"]
        if not one["passed"]
    ]
    if card["fingerprint"] != fingerprint(source, card["media"]):
        found.append(
            f"its file, mapping or suite, or how its records are read, changed since it was certified; {again}"
        )
    if (now or datetime.now(UTC)) - datetime.fromisoformat(card["certified_at"]) > FRESH:
        found.append(f"its scorecard is older than {FRESH.days} days; {again}")
    return found
