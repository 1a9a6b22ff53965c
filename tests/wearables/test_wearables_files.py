"""A folder of wearables' files: told apart by content, split, attributed, resumed; one conformance suite for all."""

from __future__ import annotations

import json
import os
from collections import Counter
from collections.abc import Callable
from pathlib import Path

import pytest
from wearables_world import CONTEXT, heart_rate, point, source_of

from connectors.conformance import assert_conforms
from connectors.folders_trial import trial
from connectors.registry import open_connector
from connectors.wearables.files import WearableFilesConnector, kind_of
from normalise import SetAside, convert
from schemas.attribution import attributed, attribution
from schemas.errors import ConfigurationError
from schemas.records import RawRecord, Unreadable
from simulators.sent import Sent
from simulators.wearables import Phones

Write = Callable[[str, bytes], Path]


def connector(folder: Path, record_bytes: int = 4_194_304, **settings: object) -> WearableFilesConnector:
    source = source_of("wearables.files", record_bytes, folder=str(folder), quiet_seconds=0, **settings)
    opened = open_connector(source, Path("/"))
    assert isinstance(opened, WearableFilesConnector)
    return opened


def pulled(opened: WearableFilesConnector, cursor: dict[str, object] | None = None) -> list[RawRecord | Unreadable]:
    return [one for page in opened.pull(cursor) for one in page.records]


POINTS = [point("heart-rate", "2.0", heart_rate(value)) for value in (60, 61, 62)]


@pytest.mark.parametrize(
    "content",
    [
        "\n".join(json.dumps(one) for one in POINTS),
        json.dumps(POINTS, indent=2),
        "\ufeff" + "\r\n\r\n".join(json.dumps(one, indent=1) for one in POINTS),
    ],
)
def test_lines_arrays_and_values_one_after_another_give_a_record_a_point(content: str, write: Write) -> None:
    write("a.json", content.encode())
    found = pulled(connector(write("b.txt", b"").parent))
    assert [json.loads(one.content)["body"]["heart_rate"]["value"] for one in found] == [60, 61, 62]  # type: ignore[union-attr]
    assert {one.media for one in found} == {"omh"}  # type: ignore[union-attr]


def test_elements_of_an_array_are_byte_for_byte(write: Write) -> None:
    written = '{"header": {}, "body":  {"v": 1.50}}'
    folder = write("a.json", f"[ {written} ,\n{written}]".encode()).parent
    assert [one.content for one in pulled(connector(folder))] == [written.encode()] * 2  # type: ignore[union-attr]


def test_broken_line_takes_no_other_with_it(write: Write) -> None:
    folder = write("a.ndjson", json.dumps(POINTS[0]).encode() + b"\nbroken\n" + json.dumps(POINTS[1]).encode()).parent
    found = pulled(connector(folder))
    assert [one.content[:6] for one in found if isinstance(one, RawRecord)] == [b'{"head', b"broken", b'{"head']


def test_what_is_no_json_and_what_is_too_large_is_one_record_or_refused(write: Write) -> None:
    folder = write("a.json", b'{"header": ').parent
    write("b.json", b"[" + b"1," * 4_000 + b"1]")
    kinds = Counter(type(one).__name__ for one in pulled(connector(folder, record_bytes=2_048)))
    assert kinds == {"RawRecord": 1, "Unreadable": 1}


def test_user_is_the_folder_or_the_name_and_stands_before_the_bytes(write: Write) -> None:
    write("u 1/x.json", b'{"weight": []}')
    folder = write("u2_scale.json", b'{"weight": []}').parent
    by_folder = {attribution(one.content)[0] for one in pulled(connector(folder, user="folder"))}  # type: ignore[union-attr]
    by_name = {attribution(one.content)[0] for one in pulled(connector(folder, user="name"))}  # type: ignore[union-attr]
    assert (by_folder, by_name) == ({"u 1", ""}, {"x", "u2"})
    assert attribution(attributed("a|b 张", b"x")) == ("a|b 张", b"x")
    assert attribution(b"xinglin-user: no end") == ("", b"xinglin-user: no end")


def test_positions_hold_no_file_name(write: Write) -> None:
    folder = write("zhang-wei.json", json.dumps(POINTS).encode()).parent
    write("zhang-wei/zhang-wei.zip", Phones(1).export(0))
    assert all("zhang" not in one.position for one in pulled(connector(folder)))


def test_simulated_phones_become_what_they_say(tmp_path: Path) -> None:
    sent, phones = Sent(), Phones(3)
    opened, cursor, seen = connector(tmp_path, user="folder"), {}, set()
    outcome: Counter[str] = Counter()
    for day in range(2):
        sent += phones.drop(tmp_path, residents=2, day=day)
        for page in opened.pull(cursor):
            cursor = page.cursor
            for one in page.records:
                outcome[_outcome(one, seen)] += 1
    assert outcome.pop("sealed") == sent.sealed
    assert outcome.pop("repeats") == sent.repeats
    assert outcome == sent.set_aside


def _outcome(one: RawRecord | Unreadable, seen: set[bytes]) -> str:
    if isinstance(one, Unreadable):
        return one.refusal.code
    if one.content in seen:
        return "repeats"
    seen.add(one.content)
    try:
        convert(one.media, one.content, CONTEXT)
    except SetAside as error:
        return error.refusal.code
    return "sealed"


def test_file_that_grows_while_it_is_read_is_read_again(write: Write) -> None:
    path = write("a.ndjson", b"\n".join(json.dumps(one).encode() for one in POINTS[:2]))
    opened = connector(path.parent)
    reading = opened.read({})
    next(reading)
    path.write_bytes(path.read_bytes() + b"\n" + json.dumps(POINTS[2]).encode())
    os.utime(path, (1, 1))
    rest = list(reading)
    again = pulled(opened, dict(rest[-1].cursor))  # type: ignore[union-attr]
    assert len(again) == 3


def test_conforms_to_the_suite_of_all_kinds(tmp_path: Path) -> None:
    Phones(5).drop(tmp_path / "drop")
    source = source_of("wearables.files", folder=str(tmp_path / "drop"), quiet_seconds=0, user="folder")
    with trial(source, tmp_path) as shown:
        assert_conforms(shown)


def test_check_says_what_the_files_are(write: Write) -> None:
    folder = write("a.json", b"{}").parent
    write("b.fit", b"nothing")
    (content,) = [one for one in connector(folder).check() if one.aspect == "content"]
    assert content.ok and "json 1" in content.message and "unknown 1" in content.message


def test_kinds_are_told_by_the_first_bytes() -> None:
    heads = [b"\x0e\x10\x00\x00\x00\x00\x00\x00.FIT", b"PK\x03\x04", b"\xef\xbb\xbf<?xml", b" [1]", b"\x00"]
    assert [kind_of(one) for one in heads] == ["fit", "apple-health", "apple-health", "json", "unknown"]


@pytest.mark.parametrize("settings", [{"user": "topic"}, {"media": "hl7v2"}, {"folder": ""}])
def test_settings_that_cannot_be_are_refused(settings: dict[str, str], tmp_path: Path) -> None:
    with pytest.raises(ConfigurationError, match=r"user|media|folder"):
        open_connector(source_of("wearables.files", **{"folder": str(tmp_path), **settings}), tmp_path)
