"""Steps for plain values: numbers, codes, dates, texts, places. Each is made for one place, and counts what it does."""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Collection
from typing import Any, Final, Literal

from sharing.deidentify.profile import Profile
from sharing.deidentify.run import Run, Step

#: A measurement has no more figures; the number of a telephone or an identity card has.
FIGURES: Final = 9
_SAMPLE: Final = r"(?:[EUL]|-?\d{1,6}(?:\.\d{1,6})?)"
_SAMPLES: Final = re.compile(rf"{_SAMPLE}(?: {_SAMPLE})*", re.ASCII)
_CLOCK: Final = re.compile(r"(?:[01]\d|2[0-3]):[0-5]\d:[0-5]\d", re.ASCII)
#: Peoples of GB/T 3304 by code and by name that are not put together with others: more than nine in ten.
_HAN: Final = frozenset({"01", "1", "HA", "汉族", "汉"})
#: The other peoples of GB/T 3304: by number, by letters, by name.
_OTHERS: Final = re.compile(r"0?[2-9]|[1-4]\d|5[0-6]|97|其他|[A-Z]{2}|[\u4e00-\u9fff]{1,8}族")
#: GB/T 3304: any other.
_OTHER_NATION: Final = "97"
NATIONS: Final = "urn:oid:2.16.156.10011.2.3.3.3"


def dropped(place: str, rule: str) -> Step:
    """Drop whatever comes."""
    applied = (place, rule)

    def step(_: Any, run: Run) -> None:
        run.counts[applied] += 1

    return step


def flag(place: str) -> Step:
    """Keep true and false."""
    wrong = (place, "shape")

    def step(value: Any, run: Run) -> bool | None:
        if value is True or value is False:
            return bool(value)
        run.counts[wrong] += 1
        return None

    return step


def number(place: str) -> Step:
    """Keep a number of at most ``FIGURES`` figures."""
    wrong = (place, "number:check")

    def step(value: Any, run: Run) -> int | float | None:
        kind = type(value)
        if (kind is int or kind is float) and (-1e9 < value < 1e9 or _short(value)):
            return value  # type: ignore[no-any-return]
        run.counts[wrong] += 1
        return None

    return step


def _short(value: float) -> bool:
    """Whether a large number is a short one with zeros behind it, such as cells in a litre."""
    if isinstance(value, float) and not (math.isfinite(value) and value.is_integer()):
        return False
    return abs(value) < 10**15 and len(str(abs(int(value))).rstrip("0")) <= FIGURES


def listed(place: str, rule: str, known: Callable[[str], bool]) -> Step:
    """Keep a text that stands in a closed list or has a closed form."""
    wrong = (place, rule)

    def step(value: Any, run: Run) -> str | None:
        if type(value) is str and known(value):
            return value
        run.counts[wrong] += 1
        return None

    return step


def code(place: str, codes: Collection[str]) -> Step:
    """Keep one of FHIR's codes."""
    return listed(place, "code:listed", frozenset(codes).__contains__)


def media(place: str) -> Step:
    """Keep the kind of a file without its parameters."""
    wrong = (place, "media:listed")

    def step(value: Any, run: Run) -> str | None:
        kind = value.partition(";")[0].strip().lower() if type(value) is str else ""
        if kind in run.tables.media:
            return kind
        run.counts[wrong] += 1
        return None

    return step


def event(place: str, profile: Profile, instant: bool) -> Step:
    """Move a date, or cut it to its year; an instant has no such form and is dropped then."""
    done, wrong = (place, profile.rule("date")), (place, "shape")
    rule = profile.classes["date"]
    if rule["do"] == "drop" or (rule["do"] == "year" and instant):
        return dropped(place, profile.rule("date"))
    oldest = rule.get("oldest", 0)

    def shifted(value: Any, run: Run) -> str | None:
        moved = run.moved(value) if type(value) is str else None
        run.counts[wrong if moved is None else done] += 1
        return moved

    def cut(value: Any, run: Run) -> str | None:
        only = run.capped_year(value, oldest) if type(value) is str else None
        run.counts[wrong if only is None else done] += 1
        return only

    return shifted if rule["do"] == "shift" else cut


def birth(place: str, profile: Profile) -> Step:
    """Cut a birth date to its year, and the years of the oldest to one."""
    rule = profile.classes["birth"]
    if rule["do"] == "drop":
        return dropped(place, profile.rule("birth"))
    done, wrong, oldest = (place, profile.rule("birth")), (place, "shape"), rule["oldest"]

    def step(value: Any, run: Run) -> str | None:
        only = run.capped_year(value, oldest) if type(value) is str else None
        run.counts[wrong if only is None else done] += 1
        return only

    return step


def clock(place: str, profile: Profile) -> Step:
    """Keep a time of day, where the profile does."""
    if profile.action("clock") == "drop":
        return dropped(place, profile.rule("clock"))
    return listed(place, profile.rule("clock"), lambda text: _CLOCK.fullmatch(text) is not None)


