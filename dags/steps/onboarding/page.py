"""The scorecard as one page for a hospital's IT head: plain sentences and bars; no script, nothing from a network."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from datetime import datetime
from html import escape
from typing import Any, Final

from schemas.reasons import sentence

#: What each check asks, in words for somebody who never saw the code.
QUESTIONS: Final[Mapping[str, str]] = {
    "wrong_credentials_fail": "Wrong credentials, or a wrong address, are noticed",
    "full_reads_are_equal": "Reading everything twice gives the same",
    "future_cursor_gives_nothing": "Nothing is read twice by mistake",
    "interrupted_read_resumes": "A read that breaks off is taken up without a gap",
    "own_count_agrees": "As many records arrive as the source counts",
    "late_record_is_caught": "A record that was filed late is still found",
    "unreadable_is_named": "What cannot be read is named, with its place",
    "sender_reaches_it": "A sender reaches us and gets its receipt",
    "acknowledged_only_when_durable": "A receipt is given only for what is safely stored",
    "repeat_lands_once": "A message sent twice is kept once",
    "bad_records_are_refused": "A bad message is refused, and its sender told why",
}
_STATUS: Final[Mapping[str, tuple[str, str]]] = {
    "passed": ("✓", "good"),
    "failed": ("✗", "bad"),
    "not_shown": ("–", "open"),
    "not_applicable": ("·", "open"),
}
_ROWS: Final = 24
_STYLE: Final = """
body{font:16px/1.5 "Noto Sans CJK SC","Noto Sans","Microsoft YaHei",system-ui,sans-serif;color:#1d2a33;margin:0;
background:#f4f6f7}
main{max-width:60rem;margin:0 auto;padding:2rem 1.5rem 4rem;background:#fff}
h1{font-size:1.7rem;margin:0}h2{font-size:1.15rem;margin:2.2rem 0 .6rem;border-bottom:2px solid #dfe5e8}
p{margin:.4rem 0}.sub{color:#5a6b75}
.verdict{margin:1.4rem 0;padding:1rem 1.2rem;border-left:.5rem solid;font-size:1.1rem}
.verdict.good{border-color:#1c7c54;background:#eaf5f0}.verdict.bad{border-color:#b3261e;background:#fbecea}
table{border-collapse:collapse;width:100%}td,th{padding:.35rem .6rem;text-align:left;vertical-align:top;
border-bottom:1px solid #e7ecee}th{color:#5a6b75;font-weight:600}td.n{text-align:right;white-space:nowrap}
.good{color:#1c7c54}.bad{color:#b3261e}.open{color:#77858d}td.mark{font-size:1.2rem;width:1.4rem}
svg{display:block;width:100%;height:auto;margin:.4rem 0}svg text{font-size:13px;fill:#1d2a33}
.facts{display:flex;flex-wrap:wrap;gap:.8rem;margin:1rem 0}
.facts div{flex:1 1 8rem;background:#f4f6f7;padding:.7rem 1rem}
.facts b{display:block;font-size:1.5rem}footer{margin-top:3rem;color:#5a6b75;font-size:.85rem;overflow-wrap:anywhere}
summary{cursor:pointer;color:#2a6f97;margin:.5rem 0}
@media print{body,main{background:#fff}main{padding:0}h2{break-after:avoid}}
"""


def page(card: Mapping[str, Any]) -> str:
    """Return the page of a scorecard; whatever stands in the card stands in it as text."""
    parts = (
        _head(card), _facts(card), _bar(card), _checks(card), _findings(card), _set_aside(card), _quality(card),
        _coverage(card), _volumes(card), _standard(card), _foot(card),
    )  # fmt: skip
    title = escape(f"{card['title']} — onboarding scorecard")
    return (
        f'<!DOCTYPE html>\n<html lang="en"><head><meta charset="utf-8"><title>{title}</title>'
        '<meta name="viewport" content="width=device-width,initial-scale=1">'
        f"<style>{_STYLE}</style></head><body><main>{''.join(parts)}</main></body></html>\n"
    )


def _head(card: Mapping[str, Any]) -> str:
    good = card["passed"]
    missing = [one["name"] for one in card["bar"] if not one["passed"]]
    verdict = (
        "This source may be switched on. Everything that the region asks of a source was shown on its own data."
        if good
        else f"This source may not be switched on yet. Not reached: {', '.join(missing)}."
    )
    return (
        f"<h1>{escape(card['title'])}</h1>"
        f'<p class="sub">Scorecard of the source <b>{escape(card["source"])}</b> ({escape(card["kind"])}) of '
        f"{escape(card['institution'])}, made {escape(_moment(card['certified_at']))}</p>"
        f'<div class="verdict {"good" if good else "bad"}">{"✓" if good else "✗"} {escape(verdict)}</div>'
    )


def _moment(iso: str) -> str:
    """Return a time as the machine's own people read it."""
    return datetime.fromisoformat(iso).astimezone().strftime("%Y-%m-%d %H:%M %z")


def _facts(card: Mapping[str, Any]) -> str:
    sample, covered = card["sample"], card["coverage"]
    facts = [
        (f"{sample['records']:,}", "records looked at" + ("" if sample["whole"] else ", the source holds more")),
        (f"{sum(card['volumes']['resources'].values()):,}", "FHIR resources they become"),
        (f"{sum(one['records'] for one in card['set_aside']):,}", "would be set aside for repair"),
        (f"{covered['values_read']:.0%}" if covered else "–", "of the filled values are used"),
    ]
    tiles = "".join(f"<div><b>{number}</b>{escape(word)}</div>" for number, word in facts)
    return f'<div class="facts">{tiles}</div>{_fate(card)}'


def _fate(card: Mapping[str, Any]) -> str:
    """Return one bar of what becomes of the sample: kept, or set aside for repair."""
    total = card["sample"]["records"] + card["sample"]["unreadable"]
    if not total:
        return ""
    aside = sum(one["records"] for one in card["set_aside"])
    kept = total - aside
    width = 900 * kept / total
    label = f"of {total:,} pieces {kept:,} would be kept and {aside:,} set aside for repair"
    return (
        f'<svg role="img" aria-label="{escape(label)}" viewBox="0 0 900 48">'
        f'<rect x="0" y="4" width="{width:.1f}" height="20" fill="#1c7c54"/>'
        f'<rect x="{width:.1f}" y="4" width="{900 - width:.1f}" height="20" fill="#c77d0a"/>'
        f'<text x="0" y="42">{escape(label)}</text></svg>'
    )


def _bar(card: Mapping[str, Any]) -> str:
    rows = [
        (
            _mark("passed" if one["passed"] else "failed"),
            escape(one["name"]),
            escape(one["needed"]),
            escape(one["found"]),
        )
        for one in card["bar"]
    ]
    return "<h2>What is asked before a source is switched on</h2>" + _table(("", "", "asked", "found"), rows)


def _checks(card: Mapping[str, Any]) -> str:
    rows = [
        (_mark(one["status"]), escape(QUESTIONS.get(one["name"], one["name"])), escape(one["detail"]))
        for one in card["checks"]
    ]
    spoilt = card["spoilt"]
    refused = sum(spoilt["refused"].values())
    rows.append(
        (
            _mark("failed" if spoilt["faults"] else "passed"),
            "Records that are broken on purpose do no harm",
            f"of {spoilt['tried']} broken copies {refused} were set aside by name, {spoilt['accepted']} could be read "
            f"all the same, {len(spoilt['faults'])} met a fault",
        )
    )
    legend = '<p class="sub">✓ shown, ✗ refuted, – could not be shown on this source, · has no such thing</p>'
    return "<h2>How the source behaves</h2>" + _table(("", "", "what was seen"), rows) + legend


def _findings(card: Mapping[str, Any]) -> str:
    rows = [
        (_mark("passed" if one["ok"] else "failed"), escape(one["aspect"]), escape(one["message"]))
        for one in card["findings"]
    ]
    return "<h2>The connection</h2>" + _table(("", "", ""), rows)


def _set_aside(card: Mapping[str, Any]) -> str:
    if not card["set_aside"]:
        return "<h2>Set aside</h2><p>Nothing of the sample would be set aside.</p>"
    codes: Counter[str] = Counter()
    for one in card["set_aside"]:
        codes[one["code"]] += one["records"]
    bars = _bars(codes.most_common(_ROWS))
    rows = [
        (
            escape(one["where"] or "the record"),
            escape(sentence(one["code"])),
            escape(one["message"]),
            str(one["records"]),
        )
        for one in card["set_aside"][:_ROWS]
    ]
    table = _table(("where", "why", "what was expected, and what to do", "records"), rows, numbers=1)
    return f"<h2>Set aside, kept encrypted for repair</h2>{bars}{table}"


def _quality(card: Mapping[str, Any]) -> str:
    broken = [one for one in card["quality"] if one["failed"]]
    kept = len(card["quality"]) - len(broken)
    text = f"<p>{kept} of {len(card['quality'])} rules are kept by every record.</p>"
    shares = [
        (f"{one['rule']} ({one['severity']})", one["rows"] - one["failed"], one["rows"])
        for one in broken
        if one["rows"]
    ]
    rows = [
        (
            _mark("failed" if one["failed"] else "passed"), escape(one["rule"]), escape(one["severity"]),
            f"{one['rows'] - one['failed']:,}", f"{one['failed']:,}",
        )
        for one in card["quality"]
    ]  # fmt: skip
    every = _table(("", "rule", "a breach", "kept", "broken"), rows, numbers=2)
    return (
        f"<h2>Quality, rule by rule</h2>{text}{_shares(shares)}<details><summary>Every rule</summary>{every}</details>"
    )


def _coverage(card: Mapping[str, Any]) -> str:
    covered = card["coverage"]
    if covered is None:
        return "<h2>What of it is used</h2><p>Records of this kind have no parts with names: nothing to tell.</p>"
    shares = [("filled values that make a difference", round(covered["values_read"] * 1000), 1000)]
    shares.append((f"different parts: {covered['read']} of {covered['tried']}", covered["read"], covered["tried"]))
    unread = ", ".join(covered["unread"][:60]) or "none"
    more = f" and {len(covered['unread']) - 60} more" if len(covered["unread"]) > 60 else ""
    return (
        "<h2>What of it is used</h2>"
        f"{_shares(shares)}<p>Found by leaving each part out and converting again. Without effect: "
        f"{escape(unread)}{more}. They stay in the raw record, encrypted.</p>"
    )


def _volumes(card: Mapping[str, Any]) -> str:
    kinds, resources = card["volumes"]["kinds"], card["volumes"]["resources"]
    return (
        f"<h2>What comes</h2>{_bars(list(kinds.items())[:_ROWS])}"
        f"<h2>What it becomes (FHIR R4)</h2>{_bars(list(resources.items())[:_ROWS])}"
    )


def _standard(card: Mapping[str, Any]) -> str:
    held = card["standard"]
    if held is None:
        return ""
    rows = [(escape(what), str(count)) for what, count in held["deviations"].items()]
    table = _table(("what is otherwise", "messages"), rows, numbers=1) if rows else ""
    return (
        f"<h2>Held to the HL7 v2 standard</h2><p>{held['valid']} of {held['checked']} messages follow strictly the "
        f"structure that HL7 publishes for them. The others are read all the same.</p>{table}"
    )


def _foot(card: Mapping[str, Any]) -> str:
    return (
        "<footer>This page holds names of fields and numbers, and no value of any record. Made by <code>xinglin source "
        f"certify {escape(card['source'])}</code> from {escape(card['sample']['origin'])} records "
        f"({card['sample']['bytes']:,} bytes in {card['sample']['seconds']} s). "
        f"It is for one source file, mapping and suite: SM3 {card['fingerprint']}.</footer>"
    )


def _mark(status: str) -> str:
    sign, colour = _STATUS[status]
    return f'<span class="{colour}">{sign}</span>'


def _table(headings: Sequence[str], rows: Iterable[Sequence[str]], numbers: int = 0) -> str:
    """Return a table; its cells are HTML already, its last ``numbers`` columns numbers."""
    words = len(headings) - numbers
    head = "".join(f"<th>{escape(one)}</th>" for one in headings)
    body = "".join(
        f"<tr>{''.join(f'<td{_class(at, words, headings)}>{cell}</td>' for at, cell in enumerate(row))}</tr>"
        for row in rows
    )
    return f"<table><thead><tr>{head}</tr></thead><tbody>{body}</tbody></table>"


def _class(at: int, words: int, headings: Sequence[str]) -> str:
    if at >= words:
        return ' class="n"'
    return ' class="mark"' if at == 0 and not headings[0] else ""


def _bars(counts: Sequence[tuple[str, int]]) -> str:
    """Return horizontal bars, the longest as wide as the picture."""
    most = max((count for _, count in counts), default=1)
    return _picture([(name, count / most, f"{count:,}", "#2a6f97") for name, count in counts])


def _shares(shares: Sequence[tuple[str, int, int]]) -> str:
    """Return bars of parts of a whole."""
    rows = []
    for name, part, whole in shares:
        share = part / whole if whole else 1.0
        colour = "#1c7c54" if share > 0.95 else "#c77d0a" if share > 0.5 else "#b3261e"
        rows.append((name, share, f"{share:.1%}", colour))
    return _picture(rows)


def _picture(rows: Sequence[tuple[str, float, str, str]]) -> str:
    """Return one SVG: a line for each row with its name, its bar and its number."""
    if not rows:
        return ""
    lines = []
    for at, (name, share, number, colour) in enumerate(rows):
        y = 26 * at
        width = max(2.0, 440 * min(1.0, share))
        lines.append(
            f'<text x="0" y="{y + 17}">{escape(_short(name))}</text>'
            f'<rect x="360" y="{y + 4}" width="440" height="17" fill="#edf1f3"/>'
            f'<rect x="360" y="{y + 4}" width="{width:.1f}" height="17" fill="{colour}"/>'
            f'<text x="812" y="{y + 17}">{escape(number)}</text>'
        )
    label = escape("; ".join(f"{name}: {number}" for name, _, number, _ in rows), quote=True)
    return f'<svg role="img" aria-label="{label}" viewBox="0 0 900 {26 * len(rows)}">{"".join(lines)}</svg>'


def _short(name: str) -> str:
    return name if len(name) <= 52 else f"{name[:51]}…"
