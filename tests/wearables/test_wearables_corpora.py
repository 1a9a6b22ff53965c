"""The independent corpora: each file becomes what its label, its expected values or the vendor's own export say."""

from __future__ import annotations

import csv
import json
import zipfile
from collections import Counter
from datetime import datetime, timedelta
from pathlib import Path, PurePosixPath
from typing import Any

import pytest
from wearables_world import CONTEXT, become, bodies, coded, quantities

from normalise import SetAside, convert
from normalise.omh.shapes import FOLDER, shape

pytestmark = pytest.mark.conformance
IEEE = "https://w3id.org/ieee/ieee-1752-schema/"
SAID = {"description", "references", "deprecation", "$schema", "$id", "id", "title"}


@pytest.fixture
def wearables(corpora: Path) -> Path:
    return corpora / "wearables"


def test_every_fragment_is_judged_as_its_folder_says(wearables: Path) -> None:
    wrong, judged = [], Counter[str]()
    for path in sorted((wearables / "openmhealth").rglob("*.json")):
        namespace, name, version, kind, _ = path.relative_to(wearables / "openmhealth").parts
        check = shape(f"{namespace}:{name}-{version}")
        assert check is not None, path.name
        judged[kind] += 1
        if (check(json.loads(path.read_text(encoding="utf-8"))) is None) != (kind == "shouldPass"):
            wrong.append(str(path.relative_to(wearables)))
    assert wrong == []
    assert judged == {"shouldPass": 189, "shouldFail": 124}


def test_points_of_fragments_convert_or_are_refused_with_a_json_path(wearables: Path) -> None:
    refused = []
    for path in sorted((wearables / "openmhealth").rglob("*.json")):
        namespace, name, version, kind, _ = path.relative_to(wearables / "openmhealth").parts
        body = json.loads(path.read_text(encoding="utf-8"))
        if not isinstance(body, dict) or name in ("data-point", "header"):
            continue
        schema_id = {"namespace": namespace, "name": name, "version": version}
        header = {"id": "1", "creation_date_time": "2026-01-05T07:30:00Z", "schema_id": schema_id, "user_id": "u"}
        content = json.dumps({"header": header, "body": body}).encode()
        if kind == "shouldPass":
            assert bodies(become("omh", content)), path.name
        else:
            with pytest.raises(SetAside) as caught:
                convert("omh", content, CONTEXT)
            refused.append(caught.value.refusal.where)
    assert all(where.startswith("$.body") for where in refused)
    assert len(refused) > 90


def test_shipped_schemas_are_the_originals_without_their_descriptions(wearables: Path) -> None:
    shipped = json.loads((FOLDER / "schemas.json").read_text(encoding="utf-8"))
    assert shipped == derived(wearables / "openmhealth-schemas.zip")
    assert "Apache License" in (FOLDER / "LICENSE").read_text(encoding="utf-8")


def derived(archive: Path) -> dict[str, Any]:
    """The schemas of the zip as NOTICE.md says that they are shipped."""
    documents: dict[str, Any] = {}
    aliases: dict[str, str] = {}
    with zipfile.ZipFile(archive) as opened:
        for name in opened.namelist():
            path = PurePosixPath(name)
            key, text = f"{path.parent.name}:{path.stem}", opened.read(name).decode()
            try:
                documents[key] = json.loads(text)
            except ValueError:
                aliases[key] = f"{path.parent.name}:{text.strip().removesuffix('.json')}"
    for family in [one for one in documents if one.endswith(".x")]:
        versions = [one for one in documents if one.startswith(family[:-1]) and one != family]
        if versions:
            aliases[family] = max(versions, key=lambda one: int(one[len(family) - 1 :]))
            del documents[family]
    return {key: slim(one, key.partition(":")[0], aliases) for key, one in documents.items()}


def slim(node: Any, folder: str, aliases: dict[str, str], key: str = "") -> Any:
    if isinstance(node, list):
        return [slim(one, folder, aliases) for one in node]
    if not isinstance(node, dict):
        return node
    if key in ("properties", "definitions"):
        return {name: slim(one, folder, aliases) for name, one in node.items()}
    found = {}
    for name, one in node.items():
        if name == "$ref" and not one.startswith("#"):
            target = referred(one, folder)
            found[name] = aliases.get(target, target)
        elif name not in SAID:
            found[name] = one if name in ("enum", "required") else slim(one, folder, aliases, name)
    return found


def referred(reference: str, folder: str) -> str:
    if reference.startswith(IEEE):
        return f"ieee:{reference.removeprefix(IEEE).removesuffix('.json')}"
    path = PurePosixPath(reference)
    return f"{path.parent.name or folder}:{path.name.removesuffix('.json')}"


