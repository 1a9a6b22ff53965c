"""Apple Health: exports in any language, overlap of watch and phone, hostile XML and zips, ECG."""

from __future__ import annotations

import io
import json
import zipfile
from pathlib import Path

import pytest
from wearables_world import CONTEXT, become, bodies, coded, quantities, refusal

from connectors.wearables.apple_export import Piece, pieces
from connectors.wearables.pieces import Gathering
from normalise import convert
from normalise.apple_health.overlap import Span, standing
from normalise.measures.times import from_text
from simulators.wearables import Phones

HEAD = '<?xml version="1.0" encoding="UTF-8"?>\n'
DOCTYPE = "<!DOCTYPE HealthData [\n<!ELEMENT HealthData (ExportDate,Me,(Record|Workout)*)>\n]>\n"
LIMIT = 1_000_000


def record(type_: str, start: str, value: object, end: str = "", source: str = "phone", unit: str = "count") -> str:
    times = f'creationDate="2026-01-10 20:00:00 +0800" startDate="2026-01-10 {start} +0800"'
    ends = f'endDate="2026-01-10 {end or start} +0800"'
    what = f'type="HKQuantityTypeIdentifier{type_}" sourceName="{source}" unit="{unit}"'
    return f'<Record {what} {times} {ends} value="{value}"/>'


def xml(*elements: str, doctype: str = DOCTYPE) -> bytes:
    prefix = "HKCharacteristicTypeIdentifier"
    me = f'<Me {prefix}DateOfBirth="1950-02-03" {prefix}BiologicalSex="HKBiologicalSexFemale"/>'
    date = '<ExportDate value="2026-01-11 00:00:00 +0800"/>'
    body = "\n".join(elements)
    return f'{HEAD}{doctype}<HealthData locale="zh_CN">\n{date}\n{me}\n{body}\n</HealthData>\n'.encode()


def zipped(content: bytes, name: str = "apple_health_export/导出.xml", **more: bytes) -> bytes:
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr(name, content)
        for other, data in more.items():
            archive.writestr(f"apple_health_export/{other}", data)
    return out.getvalue()


def split(content: bytes, limit: int = LIMIT) -> list[Piece]:
    return list(pieces(io.BytesIO(content), limit))


STEPS = [
    record("StepCount", "07:00:00", 500, "07:10:00"),
    record("StepCount", "08:00:00", 300, "08:10:00"),
    record("StepCount", "08:00:00", 310, "08:10:00", source="watch"),
    record("StepCount", "09:00:00", 40, "09:05:00", source="watch"),
]


def test_export_becomes_one_record_for_each_kind_and_day_that_all_convert() -> None:
    found = split(zipped(xml(*STEPS, record("HeartRate", "07:00:00", 66, unit="count/min"))))
    assert [one.label for one in found] == ["HeartRate 1", "StepCount 1"]
    assert all(one.refusal is None for one in found)
    assert quantities(become("apple-health", found[0].content), "8867-4") == [(66, "/min")]


def test_overlap_counts_the_device_that_covers_more_and_fills_gaps_with_the_other() -> None:
    made = become("apple-health", xml(*STEPS))
    assert sorted(value for value, _ in quantities(made, "55423-8")) == [40, 300, 500]
    assert [(note.code, note.where) for note in made.notes if note.code == "overlap"] == [
        ("overlap", "HKQuantityTypeIdentifierStepCount")
    ]


def test_overlap_does_not_depend_on_the_order_of_the_samples() -> None:
    one, other = become("apple-health", xml(*STEPS)), become("apple-health", xml(*reversed(STEPS)))
    assert sorted(quantities(one, "55423-8")) == sorted(quantities(other, "55423-8"))


def test_spans_that_only_touch_do_not_overlap() -> None:
    times = [from_text(f"2026-01-10T0{hour}:00:00+08:00") for hour in (1, 2, 3)]
    assert all(times)
    spans = [Span(times[0], times[1], "a", 0), Span(times[1], times[2], "b", 1)]  # type: ignore[arg-type]
    assert standing(spans) == {0, 1}


def test_unchanged_days_of_a_later_export_are_the_same_bytes_in_any_order() -> None:
    device = 'device="&lt;&lt;HKDevice: 0x{}&gt;, name:Watch&gt;" value='
    first = [one.replace("value=", device.format("282a45810")) for one in STEPS]
    later = [one.replace("value=", device.format("99ffaa000")) for one in reversed(STEPS)]
    date = b"2026-01-11 00:00:00"
    assert split(xml(*first)) == split(xml(*later).replace(date, b"2026-02-11 00:00:00"))


