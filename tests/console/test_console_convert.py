"""`xinglin convert`: raw files in, FHIR out; what is refused is named, and nothing else is said of it."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from console_run import Xinglin

ROOT = Path(__file__).parents[2]
GOLDEN = ROOT / "tests" / "golden" / "hl7v2"
NAME = "Quillfeather"
A01 = (
    f"MSH|^~\\&|HIS|A|B|C|20261103091500+0800||ADT^A01|M1|P|2.5\rEVN|A01|20261103091500+0800\r"
    f"PID|1||77^^^H^MR||{NAME}^Ann||19580307|F\rPV1|1|I\r"
).encode()
UNKNOWN = A01.replace(b"ADT^A01", b"ZZZ^Z99")
Write = Callable[[str, bytes], Path]


def lines(output: bytes) -> list[dict[str, Any]]:
    """Return the values of NDJSON."""
    return [json.loads(line) for line in output.splitlines()]


def types(bundle: dict[str, Any]) -> set[str]:
    """Return the resource types in a bundle that the authority on FHIR accepts."""
    from fhir.resources.R4B import get_fhir_model_class

    get_fhir_model_class("Bundle").model_validate(bundle)
    assert (bundle["resourceType"], bundle["type"]) == ("Bundle", "collection")
    return {entry["resource"]["resourceType"] for entry in bundle["entry"]}


def test_one_message_becomes_one_bundle_of_type_collection(process: Xinglin) -> None:
    done = process("convert", GOLDEN / "admission-zh.hl7")
    assert (done.code, done.errors) == (0, b"")
    assert {"Patient", "Encounter", "Condition", "AllergyIntolerance", "Observation"} <= types(json.loads(done.output))


def test_several_files_become_one_bundle_with_each_resource_once(xinglin: Xinglin, file: Write) -> None:
    one = json.loads(xinglin("convert", file("a.hl7", A01)).output)
    both = xinglin("convert", file("a.hl7", A01), file("b.hl7", A01), GOLDEN / "discharge-en.hl7")
    bundle = json.loads(both.output)
    addresses = [entry["fullUrl"] for entry in bundle["entry"]]
    assert len(addresses) == len(set(addresses))
    assert {entry["fullUrl"] for entry in one["entry"]} < set(addresses)
    assert types(bundle)


def test_ndjson_gives_one_line_for_each_file_in_order(xinglin: Xinglin, file: Write) -> None:
    names = [file("b.hl7", A01), file("a.hl7", UNKNOWN), file("c.hl7", A01 + A01.replace(b"M1", b"M2"))]
    done = xinglin("convert", "--ndjson", *names)
    good, bad, several = lines(done.output)
    assert done.code == 1
    assert [one["file"] for one in (good, bad, several)] == [str(name) for name in names]
    assert set(good) == {"file", "bundle"}
    assert types(good["bundle"])
    assert set(bad) == {"file", "refused"}
    assert set(bad["refused"]) == {"code", "where", "message"}
    assert (bad["refused"]["code"], bad["refused"]["where"]) == ("unknown_event", "MSH-9")
    assert set(several) == {"file", "bundles"}
    assert all(types(bundle) for bundle in several["bundles"])
    assert len(several["bundles"]) == 2
    assert done.told.splitlines() == [
        f"{names[1]}: message 1 refused: unknown_event at MSH-9: {bad['refused']['message']}"
    ]


def test_file_with_a_broken_message_gives_the_other_one_and_the_refusal(xinglin: Xinglin, file: Write) -> None:
    mixed = file("mixed.hl7", UNKNOWN + A01)
    (found,) = lines(xinglin("convert", "--ndjson", mixed).output)
    assert [types(bundle) > {"Patient"} for bundle in found["bundles"]] == [True]
    assert [(one["message_number"], one["code"]) for one in found["refused"]] == [(1, "unknown_event")]
    done = xinglin("convert", mixed)
    assert done.code == 1
    assert "Patient" in types(json.loads(done.output))
    assert b"message 1 refused: unknown_event at MSH-9" in done.errors


def test_what_is_no_message_is_not_blamed_on_one(xinglin: Xinglin, file: Write) -> None:
    done = xinglin("convert", file("tail.hl7", A01 + b"\r\rnot of this message\r"))
    assert done.code == 1
    assert "Patient" in types(json.loads(done.output))
    assert b"tail.hl7: refused: not_hl7 at file byte" in done.errors


def test_standard_input_is_read_under_the_name_of_a_dash(process: Xinglin) -> None:
    done = process("convert", "--ndjson", "-", stdin=A01)
    (found,) = lines(done.output)
    assert (done.code, found["file"]) == (0, "-")
    assert types(found["bundle"])


@pytest.mark.parametrize(
    ("content", "code"),
    [
        (b"", "not_hl7"),
        (b"\x00\x01\x02" * 99, "not_hl7"),
        (A01[: A01.index(b"EVN") + 2], "truncated"),
        (A01.replace(b"2.5\r", b"9.9\r"), "version"),
        (A01.replace(b"|77^", b"|\xff\xfe^"), "charset"),
    ],
    ids=["empty", "binary", "cut off", "version", "charset"],
)
def test_bad_content_is_refused_with_its_reason_and_no_bundle(
    xinglin: Xinglin, file: Write, content: bytes, code: str
) -> None:
    bad = file("bad.hl7", content)
    done = xinglin("convert", bad)
    assert (done.code, done.output) == (1, b"")
    assert f"refused: {code}" in done.told
    (found,) = lines(xinglin("convert", "--ndjson", bad).output)
    assert found["refused"]["code"] == code


def test_file_that_cannot_be_read_ends_with_three_and_the_others_go_on(xinglin: Xinglin, file: Write) -> None:
    folder, missing = file("a.hl7", A01).parent, "nowhere.hl7"
    done = xinglin("convert", "--ndjson", missing, folder, folder / "a.hl7", file("b.hl7", UNKNOWN))
    found = lines(done.output)
    assert done.code == 3
    assert [one.get("refused", {}).get("code") for one in found] == ["unreadable", "unreadable", None, "unknown_event"]
    assert b"nowhere.hl7: refused: unreadable: The file cannot be read: No such file or directory." in done.errors
    done = xinglin("convert", missing, folder / "a.hl7")
    assert done.code == 3
    assert types(json.loads(done.output))
    assert xinglin("convert", folder).output == b""


def test_closed_standard_input_is_a_file_that_cannot_be_read() -> None:
    done = subprocess.run(
        ["sh", "-c", f"exec {sys.executable} -m console.main convert - <&-"],
        capture_output=True, check=False, cwd=ROOT, timeout=60,
    )  # fmt: skip
    assert (done.returncode, done.stdout) == (3, b"")
    assert done.stderr == b"-: refused: unreadable: The file cannot be read: Bad file descriptor.\n"


def test_file_name_that_is_no_text_is_written_with_escapes(xinglin: Xinglin, tmp_path: Path) -> None:
    name = os.fsencode(tmp_path) + b"/\xff\xfe.hl7"
    Path(os.fsdecode(name)).write_bytes(UNKNOWN)
    done = xinglin("convert", "--ndjson", os.fsdecode(name))
    (found,) = lines(done.output)
    assert found["file"] == f"{tmp_path}/\\xff\\xfe.hl7"
    assert b"\\xff\\xfe.hl7: message 1 refused" in done.errors


@pytest.mark.parametrize(
    "arguments",
    [
        (), ("--nonsense", "a"), ("--time-zone", "Nowhere/Zone", "a"), ("--time-zone", "", "a"),
        ("--time-zone", "../../etc/passwd", "a"), ("--charset", "no-such-codec", "a"), ("--charset", "base64", "a"),
    ],
)  # fmt: skip
def test_wrong_use_is_told_before_any_file_is_read(xinglin: Xinglin, arguments: tuple[str, ...]) -> None:
    done = xinglin("convert", *arguments)
    assert (done.code, done.output) == (2, b"")
    assert b"Usage: " in done.errors


def test_times_without_an_offset_get_the_zone_that_was_given(xinglin: Xinglin, file: Write) -> None:
    local = file("local.hl7", A01.replace(b"+0800", b""))
    said = xinglin("convert", "--time-zone", "America/New_York", local).output
    assert b"2026-11-03T09:15:00-05:00" in said
    assert b"2026-11-03T09:15:00+08:00" in xinglin("convert", local).output
    assert said == xinglin("convert", local, XINGLIN_TIME_ZONE="America/New_York").output


def test_message_of_fifty_megabytes_is_refused_in_bounded_memory_and_the_next_goes_on(
    file: Write, tmp_path: Path
) -> None:
    huge = A01 + b"OBX|1|TX|x||" + b"A" * 50_000_000 + b"\r" + A01
    small, large = (_peak(path) for path in (file("small.hl7", A01), file("huge.hl7", huge)))
    assert small["file"] != large["file"]
    assert [one["code"] for one in large["refused"]] == ["oversize"]
    assert [types(bundle) > {"Patient"} for bundle in large["bundles"]] == [True]
    assert large["peak"] - small["peak"] < 48 << 20, "more than the limit's multiple was held"


def _peak(path: Path) -> dict[str, Any]:
    """Return the line of a file, with the most memory the process ever had, in bytes."""
    program = (
        "import sys; sys.argv[0] = 'xinglin'\n"
        "from console.main import main\n"
        "try: main()\n"
        "finally: print([x for x in open('/proc/self/status') if 'VmHWM' in x][0].split()[1], file=sys.stderr)\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", program, "convert", "--ndjson", str(path)],
        capture_output=True, check=False, cwd=ROOT, timeout=120,
    )  # fmt: skip
    return {**lines(done.stdout)[0], "peak": int(done.stderr.split()[-1]) << 10}


def test_reader_that_goes_away_leaves_no_traceback(file: Write) -> None:
    path = file("a.hl7", A01 * 200)
    command = f"{sys.executable} -m console.main convert --ndjson {path} {path} {path} | head -c 9"
    done = subprocess.run(["sh", "-c", command], capture_output=True, check=False, cwd=ROOT, timeout=60)
    assert (done.stdout, done.stderr) == (b'{"bundles', b"")


def test_a_patients_name_is_never_on_stderr(xinglin: Xinglin, file: Write) -> None:
    name = NAME.encode()
    faults = {
        "event": UNKNOWN, "version": A01.replace(b"2.5\r", b"7.7\r"), "cut": A01[: A01.index(name) + len(name)],
        "header": A01.replace(b"MSH|^~\\&", b"MSH|^^^^"), "time": A01.replace(b"20261103091500+0800", name),
        "birth": A01.replace(b"19580307", name), "sex": A01.replace(b"|F\r", b"|" + name + b"\r"),
        "segment": A01.replace(b"PV1", name[:3]), "junk": name * 9 + A01, "charset": A01.replace(b"Ann", b"\xff\xfe"),
        "control": A01.replace(b"|M1|", b"||"), "event name": A01.replace(b"ADT^A01", name),
    }  # fmt: skip
    paths = [file(f"{index}.hl7", content) for index, content in enumerate(faults.values())]
    done = xinglin("convert", "--ndjson", *paths)
    assert done.code == 1
    assert len(done.errors.splitlines()) >= 6
    assert name.lower() not in done.errors.lower()
    refused = [json.dumps(one["refused"]) for one in lines(done.output) if "refused" in one]
    assert not [one for one in refused if NAME in one]


@pytest.mark.conformance
def test_every_file_of_the_corpora_is_a_bundle_or_a_named_refusal(process: Xinglin, corpora: Path) -> None:
    from schemas.reasons import REASONS

    paths = sorted(path for path in (corpora / "hl7v2").rglob("*") if path.is_file())
    done = process("convert", "--ndjson", *paths)
    found = lines(done.output)
    assert done.code == 1
    assert [one["file"] for one in found] == [str(path) for path in paths]
    for one in found:
        assert set(one) - {"file"} in ({"bundle"}, {"refused"}, {"bundles"}, {"bundles", "refused"}), one["file"]
        for refusal in one["refused"] if "bundles" in one and "refused" in one else [one.get("refused")]:
            assert refusal is None or (refusal["code"] in REASONS and refusal["message"]), one["file"]
    told = done.told
    for path in (corpora / "hl7v2" / "zh").glob("*.expected.json"):
        patient = json.loads(path.read_bytes())["patient"]
        for value in (patient["name"].replace("^", ""), patient["id"], patient["mrn"]):
            assert value not in told, path.name