def samples(place: str, profile: Profile) -> Step:
    """Keep numbers of a curve (FHIR SampledData.data)."""
    if profile.action("samples") == "drop":
        return dropped(place, profile.rule("samples"))
    return listed(place, profile.rule("samples"), lambda text: _SAMPLES.fullmatch(text) is not None)


def text(place: str, profile: Profile) -> Step:
    """Drop free text, or scrub it where the profile says so; dates in it become what the profile's others become."""
    if profile.action("text") == "drop":
        return dropped(place, profile.rule("text"))
    done, wrong, dates = (place, profile.rule("text")), (place, "shape"), profile.action("date")
    from sharing.deidentify.scrubbing import LONGEST, scrub

    def step(value: Any, run: Run) -> str | None:
        if type(value) is not str or len(value) > LONGEST:
            run.counts[wrong] += 1
            return None
        other: Literal["year", "hide"] = "year" if dates == "year" else "hide"
        clean = scrub(value, run.known, dates=run.day if dates == "shift" else other).text.strip()
        run.counts[done] += 1
        return clean or None

    return step


def result(place: str, profile: Profile) -> Step:
    """Keep a result of a laboratory; any other text is free text."""
    if profile.action("result") == "drop":
        return dropped(place, profile.rule("result"))
    otherwise = text(place, profile)

    def step(value: Any, run: Run) -> str | None:
        if type(value) is str and run.tables.result(value):
            return value
        return otherwise(value, run)  # type: ignore[no-any-return]

    return step


def place_name(place: str, level: str, profile: Profile) -> Step:
    """Keep a name of GB/T 2260 of one level."""
    if profile.action(level) == "drop":
        return dropped(place, profile.rule(level))
    wrong = (place, profile.rule(level))

    def step(value: Any, run: Run) -> str | None:
        if type(value) is str and value in run.places[level]:
            return value
        run.counts[wrong] += 1
        return None

    return step


def country(place: str, profile: Profile) -> Step:
    """Keep China by its codes; any other country points to few here."""
    if profile.action("country") == "drop":
        return dropped(place, profile.rule("country"))
    return listed(place, profile.rule("country"), frozenset({"CN", "CHN", "US", "USA", "中国"}).__contains__)


def postcode(place: str, profile: Profile) -> Step:
    """Keep the first digits of a postal code."""
    rule = profile.classes["postcode"]
    done, wrong = (place, profile.rule("postcode")), (place, "shape")
    if rule["do"] == "drop":
        return dropped(place, profile.rule("postcode"))
    digits, length, few = rule.get("digits", 5), rule.get("length", 3), frozenset(rule.get("few", ()))
    form = re.compile(rf"\d{{{digits}}}" + (r"(?:-?\d{4})?" if rule["do"] == "zip3" else ""), re.ASCII)

    def step(value: Any, run: Run) -> str | None:
        if type(value) is not str or form.fullmatch(value) is None:
            run.counts[wrong] += 1
            return None
        run.counts[done] += 1
        return "000" if value[:length] in few else value[:length]

    return step


def nation(place: str, profile: Profile, concept: bool) -> Step:
    """Put a people into Han or another (GB/T 3304)."""
    if profile.action("nation") == "drop":
        return dropped(place, profile.rule("nation"))
    done, wrong = (place, profile.rule("nation")), (place, "shape")

    def step(value: Any, run: Run) -> Any:
        said = _said(value) if concept else value
        han = said in _HAN if type(said) is str else False
        if not han and (type(said) is not str or _OTHERS.fullmatch(said) is None):
            run.counts[wrong] += 1
            return None
        run.counts[done] += 1
        if not concept:
            return "汉族" if han else "其他"
        return {"coding": [{"system": NATIONS, "code": "01" if han else _OTHER_NATION}]}

    return step


def _said(concept: Any) -> Any:
    """Return the code, or the words, of a CodeableConcept of GB/T 3304."""
    if type(concept) is not dict:
        return None
    codings = concept.get("coding")
    for one in codings if type(codings) is list else ():
        if type(one) is dict and one.get("code"):
            return one["code"]
    return concept.get("text")


def uid(place: str, profile: Profile) -> Step:
    """Put the pseudonym of a DICOM UID in its place."""
    if profile.action("uid") == "drop":
        return dropped(place, profile.rule("uid"))
    done, wrong = (place, profile.rule("uid")), (place, "shape")

    def step(value: Any, run: Run) -> str | None:
        if type(value) is not str:
            run.counts[wrong] += 1
            return None
        run.counts[done] += 1
        bare = value.removeprefix("urn:oid:")
        return value[: len(value) - len(bare)] + run.pseudonyms.uid(bare)

    return step


def address(place: str, profile: Profile) -> Step:
    """Put the pseudonym of an address in its place."""
    if profile.action("address") == "drop":
        return dropped(place, profile.rule("address"))
    done, wrong = (place, profile.rule("address")), (place, "shape")

    def step(value: Any, run: Run) -> str | None:
        if type(value) is not str:
            run.counts[wrong] += 1
            return None
        run.counts[done] += 1
        return run.pseudonyms.uuid(value)

    return step