def test_blood_pressure_inside_and_beside_its_correlation_is_one_panel() -> None:
    pair = [record("BloodPressureSystolic", "08:00:00", 121, unit="mmHg"),
            record("BloodPressureDiastolic", "08:00:00", 79, unit="mmHg")]  # fmt: skip
    whole = (
        '<Correlation type="HKCorrelationTypeIdentifierBloodPressure" sourceName="phone" '
        'startDate="2026-01-10 08:00:00 +0800" endDate="2026-01-10 08:00:00 +0800">' + "".join(pair) + "</Correlation>"
    )
    (piece,) = split(xml(*pair, whole))
    made = become("apple-health", piece.content)
    (panel,) = bodies(made)
    assert [one["valueQuantity"]["value"] for one in panel["component"]] == [121, 79]


def test_dense_heart_rates_become_sampled_data_that_says_the_same() -> None:
    samples = [
        record("HeartRate", f"08:{at // 60:02d}:{at % 60:02d}", 60 + at % 7, unit="count/min")
        for at in range(0, 300, 5)
    ]
    (body,) = bodies(become("apple-health", xml(*samples)))
    data = body["valueSampledData"]
    assert data["period"] == 5000
    assert [int(one) for one in data["data"].split()] == [60 + at % 7 for at in range(0, 300, 5)]
    assert body["effectivePeriod"] == {"start": "2026-01-10T08:00:00+08:00", "end": "2026-01-10T08:04:55+08:00"}


def test_patient_gets_birth_date_and_sex_and_shares_are_percent() -> None:
    made = become("apple-health", xml(record("OxygenSaturation", "03:00:00", 0.97, unit="%")), user="u1")
    (patient,) = bodies(made, "Patient")
    assert (patient["birthDate"], patient["gender"]) == ("1950-02-03", "female")
    assert quantities(made, "2708-6") == [(97, "%")]


def test_workout_and_unknown_kinds_are_kept() -> None:
    workout = (
        '<Workout workoutActivityType="HKWorkoutActivityTypeWalking" duration="30" durationUnit="min" sourceName="w" '
        'startDate="2026-01-10 08:00:00 +0800" endDate="2026-01-10 08:30:00 +0800">'
        '<WorkoutStatistics type="HKQuantityTypeIdentifierActiveEnergyBurned" sum="90" unit="kcal"/>'
        '<WorkoutRoute><Location latitude="31.2" longitude="121.4"/></WorkoutRoute></Workout>'
    )
    made = [become("apple-health", one.content) for one in split(xml(workout, record("UVExposure", "08:00:00", 3)))]
    assert not any("31.2" in json.dumps([one.body for one in each.resources]) for each in made)
    assert quantities(made[1], "41981-2") == [(90, "kcal")]
    assert [note.code for note in made[0].notes if note.code == "unmapped"] == ["unmapped"]


@pytest.mark.parametrize(
    ("doctype", "code"),
    [
        ('<!DOCTYPE HealthData [<!ENTITY a "aaaa"><!ENTITY b "&a;&a;&a;">]>\n', "unsafe_xml"),
        ('<!DOCTYPE HealthData [<!ENTITY x SYSTEM "file:///etc/passwd">]>\n', "unsafe_xml"),
        ('<!DOCTYPE HealthData [<!ENTITY % p SYSTEM "http://127.0.0.1/x">%p;]>\n', "unsafe_xml"),
        ("<!DOCTYPE HealthData [<!ELEMENT HealthData ANY>\n", "unsafe_xml"),
    ],
)
def test_entities_are_refused_before_any_parser_sees_them(doctype: str, code: str) -> None:
    hostile = xml(*STEPS, doctype=doctype)
    assert [one.refusal.code if one.refusal else "" for one in split(hostile)] == [code]
    assert refusal("apple-health", hostile).code == code


def test_malformed_dtd_of_apple_is_no_hindrance() -> None:
    broken = "<!DOCTYPE HealthData [\n<!ATTLIST Broken\n  unit CDATA #IMPLIED\n  <!ELEMENT oops>\n]>\n"
    assert [one.refusal for one in split(xml(*STEPS, doctype=broken))] == [None]


def test_export_cut_off_gives_what_was_whole_and_then_its_refusal() -> None:
    cut = xml(*STEPS)[:-150]
    *whole, last = split(cut)
    assert [one.label for one in whole] == ["StepCount 1"]
    assert last.refusal is not None and last.refusal.code == "truncated"
    assert refusal("apple-health", cut).code == "truncated"


