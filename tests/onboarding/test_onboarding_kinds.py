"""Every kind of source describes its settings, and its records can be taken apart and put together without a part."""

from __future__ import annotations

import os
import pty
import subprocess
import sys
from datetime import UTC, datetime
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from onboarding_engineer import Engineer

from connectors.description import describe, kinds
from connectors.registry import LISTEN, PULL
from dags.steps.onboarding.anatomy import Hl7, Json, Xml, anatomy
from dags.steps.onboarding.elements import elements
from dags.steps.onboarding.profiling import form_of, profile
from normalise.media import MEDIA
from schemas.records import RawRecord
from schemas.source import SUITES, load_source

NOW = datetime(2026, 11, 23, tzinfo=UTC)
KINDS = sorted({**PULL, **LISTEN})


@pytest.mark.parametrize("kind", KINDS)
def test_every_kind_says_what_it_is_and_what_each_setting_is_for(kind: str) -> None:
    assert kinds()[kind]
    settings = describe(kind)
    assert settings
    assert [one.name for one in settings if not one.help] == []
    assert kind in SUITES
    for one in settings:
        assert not one.secret or one.form == "text", f"{one.name}: a secret's setting holds its name"


def test_an_engineer_is_asked_what_flags_do_not_say_and_the_answers_are_checked(
    engineer: Engineer, tmp_path: Path
) -> None:
    answers = ["no-such-kind", "his.hl7v2_files", "lab-centre", "问我", "inbox/asked", "*.hl7, *.txt", "perhaps", "yes"]
    ours, theirs = pty.openpty()
    process = subprocess.Popen(
        [sys.executable, "-m", "console.main", "source", "init", "asked"],
        stdin=theirs, stdout=subprocess.PIPE, stderr=subprocess.PIPE, env=engineer.environment(), cwd=tmp_path,
    )  # fmt: skip
    os.close(theirs)
    os.write(ours, "".join(f"{one}\n" for one in answers).encode())
    output, errors = process.communicate(timeout=120)
    os.close(ours)
    assert process.returncode == 0, errors.decode()
    source = load_source(engineer.sources / "asked.yaml")
    assert (source.title, source.institution) == ("问我", "lab-centre")
    assert source.settings == {"folder": "inbox/asked", "pattern": ["*.hl7", "*.txt"], "recursive": True}
    assert "expected a number from 1 to" in output.decode()
    assert "recursive: expected yes or no" in output.decode()


HL7 = "MSH|^~\\&|A|B|||20260101||ADT^A08|1|P|2.5\rPID|1||7^^^A^MR||张^三||19700101|M\rPV1|1|I\rOBX|1|ST|x||值|\r"


@pytest.mark.parametrize("codec", ["utf-8", "gb18030"])
def test_a_message_is_known_by_its_fields_whatever_its_characters(codec: str) -> None:
    how = Hl7("auto")
    fields = how.fields(HL7.encode(codec))
    assert fields["PID-5"] == ["张^三"]
    assert fields["OBX-5"] == ["值"]
    assert {"MSH-1", "MSH-2", "MSH-18"} & set(fields) == set()
    without = how.fields(how.without(HL7.encode(codec), "PID-5"))
    assert without == {path: values for path, values in fields.items() if path != "PID-5"}


@pytest.mark.parametrize("media", MEDIA)
@given(content=st.binary(max_size=200))
def test_no_bytes_bring_the_taking_apart_down(media: str, content: bytes) -> None:
    how = anatomy(media)
    if how is not None:
        assert isinstance(how.fields(content), dict)


PLAIN = st.recursive(
    st.integers(0, 9) | st.text("ab", max_size=3),
    lambda inner: st.lists(inner, max_size=2) | st.dictionaries(st.sampled_from("xyz"), inner, max_size=3),
    max_leaves=8,
)


@given(document=st.dictionaries(st.sampled_from("pqr"), PLAIN, min_size=1))
def test_json_without_a_path_has_every_other_path_and_not_that_one(document: dict[str, object]) -> None:
    import orjson

    how = Json()
    content = orjson.dumps(document)
    fields = how.fields(content)
    assert how.fields(how.without(content, None)) == fields
    for path in fields:
        assert path not in how.fields(how.without(content, path))


def test_xml_is_known_by_its_texts_and_attributes_and_what_declares_entities_is_not_read() -> None:
    content = '<a xmlns="urn:x"><b c="1">词</b><b c="2"/></a>'.encode()
    how = Xml()
    assert how.fields(content) == {"a/b": ["词"], "a/b@c": ["1", "2"]}
    assert how.fields(how.without(content, "a/b@c")) == {"a/b": ["词"]}
    assert how.fields(how.without(content, "a/b")) == {"a/b@c": ["1", "2"]}
    assert how.fields(b'<!DOCTYPE a [<!ENTITY x "y">]><a>&x;</a>') == {}


def test_a_profile_counts_and_remembers_only_few_codes() -> None:
    records = [
        RawRecord("s", "", b'{"unit": "%s", "name": "n%d", "n": %d}' % (b"kg" if at % 2 else b"g", at, at), "row", NOW)
        for at in range(60)
    ]
    parts = {one.path: one for one in profile(records).parts}
    assert (parts["unit"].records, parts["unit"].form, dict(parts["unit"].codes or {})) == (
        60,
        "code",
        {"g": 30, "kg": 30},
    )
    assert parts["name"].codes is None
    assert parts["n"].form == "integer"


@pytest.mark.parametrize(
    ("value", "form"),
    [
        ("12", "integer"), ("3.9", "number"), ("<0.01", "number"), ("20260101", "date"), ("2026-01-01", "date"),
        ("20260101080000+0800", "time"), ("2026-01-01T08:00:00Z", "time"), ("WBC", "code"), ("WBC^白细胞^L", "code"),
        ("标本轻度溶血", "text"), ("", "text"),
    ],
)  # fmt: skip
def test_a_value_looks_like_what_it_is(value: str, form: str) -> None:
    assert form_of(value) == form


def test_elements_leave_out_what_only_follows_from_other_things() -> None:
    body = {
        "resourceType": "Observation", "id": "x", "subject": {"reference": "Patient/1"}, "status": "final",
        "code": {"coding": [{"code": "1"}, {"code": "2"}]},
    }  # fmt: skip
    assert sorted(elements(body)) == [
        ("Observation.code.coding.code", "1"), ("Observation.code.coding.code", "2"), ("Observation.status", "final"),
    ]  # fmt: skip