@pytest.mark.parametrize("name", ["0", "3", "4", "5"])
def test_chinese_exports_say_what_is_expected(wearables: Path, name: str) -> None:
    expected = json.loads((wearables / "apple-health-zh" / f"{name}.expected.json").read_text(encoding="utf-8"))
    made = become("apple-health", (wearables / "apple-health-zh" / f"{name}.zip").read_bytes(), user="u1")
    steps, rates = quantities(made, "55423-8"), [value for value, _ in quantities(made, "8867-4")]
    assert sum(value for value, _ in steps) == expected["phone_steps_sum"]
    assert expected["step_records"] - len(steps) == expected["overlapping_watch_step_records"]
    assert (len(rates), round(sum(rates) / len(rates), 4)) == (expected["heart_rate_n"], expected["heart_rate_mean"])
    assert quantities(made, "2708-6") == [(expected["spo2_percent"], "%")]
    (panel,) = coded(made, "85354-9")
    assert [one["valueQuantity"]["value"] for one in panel["component"]] == expected["blood_pressure"]
    assert quantities(made, "93830-8") == [(expected["sleep_minutes"] * 60, "s")]
    assert all(one["effectivePeriod"]["start"].endswith(expected["tz"]) for one in coded(made, "55423-8"))


def test_valid_fit_files_convert_and_invalid_ones_are_refused_by_name(wearables: Path) -> None:
    refused = {}
    for path in sorted((wearables / "fit").glob("*.fit")):
        try:
            become("fit", path.read_bytes(), user="u1")
        except SetAside as error:
            refused[path.stem] = error.refusal.code
    assert refused == {
        "activity-activity-filecrc": "checksum",
        "activity-filecrc": "checksum",
        "activity-settings-corruptheader": "structure",
        "activity-settings-nodata": "truncated",
        "activity-unexpected-eof": "truncated",
        # Labelled valid; its header announces 78,252 bytes and the corpus has 78,233 of them.
        "strava-android-app-201.10-b1218918": "truncated",
    }


def series(made: Any, code: str) -> dict[datetime, float]:
    """Every value of a measure by its time, whether it stands alone or in a series."""
    found = {}
    for one in coded(made, code):
        if "method" in one:
            continue
        start = datetime.fromisoformat(one.get("effectiveDateTime") or one["effectivePeriod"]["start"])
        data = one.get("valueSampledData")
        if data is None:
            found[start] = float(one["valueQuantity"]["value"])
            continue
        for place, value in enumerate(data["data"].split()):
            if value != "E":
                found[start + timedelta(milliseconds=place * data["period"])] = float(value)
    return found


COLUMNS = {"heart_rate": "8867-4", "cadence": "cadence", "speed": "speed", "distance": "distance-so-far",
           "altitude": "altitude", "temperature": "ambient-temperature"}  # fmt: skip


@pytest.mark.parametrize("name", ["garmin-edge-820-bike", "garmin-fenix-5-walk"])
def test_fit_records_are_those_that_garmins_own_tool_exports(wearables: Path, name: str) -> None:
    made = become("fit", (wearables / "fit" / f"{name}.fit").read_bytes(), user="u1")
    with (wearables / "fit" / f"{name}-records.csv").open(encoding="utf-8") as stream:
        rows = list(csv.DictReader(stream))
    compared = 0
    for column, code in COLUMNS.items():
        own = series(made, code)
        for row in rows:
            when = datetime.strptime(f"{row['timestamp'].replace('PDT', '-0700')}", "%a %b %d %H:%M:%S %z %Y")
            if row[column] not in ("", "null"):
                assert own[when] == pytest.approx(float(row[column]), abs=1e-6), (column, when)
                compared += 1
        assert len(own) <= len(rows)
    assert compared >= 5 * len(rows)


def test_fit_records_of_a_device_without_a_clock_are_those_of_garmins_tool_too(wearables: Path) -> None:
    name = "compressed-speed-distance"
    made = become("fit", (wearables / "fit" / f"{name}.fit").read_bytes(), user="u1")
    with (wearables / "fit" / f"{name}-records.csv").open(encoding="utf-8") as stream:
        rows = list(csv.reader(stream))[1:]
    power_on = datetime.fromisoformat("2012-02-13T12:21:03+08:00") - timedelta(seconds=17_221_751)
    compared = 0
    for column, code in ((1, "8867-4"), (2, "speed"), (3, "distance-so-far")):
        own = series(made, code)
        for row in rows:
            if row[column] != "null":
                when = power_on + timedelta(seconds=int(row[0]))
                assert own[when] == pytest.approx(float(row[column]), abs=0.01), (column, row[0])
                compared += 1
    assert compared > 2_000


def test_every_vendors_reply_converts(wearables: Path) -> None:
    empty = []
    for path in sorted((wearables / "vendor-api").rglob("*.json")):
        made = become("wearable-api", path.read_bytes(), user="u1")
        if not made.resources:
            empty.append(path.stem)
            assert [note.code for note in made.notes], path.stem
    assert empty == [
        "fitbit-activities-date-empty-activities-list", "googlefit-empty", "googlefit-merge-location-samples",
        "ihealth-activity-empty", "ihealth-bp-empty", "ihealth-spo2-empty", "ihealth-spo2-no-oxygen-saturation",
        "ihealth-weight-empty", "ihealth-weight-no-weight-value", "jawbone-empty",
        "moves-user-storyline-daily-no-segments",
    ]  # fmt: skip