def test_zip_bomb_stops_early_and_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("connectors.wearables.apple_export._FREE_BYTES", 100_000)
    monkeypatch.setattr("connectors.wearables.apple_export._GROWTH", 10)
    found = split(zipped(xml("<!-- " + " " * 3_000_000 + " -->")))
    assert [one.refusal.code for one in found if one.refusal] == ["oversize"]


def test_zip_with_a_huge_directory_is_refused_before_it_is_read(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("connectors.wearables.apple_export._DIRECTORY_BYTES", 20)
    assert [one.refusal.code for one in split(zipped(xml())) if one.refusal] == ["oversize"]


@pytest.mark.parametrize("content", [b"PK\x03\x04nonsense", zipped(xml(*STEPS))[:-30], zipped(b"<other/>")])
def test_broken_zips_are_refused_by_name(content: bytes) -> None:
    (only,) = split(content)
    assert only.refusal is not None and only.refusal.code in ("truncated", "structure")
    assert refusal("apple-health", content).code in ("truncated", "structure")


def test_element_over_the_limit_is_refused_and_the_others_stay() -> None:
    large = record("StepCount", "07:00:00", 1).replace("/>", f' x="{"a" * 5000}"/>')
    found = split(xml(large, *STEPS), limit=6_000)
    assert [one.refusal.code for one in found if one.refusal] == ["oversize"]
    assert sum(one.content.count(b"<Record") for one in found if not one.refusal) == len(STEPS)


def test_nesting_without_end_is_refused() -> None:
    deep = "<a>" * 500 + "</a>" * 500
    assert [one.refusal.code for one in split(xml(deep)) if one.refusal] == ["unsafe_xml"]
    assert refusal("apple-health", xml(deep)).code == "structure"


def test_gathering_holds_little_and_loses_nothing() -> None:
    gathering = Gathering(loose=2_000, packed=4_000)
    given: list[tuple[tuple[str, str], list[bytes]]] = []
    lines = {(f"kind{at % 3}", f"day{at % 50}", f"{at:04d}-{hash(str(at))}") for at in range(3_000)}
    for kind, day, text in sorted(lines):
        given += gathering.add((kind, day), text.encode())
    early = len(given)
    given += gathering.rest()
    assert early > 0
    assert {(key[0], key[1], line.decode()) for key, found in given for line in found} == lines


def test_ecg_is_sampled_data_whatever_language_its_headings_are_in() -> None:
    values = "\n".join(f"{at / 10}" for at in range(-20, 20))
    ecg = (
        '姓名,"张 伟"\n出生日期,"1950年2月3日"\n记录日期,2026-01-10 08:00:00 +0800\n分类,窦性心律\n症状,""\n'
        "软件版本,1.90\n"
        f'设备,"Apple Watch"\n采样率,512赫兹\n\n导联,导联 I\n单位,µV\n\n{values}\n'
    ).encode()
    exported = zipped(xml(*STEPS), **{"electrocardiograms/ecg_2026-01-10.csv": ecg})
    (piece,) = [one for one in split(exported) if one.label.startswith("ECG")]
    made = become("apple-health", piece.content, user="u1")
    (body,) = coded(made, "11524-6")
    data = body["valueSampledData"]
    assert (data["period"], data["origin"]["code"], len(data["data"].split())) == (1.953125, "uV", 40)
    assert body["component"][0]["valueCodeableConcept"] == {"text": "窦性心律"}
    assert "张" not in json.dumps([one.body for one in made.resources], ensure_ascii=False)


def test_simulated_export_converts_to_the_last_sample() -> None:
    made = convert("apple-health", Phones(7).export(0, 1), CONTEXT)
    assert len(quantities(made, "55423-8")) == 20
    assert len(coded(made, "85354-9")) == 2


def test_large_export_is_read_with_little_memory(tmp_path: Path) -> None:
    import tracemalloc

    path = tmp_path / "export.zip"
    line = record("HeartRate", "08:00:00", 61, unit="count/min")
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive, archive.open("e/导出.xml", "w") as out:
        out.write(xml().replace(b"</HealthData>\n", b""))
        for at in range(12_000):
            out.write(line.replace("value=", f'n="{at}" value=').encode() + b"\n")
        out.write(b"</HealthData>\n")
    tracemalloc.start()
    with path.open("rb") as stream:
        count = sum(one.content.count(b"<Record") for one in pieces(stream, 100_000))
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert count == 12_000
    assert peak < 12_000_000
