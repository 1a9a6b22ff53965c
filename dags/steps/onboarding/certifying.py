"""`certify`: one conformance suite for all kinds, on the source itself; what it found is a scorecard."""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager, nullcontext
from dataclasses import asdict, replace
from datetime import UTC, datetime
from functools import partial
from importlib import import_module
from inspect import signature
from secrets import token_urlsafe
from typing import TYPE_CHECKING, Any, Final

from connectors import mode, open_connector
from connectors.conformance import Check, Trial, conformance
from connectors.conformance_listening import ListeningTrial, listening_conformance
from connectors.contract import Finding
from connectors.description import SECRET
from connectors.registry import LISTEN, PULL
from dags.steps.listen import inspector, listener
from dags.steps.onboarding.fingerprint import fingerprint
from dags.steps.onboarding.profiling import Coverage, Profile, coverage, profile
from dags.steps.onboarding.sampling import Judged, Sample, judge, take
from dags.steps.onboarding.spoiling import Spoilt, try_spoilt
from dags.steps.onboarding.standard import Standard, hold_to_standard
from schemas.source import Source
from shangmi import Sm3

if TYPE_CHECKING:
    from dags.steps.site import Site

FORMAT: Final = "xinglin-scorecard/1"
#: Records that certifying looks at, at most.
RECORDS: Final = 500
#: Share of the filled values that the mapping must read.
COVERAGE: Final = 0.5
#: A field that is no value of anybody, only a name: the profile of the scorecard ends after so many.
_PARTS: Final = 400
_WRONG: Final = "xinglin-wrong"

Say = Callable[[str], None]


def certify(source: Source, at: Site, records: int = RECORDS, say: Say = lambda _: None) -> dict[str, Any]:
    """Return the scorecard of a source: valid under ``scorecard.schema.json``, with no value of any record.

    Nothing is stored, no cursor moves, and nothing at the source changes.

    Args:
        source: The source's checked file.
        at: This machine's site.
        records: Records looked at, at most.
        say: Told each step as it begins.

    Raises:
        ConnectorError: The source cannot be read.
    """
    say("looking at the source")
    findings = look(source, at)
    say("the conformance suite")
    checks = suite(source, at)
    say("a sample of records")
    sample = take(source, at, records)
    judged = judge(sample.records, source)
    say("records spoilt on purpose")
    spoilt = try_spoilt(sample.records, source)
    say("what the mapping reads")
    profiled = profile(sample.records, source.charset)
    covered = coverage(profiled, sample.records, source) if profiled.parts else None
    standard = hold_to_standard(sample.records, source.charset)
    return _card(source, findings, checks, sample, judged, spoilt, profiled, covered, standard)


def look(source: Source, at: Site) -> tuple[Finding, ...]:
    """Return what the connector can tell of the source without taking anything from it."""
    if mode(source) == "pull":
        return open_connector(source, at.home.path, digest=Sm3).check()
    return listener(source, at).check()


def suite(source: Source, at: Site) -> tuple[Check, ...]:
    """Return what each check of the conformance suite showed."""
    with _trial(source, at) as trial:
        if trial is None:
            why = f"{source.kind} offers nothing to try a sender on"
            return (Check("sender_reaches_it", "not_shown", why),)
        if isinstance(trial, ListeningTrial):
            return listening_conformance(trial)
        return conformance(trial)


def _trial(source: Source, at: Site) -> AbstractContextManager[Trial | ListeningTrial | None]:
    """Return the trial that the kind's module, or the one it builds on, offers; else the source as it is.

    A trial of a kind whose listener looks into its messages takes that as ``inspect``.
    """
    module, _, name = {**PULL, **LISTEN}[source.kind].partition(":")
    connector = getattr(import_module(module), name)
    for owner in (module, *(one.__module__ for one in connector.__mro__)):
        path = f"{owner}_trial"
        try:
            trial = import_module(path).trial
        except ModuleNotFoundError as error:
            if error.name != path:
                raise
            continue
        looks = {"inspect": inspector(source)} if "inspect" in signature(trial).parameters else {}
        return trial(source, at.home.path, **looks)  # type: ignore[no-any-return]
    return _as_it_is(source, at) if mode(source) == "pull" else nullcontext()


@contextmanager
def _as_it_is(source: Source, at: Site) -> Iterator[Trial]:
    """Yield the source read only, and beside it the same with wrong secrets or, where it has none, another address."""
    opened = partial(open_connector, source, at.home.path, digest=Sm3)
    secrets = {name: _WRONG for name, value in source.settings.items() if name.endswith(SECRET) and value}
    elsewhere = secrets or _elsewhere(source.settings)
    if not elsewhere:
        yield Trial(opened)
        return
    wrong = replace(source, settings={**source.settings, **elsewhere})
    variable = f"XINGLIN_SECRET_{_WRONG.upper().replace('-', '_')}"
    os.environ[variable] = token_urlsafe(16)
    try:
        yield Trial(opened, wrong=partial(open_connector, wrong, at.home.path, digest=Sm3))
    finally:
        del os.environ[variable]


