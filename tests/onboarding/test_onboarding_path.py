"""The engineer's way from init to enable, and every place where it is refused with nothing changed."""

from __future__ import annotations

import json
import stat
from datetime import UTC, datetime, timedelta
from pathlib import Path

import orjson
import pytest
from onboarding_engineer import Engineer

from dags.steps.onboarding.enabling import write_secret, write_source
from dags.steps.onboarding.scorecard import folder, hindrances, load
from schemas.documents import check_document
from schemas.errors import ConfigurationError
from schemas.home import Home
from schemas.source import load_source
from simulators.lis import Laboratory

LAB = "pilot-lis"
INIT = (
    "source", "init", LAB, "--kind", "his.hl7v2_files", "--institution", "lab-centre", "--title", "试点检验 LIS",
    "--set", "folder=inbox/pilot", "--set", "pattern=*.hl7", "--set", "quiet_seconds=0",
)  # fmt: skip


@pytest.fixture
def lab(engineer: Engineer) -> Engineer:
    """An engineer whose laboratory has dropped files, trouble among them, and whose source has its file."""
    engineer.types(*INIT)
    Laboratory(20261101).drop(engineer.home.path / "inbox" / "pilot", 1, 40)
    return engineer


def names(engineer: Engineer) -> list[str]:
    """Names of patients in what the laboratory dropped."""
    found = set()
    for path in (engineer.home.path / "inbox" / "pilot").glob("LIS*.hl7"):
        text = path.read_bytes().decode("utf-8-sig", "replace")
        found |= {line.split("|")[5].split("^")[0] for line in text.splitlines() if line.startswith("PID")}
    return sorted(name for name in found if len(name) > 1)


def test_init_writes_a_checked_file_that_is_not_enabled_and_makes_its_folder(engineer: Engineer) -> None:
    engineer.types(*INIT)
    source = load_source(engineer.sources / f"{LAB}.yaml")
    assert (source.enabled, source.title, source.kind) == (False, "试点检验 LIS", "his.hl7v2_files")
    assert source.settings == {"folder": "inbox/pilot", "pattern": ["*.hl7"], "quiet_seconds": 0.0}
    assert (engineer.home.path / "inbox" / "pilot").is_dir()


@pytest.mark.parametrize(
    ("arguments", "said", "code"),
    [
        (("--set", "no_such=1"), "no_such is not known", 1),
        (("--set", "quiet_seconds=soon"), "quiet_seconds: expected number", 1),
        (("--set", "quiet_seconds=-1"), "quiet_seconds must be from 0", 1),
        (("--time-zone", "Mars/Olympus"), "no IANA zone", 1),
        (("--set", "recursive"), "expected KEY=VALUE", 2),
    ],
)
def test_init_refuses_what_the_connector_would_refuse_and_writes_nothing(
    engineer: Engineer, arguments: tuple[str, ...], said: str, code: int
) -> None:
    told = engineer.types(*INIT, *arguments, expect=code)
    assert said in told.errors
    assert list(engineer.sources.iterdir()) == []


def test_init_names_the_flag_that_is_missing_where_nobody_can_be_asked(engineer: Engineer) -> None:
    assert "--kind is missing" in engineer.types("source", "init", "x1", expect=2).errors
    told = engineer.types("source", "init", "x1", "--kind", "his.hl7v2_mllp", "--institution", "lab-centre", expect=2)
    assert "--set port=… is missing: TCP port" in told.errors
    assert list(engineer.sources.iterdir()) == []


def test_init_leaves_a_source_alone_that_is_there(lab: Engineer) -> None:
    before = (lab.sources / f"{LAB}.yaml").read_bytes()
    assert "is there already" in lab.types(*INIT, expect=1).errors
    assert (lab.sources / f"{LAB}.yaml").read_bytes() == before