def _elsewhere(settings: Mapping[str, Any]) -> dict[str, Any]:
    """Return the settings that make the source's address one where nothing is; ``{}`` where it has no address."""
    for name in ("folder", "path", "url"):
        if isinstance(value := settings.get(name), str):
            return {name: f"{value}.is-not-there"}
    return {"port": 1} if "port" in settings else {}


def _card(
    source: Source,
    findings: tuple[Finding, ...],
    checks: tuple[Check, ...],
    sample: Sample,
    judged: Judged,
    spoilt: Spoilt,
    profiled: Profile,
    covered: Coverage | None,
    standard: Standard | None,
) -> dict[str, Any]:
    media = sorted({one.media for one in sample.records})
    bar = list(_bar(source, findings, checks, sample, judged, spoilt, covered))
    return {
        "format": FORMAT,
        "source": source.id,
        "title": source.title,
        "institution": source.institution,
        "kind": source.kind,
        "certified_at": datetime.now(UTC).isoformat(timespec="seconds"),
        "fingerprint": fingerprint(source, media),
        "media": media,
        "passed": all(one["passed"] for one in bar),
        "bar": bar,
        "sample": {
            "records": len(sample.records), "unreadable": len(sample.unreadable), "bytes": sample.size,
            "seconds": round(sample.seconds, 3), "origin": sample.origin, "whole": sample.whole,
        },
        "findings": [asdict(one) for one in findings],
        "checks": [asdict(one) for one in checks],
        "spoilt": {**asdict(spoilt), "refused": dict(spoilt.refused), "faults": list(spoilt.faults)},
        "set_aside": _set_aside(sample, judged),
        "quality": [asdict(one) for one in judged.rules],
        "coverage": covered and {
            "read": covered.read, "tried": covered.tried, "values_read": round(covered.values_read, 4),
            "unread": [one.path for one in covered.unread[:_PARTS]],
        },
        "volumes": {"kinds": dict(profiled.kinds), "resources": _resources(judged)},
        "parts": [
            {"path": one.path, "records": one.records, "values": one.values, "form": one.form,
             "longest": one.longest, "read": one.read}
            for one in profiled.parts[:_PARTS]
        ],
        "standard": standard and {**asdict(standard), "deviations": dict(standard.deviations.most_common(20))},
    }  # fmt: skip


def _bar(
    source: Source,
    findings: tuple[Finding, ...],
    checks: tuple[Check, ...],
    sample: Sample,
    judged: Judged,
    spoilt: Spoilt,
    covered: Coverage | None,
) -> Iterator[dict[str, Any]]:
    """Yield what must hold before a source may be enabled, and whether it does."""

    def line(name: str, needed: str, found: str, passed: bool) -> dict[str, Any]:
        return {"name": name, "needed": needed, "found": found, "passed": passed}

    faults = [one.aspect for one in findings if not one.ok]
    yield line("The source can be reached and read", "no fault", ", ".join(faults) or "no fault", not faults)
    failed = [one.name for one in checks if one.status == "failed"]
    yield line("Conformance suite", "no check fails", f"{len(failed)} of {len(checks)} fail", not failed)
    read = len(sample.records)
    yield line("Records to look at", "at least 1", str(read), read > 0)
    aside = sum(refusal is not None for _, _, refusal in judged.records) + len(sample.unreadable)
    total = read + len(sample.unreadable)
    share = aside / total if total else 0.0
    yield line(
        "Set aside", f"at most {source.failure_threshold:.0%}", f"{share:.1%} ({aside} of {total})",
        share <= source.failure_threshold,
    )  # fmt: skip
    yield line(
        "Bad records are refused by name", "every one", f"{len(spoilt.faults)} faults in {spoilt.tried}",
        not spoilt.faults and "without a reason" not in spoilt.refused,
    )  # fmt: skip
    if covered is not None:
        found = f"{covered.values_read:.0%}"
        yield line(
            "Filled values the mapping reads", f"at least {COVERAGE:.0%}", found, covered.values_read >= COVERAGE
        )


def _set_aside(sample: Sample, judged: Judged) -> list[dict[str, Any]]:
    refusals = [one.refusal for one in sample.unreadable] + [one for _, _, one in judged.records if one]
    places = Counter((one.code, _unnumbered(one.where)) for one in refusals)
    words = {(one.code, _unnumbered(one.where)): one.message for one in refusals}
    return [
        {"code": code, "where": where, "message": words[code, where], "records": count}
        for (code, where), count in places.most_common(100)
    ]


def _unnumbered(where: str) -> str:
    """Return coordinates without the numbers that differ from record to record (``byte 812``)."""
    head, _, tail = where.rpartition(" ")
    return head if head and tail.isdigit() else where


def _resources(judged: Judged) -> dict[str, int]:
    kept = (made for _, made, refusal in judged.records if refusal is None)
    return dict(Counter(resource.type for made in kept for resource in made.resources).most_common())