def test_a_secret_goes_into_a_file_for_this_user_alone_and_its_name_into_the_source(
    tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    path = write_secret(Home(tmp_path), "pilot-password", "correct horse")
    assert path == tmp_path / "secrets" / "pilot-password"
    assert (stat.S_IMODE(path.stat().st_mode), stat.S_IMODE(path.parent.stat().st_mode)) == (0o600, 0o700)
    with pytest.raises(ConfigurationError, match="is another"):
        write_secret(Home(tmp_path), "pilot-password", "battery staple")
    assert path.read_text() == "correct horse\n"
    assert "horse" not in "".join(capfd.readouterr())


def test_the_way_there_shows_what_is_there_and_what_it_becomes(lab: Engineer) -> None:
    told = lab.types("source", "check", LAB)
    assert "✗" not in told.output
    parts = json.loads(lab.types("source", "profile", LAB, "--json").output)["parts"]
    assert {"PID-5", "OBX-5"} <= {one["path"] for one in parts}
    covered = json.loads(lab.types("source", "coverage", LAB, "--json").output)
    assert covered["values_read"] > 0.5
    assert not {"OBX-5", "OBX-3", "PID-5", "PID-7"} & set(covered["unread"])
    assert "MSH-15" in covered["unread"]


def test_the_whole_way_ends_with_a_source_that_takes_part(lab: Engineer) -> None:
    lab.types("source", "certify", LAB)
    says_everything_and_no_value(lab)
    lab.types("source", "enable", LAB)
    assert load_source(lab.sources / f"{LAB}.yaml").enabled
    status = json.loads(lab.types("source", "status", "--json").output)
    assert [(one["source"], one["enabled"], one["last"]) for one in status] == [(LAB, True, None)]
    lab.types("source", "disable", LAB)
    assert not load_source(lab.sources / f"{LAB}.yaml").enabled


def says_everything_and_no_value(lab: Engineer) -> None:
    """The scorecard is valid, has every rule, and its page stands alone and names nobody."""
    card = load(lab.home, LAB)
    assert card is not None
    check_document(card, "scorecard", "card")
    assert card["passed"] is True
    assert {one["code"] for one in card["set_aside"]} >= {"truncated", "charset", "oversize", "not_hl7"}
    assert all(one["where"] or one["code"] in ("truncated", "oversize") for one in card["set_aside"])
    assert len(card["quality"]) > 20
    standard = card["standard"]
    assert (
        standard["checked"] - standard["valid"] == sum(standard["deviations"].values()) == 1
    )  # SIU^S12, an ORU really
    assert card["spoilt"]["faults"] == []
    page = (folder(lab.home, LAB) / "scorecard.html").read_text(encoding="utf-8")
    text = page + (folder(lab.home, LAB) / "scorecard.json").read_text(encoding="utf-8")
    people = names(lab)
    assert len(people) > 5
    assert [name for name in people if name in text] == []
    assert "试点检验 LIS" in page
    assert "<script" not in page
    assert "http://" not in page.replace("http://www.w3.org/2000/svg", "")
    assert "https://" not in page
    assert page.count("<svg") >= 5


def test_preview_and_profile_store_nothing_and_log_nobody(lab: Engineer, caplog: pytest.LogCaptureFixture) -> None:
    told = lab.types("source", "preview", LAB, "--records", 5)
    lab.types("source", "profile", LAB)
    people = names(lab)
    assert any(name in told.output for name in people)
    assert "Observation" in told.output
    assert "Nothing was stored" in told.output
    assert [name for name in people if name in caplog.text + told.errors] == []
    assert not (lab.home.path / "scorecards").exists()
    status = json.loads(lab.types("source", "status", LAB, "--json").output)
    assert (status[0]["last"], status[0]["batch"]) == (None, None)


def test_enable_without_a_scorecard_is_refused_and_the_file_is_unchanged(lab: Engineer) -> None:
    before = (lab.sources / f"{LAB}.yaml").read_bytes()
    assert "it has no scorecard" in lab.types("source", "enable", LAB, expect=1).errors
    assert (lab.sources / f"{LAB}.yaml").read_bytes() == before


def test_enable_asks_for_a_fresh_scorecard_of_exactly_this_file(lab: Engineer) -> None:
    lab.types("source", "certify", LAB)
    path = lab.sources / f"{LAB}.yaml"
    text = path.read_text(encoding="utf-8")
    path.write_text(text.replace("quiet_seconds: 0.0", "quiet_seconds: 1.0"), encoding="utf-8")
    assert "changed since it was certified" in lab.types("source", "enable", LAB, expect=1).errors
    assert not load_source(path).enabled
    path.write_text(text.replace("试点检验 LIS", "试点检验中心"), encoding="utf-8")  # a title may change
    source = load_source(path)
    assert hindrances(lab.home, source) == []
    assert "older than 30 days" in hindrances(lab.home, source, datetime.now(UTC) + timedelta(days=31))[0]
    card = folder(lab.home, LAB) / "scorecard.json"
    right = card.read_bytes()
    card.write_bytes(orjson.dumps({"passed": True}))
    assert lab.types("source", "enable", LAB, expect=1).errors
    assert not load_source(path).enabled
    card.write_bytes(right)
    lab.types("source", "enable", LAB)
    assert "试点检验中心" in path.read_text(encoding="utf-8")


def test_a_source_below_the_bar_says_what_is_missing_and_stays_off(lab: Engineer) -> None:
    inbox = lab.home.path / "inbox" / "pilot"
    for path in inbox.iterdir():
        path.unlink()
    (inbox / "junk.hl7").write_bytes(b"GET / HTTP/1.1\r\n" * 3)
    told = lab.types("source", "certify", LAB, expect=1)
    assert "below the bar" in told.output
    card = load(lab.home, LAB)
    assert card is not None
    assert [one["name"] for one in card["bar"] if not one["passed"]] == ["Records to look at", "Set aside"]
    page = (folder(lab.home, LAB) / "scorecard.html").read_text(encoding="utf-8")
    assert "may not be switched on yet. Not reached: Records to look at, Set aside" in page
    assert "Set aside: needed at most 20%" in lab.types("source", "enable", LAB, expect=1).errors
    assert not load_source(lab.sources / f"{LAB}.yaml").enabled


def test_a_source_that_is_not_there_is_told_by_every_command(lab: Engineer) -> None:
    for command in ("check", "preview", "profile", "coverage", "certify", "enable", "disable", "status"):
        assert "no source 'nowhere'" in lab.types("source", command, "nowhere", expect=1).errors


def test_a_folder_that_went_away_is_a_sentence_and_exit_1(lab: Engineer) -> None:
    inbox = lab.home.path / "inbox" / "pilot"
    for path in inbox.iterdir():
        path.unlink()
    assert "holds no record yet" in lab.types("source", "preview", LAB, expect=1).errors
    inbox.rmdir()
    assert "✗" in lab.types("source", "check", LAB, expect=1).output
    for command in ("preview", "profile", "coverage", "certify"):
        told = lab.types("source", command, LAB, expect=1)
        assert "it is not there" in told.errors, command


def test_two_files_of_one_name_are_never_written(engineer: Engineer, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XINGLIN_SOURCES", str(engineer.sources))
    document = {
        "id": "twice", "institution": "lab-centre", "kind": "his.hl7v2_files", "time_zone": "Asia/Shanghai",
        "settings": {"folder": "x"},
    }  # fmt: skip
    write_source(engineer.home, document)
    before = (engineer.sources / "twice.yaml").read_bytes()
    with pytest.raises(ConfigurationError, match="there already"):
        write_source(engineer.home, {**document, "settings": {"folder": "y"}})
    assert (engineer.sources / "twice.yaml").read_bytes() == before
    assert [one.name for one in engineer.sources.iterdir()] == ["twice.yaml"]
