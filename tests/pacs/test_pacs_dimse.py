"""An archive over DIMSE: everything once, in order, however it is cut, interrupted, late or doubled."""

from __future__ import annotations

import logging
import ssl
import threading
import time
from collections.abc import Iterable, Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from certificates import issue
from dicom_made import made
from pacs_world import DAY, NOW, Kept, contents, dataset, dimse, is_manifest, pulled
from pydicom.config import IGNORE
from pydicom.dataelem import DataElement

from connectors.errors import Retry, Stop
from schemas.errors import ConfigurationError
from schemas.records import RawRecord, Unreadable
from simulators.imaging import studies
from simulators.pacs import Pacs

# pynetdicom lets go of a socket that could not be connected without closing it.
pytestmark = pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")


def test_every_object_and_a_manifest_of_each_study_come_once_and_in_order(pacs: Pacs, kept: Kept) -> None:
    sent = pacs.fill([DAY], 4)
    records, page = pulled(dimse(pacs, kept))
    assert len(records) == sent.received == page.expected
    held = {str(one.SOPInstanceUID): one for one in pacs.holdings.all()}
    assert {one.native_id for one in records if not is_manifest(one)} == held.keys()  # type: ignore[union-attr]
    assert contents(pulled(dimse(pacs, kept))[0]) == contents(records)
    again, after = pulled(dimse(pacs, kept), page.cursor)
    assert (again, after.cursor, after.expected) == ([], page.cursor, 0)


def test_record_has_no_pixels_and_the_bulk_store_has_all_of_them(pacs: Pacs, kept: Kept) -> None:
    pacs.fill([DAY], 2)
    records, _ = pulled(dimse(pacs, kept))
    held = {str(one.SOPInstanceUID): one for one in pacs.holdings.all()}
    for record in records:
        assert isinstance(record, RawRecord) and record.media == "dicom"
        if is_manifest(record):
            assert record.bulk == ()
            continue
        original, one = held[record.native_id], dataset(record)
        assert "PixelData" not in one and one.file_meta.TransferSyntaxUID == "1.2.840.10008.1.2.1"
        assert record.bulk == (f"east-pacs/{record.native_id}/7FE00010",)
        assert kept.contents[record.bulk[0]] == original.PixelData
        assert one.PatientName == original.PatientName and one.StudyDescription == original.StudyDescription


def test_cursor_in_the_future_returns_nothing(pacs: Pacs) -> None:
    pacs.fill([DAY], 1)
    records, page = pulled(dimse(pacs), {"day": "2027-01-01", "studies": {}})
    assert records == [] and page.expected == 0 and pacs.fetched == {}


def test_wrong_ae_titles_are_told_apart_and_nothing_is_asked(pacs: Pacs, kept: Kept) -> None:
    pacs.fill([DAY], 1)
    with pytest.raises(Stop, match="its AE title is not 'OTHER'; correct called_ae"):
        pulled(dimse(pacs, kept, called_ae="OTHER"))
    pacs.stop()
    pacs.callers = ("KNOWN",)
    pacs.start()
    with pytest.raises(Stop, match="does not know our AE title 'XINGLIN'"):
        pulled(dimse(pacs, kept))
    assert pacs.fetched == {} and kept.contents == {}
    assert len(pulled(dimse(pacs, kept, calling_ae="KNOWN"))[0]) == 7


def test_check_says_what_is_wrong_without_raising(pacs: Pacs) -> None:
    pacs.fill([DAY], 1)
    assert [one.ok for one in dimse(pacs).check()] == [True] * 4
    (found,) = dimse(pacs, called_ae="OTHER").check()
    assert (found.aspect, found.ok) == ("connection", False) and "OTHER" in found.message
    pacs.stop()
    (found,) = dimse(pacs).check()
    assert (found.aspect, found.ok) == ("connection", False)
    pacs.gets = False
    pacs.start()
    findings = dimse(pacs).check()
    assert [(one.aspect, one.ok) for one in findings] == [("connection", True), ("rights", False)]
    assert "retrieve: move" in findings[1].message


def test_archive_that_is_not_there_is_tried_again_later(pacs: Pacs) -> None:
    pacs.stop()
    with pytest.raises(Retry, match="no connection to the archive"):
        pulled(dimse(pacs, attempts=1))


def test_archive_that_hangs_up_in_the_middle_of_a_study_is_gone_on_with(pacs: Pacs, kept: Kept) -> None:
    sent = pacs.fill([DAY], 1)
    pacs.drop_after = 3
    records, page = pulled(dimse(pacs, kept, objects_per_request=2))
    assert len(records) == sent.received == page.expected and page.waiting == 0
    assert set(pacs.fetched.values()) == {1}


def test_archive_that_restarts_in_the_middle_of_a_study_loses_and_doubles_nothing(pacs: Pacs, kept: Kept) -> None:
    sent = pacs.fill([DAY], 2)
    whole = contents(pulled(dimse(pacs, kept))[0])
    pacs.fetched.clear()
    connector = dimse(pacs, kept, objects_per_request=1)
    connector.page_records = 1  # type: ignore[misc]
    landed, cursor = [], {}
    for number, page in enumerate(connector.pull({})):
        landed += page.records
        cursor = page.cursor
        if number == 3:
            pacs.stop()
            pacs.start()
    assert contents(landed) == whole and len(landed) == sent.received
    assert set(pacs.fetched.values()) == {1} and pulled(dimse(pacs, kept), cursor)[0] == []


@pytest.mark.parametrize("stop_after", range(9))
def test_read_that_ends_anywhere_goes_on_from_its_last_page(pacs: Pacs, stop_after: int) -> None:
    pacs.fill([DAY], 2)
    connector = dimse(pacs, objects_per_request=1)
    connector.page_records = 1  # type: ignore[misc]
    before, cursor = [], {}
    pages = connector.pull({})
    for _ in range(stop_after):
        page = next(pages)
        before += page.records
        cursor = page.cursor
    pages.close()  # type: ignore[attr-defined]
    after, _ = pulled(dimse(pacs), cursor)
    ids = [one for one, _ in contents(before)]
    repeated = [one for one, _ in contents(after) if one in ids]
    whole = [one for one, _ in contents(pulled(dimse(pacs))[0])]
    assert sorted(set(ids) | {one for one, _ in contents(after)}) == sorted(whole)
    assert len(repeated) <= 1  # the record of the page whose mark had not come yet


def test_limit_of_a_run_ends_it_in_the_middle_of_a_study_and_the_next_goes_on(pacs: Pacs, kept: Kept) -> None:
    sent = pacs.fill([DAY], 3)
    cursor: dict[str, Any] = {}
    runs = []
    while True:
        records, page = pulled(dimse(pacs, kept, objects_per_run=2, objects_per_request=2), cursor)
        assert page.expected == len(records)
        if not records:
            break
        runs.append(len(records))
        cursor = page.cursor
    assert sum(runs) == sent.received and max(runs) <= 5 and set(pacs.fetched.values()) == {1}


def test_late_objects_and_studies_of_the_window_are_caught_and_only_they_are_fetched(pacs: Pacs) -> None:
    (study,) = studies(7, "东城医院", DAY - timedelta(1), 1)
    pacs.holdings.add(study[:4])
    records, page = pulled(dimse(pacs))
    assert len(records) == 5
    pacs.fetched.clear()
    pacs.holdings.add(study)
    (other,) = studies(7, "东城医院", DAY - timedelta(2), 1, first=1)
    pacs.holdings.add(other)
    late, _ = pulled(dimse(pacs), page.cursor)
    manifests = [one for one in late if is_manifest(one)]
    assert len(manifests) == 2 and len(late) == 2 + 2 + 1
    assert set(pacs.fetched) == {str(one.SOPInstanceUID) for one in [*study[4:], *other]}


def test_same_objects_delivered_again_are_not_asked_for_again(pacs: Pacs) -> None:
    pacs.fill([DAY], 2)
    _, page = pulled(dimse(pacs))
    pacs.fetched.clear()
    pacs.fill([DAY], 2)
    assert pulled(dimse(pacs), page.cursor)[0] == [] and pacs.fetched == {}


def test_studies_of_tomorrow_by_the_archives_clock_wait_for_their_day(pacs: Pacs) -> None:
    pacs.fill([DAY + timedelta(1)], 1)
    records, page = pulled(dimse(pacs))
    assert records == []
    assert len(pulled(dimse(pacs, now=NOW + timedelta(1)), page.cursor)[0]) == 7


def test_object_that_is_listed_and_not_handed_over_is_set_aside_and_asked_for_again(pacs: Pacs, kept: Kept) -> None:
    sent = pacs.fill([DAY], 1)
    bad = str(pacs.holdings.all()[2].SOPInstanceUID)
    pacs.damaged.add(bad)
    records, page = pulled(dimse(pacs, kept))
    (refused,) = (one for one in records if isinstance(one, Unreadable))
    assert (refused.refusal.code, refused.refusal.where) == ("not_delivered", "(0008,0018)")
    assert len(records) == sent.received == page.expected and page.waiting == 1
    pacs.damaged.clear()
    healed, page = pulled(dimse(pacs, kept), page.cursor)
    assert [one for one, _ in contents(healed)] == [bad] and page.waiting == 0


def test_accession_number_of_two_studies_mixes_nothing(pacs: Pacs, kept: Kept) -> None:
    for study in ("1.2.3", "1.2.4"):
        pacs.holdings.add(
            [
                made(
                    StudyInstanceUID=study,
                    SeriesInstanceUID=f"{study}.1",
                    SOPInstanceUID=f"{study}.1.1",
                    uid=f"{study}.1.1",
                )
            ]
        )
    records, _ = pulled(dimse(pacs, kept))
    found = [(dataset(one).StudyInstanceUID, one.native_id) for one in records if not is_manifest(one)]  # type: ignore[union-attr]
    assert found == [("1.2.3", "1.2.3.1.1"), ("1.2.4", "1.2.4.1.1")]


def test_only_wanted_modalities_are_read(pacs: Pacs) -> None:
    pacs.fill([DAY], 4)
    records, _ = pulled(dimse(pacs, modalities=["SR"]))
    assert {dataset(one).Modality for one in records} == {"KO", "SR"}


def test_outside_the_permitted_hours_nothing_is_asked(pacs: Pacs) -> None:
    pacs.fill([DAY], 1)
    records, page = pulled(dimse(pacs, hours=["20:00-06:00"]))  # it is noon in the source's zone
    assert records == [] and pacs.fetched == {}
    night = datetime(2026, 3, 15, 21, 0, tzinfo=UTC)  # five in the morning of the next day
    assert len(pulled(dimse(pacs, now=night, hours=["20:00-06:00"]), page.cursor)[0]) == 7


def test_no_more_objects_a_second_come_than_permitted(pacs: Pacs) -> None:
    pacs.fill([DAY], 1)
    started = time.monotonic()
    assert len(pulled(dimse(pacs, objects_per_second=12.0))[0]) == 7
    assert time.monotonic() - started >= 5 / 12


def test_uid_that_cannot_be_asked_for_is_set_aside_once_a_run(pacs: Pacs) -> None:
    bad = made()
    bad.add(DataElement("SOPInstanceUID", "UI", "1.2.3.1.x", validation_mode=IGNORE))
    pacs.holdings.add([made(), bad])
    records, page = pulled(dimse(pacs))
    (refused,) = (one for one in records if isinstance(one, Unreadable))
    assert (refused.refusal.code, refused.refusal.where) == ("bad_value", "(0008,0018)")
    assert len(records) == page.expected == 3


def test_c_move_delivers_the_same_to_our_own_port(pacs: Pacs, kept: Kept, free_port: int) -> None:
    pacs.fill([DAY], 4)
    by_get = contents(pulled(dimse(pacs, kept))[0])
    with pytest.raises(Stop, match="does not know our AE title as a destination"):
        pulled(dimse(pacs, kept, retrieve="move", move_port=free_port))
    pacs.destinations["XINGLIN"] = ("127.0.0.1", free_port)
    assert contents(pulled(dimse(pacs, kept, retrieve="move", move_port=free_port))[0]) == by_get


def test_what_nobody_asked_for_is_not_taken_at_our_port(pacs: Pacs, kept: Kept, free_port: int) -> None:
    from pynetdicom import AE

    pacs.fill([DAY], 1)
    pacs.destinations["XINGLIN"] = ("127.0.0.1", free_port)
    connector = dimse(pacs, kept, retrieve="move", move_port=free_port, objects_per_second=10.0)
    stray = made(uid="9.9.9")
    answers = []

    def intrude() -> None:
        sender = AE("INTRUDER")
        sender.add_requested_context(stray.SOPClassUID)
        for _ in range(50):
            association = sender.associate("127.0.0.1", free_port, ae_title="XINGLIN")
            if association.is_established:
                answers.append(association.send_c_store(stray).get("Status"))
                association.release()
                return
            time.sleep(0.02)

    thread = threading.Thread(target=intrude)
    thread.start()
    records, _ = pulled(connector)
    thread.join()
    assert answers == [0x0124] and "9.9.9" not in {one for one, _ in contents(records)}
    assert not [name for name in kept.contents if "9.9.9" in name]


class Failing(Kept):
    """A bulk store whose database goes away."""

    def put(self, name: str, chunks: Iterable[bytes], /) -> None:
        next(iter(chunks), b"")
        raise ConnectionResetError("the database is gone")


def test_bulk_store_that_fails_stops_the_read_and_nothing_of_the_object_is_handed_over(pacs: Pacs) -> None:
    pacs.fill([DAY], 1)
    connector = dimse(pacs, Failing(), attempts=1)
    pages = []
    with pytest.raises(Retry):
        pages.extend(connector.pull({}))
    assert [one for page in pages for one in page.records if isinstance(one, RawRecord) and one.bulk] == []


def test_no_patient_is_logged_by_us_or_the_library(pacs: Pacs, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.DEBUG)
    pacs.fill([DAY], 4)
    pacs.damaged.add(str(pacs.holdings.all()[0].SOPInstanceUID))
    pulled(dimse(pacs))
    for one in pacs.holdings.all():
        name = str(one.PatientName).strip("=").replace("^", "")
        assert str(one.PatientID) not in caplog.text and name not in caplog.text
        assert str(one.PatientName) not in caplog.text


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"since": "yesterday"}, "since must be a day"),
        ({"hours": ["20-6"]}, "hours must be such as"),
        ({"retrieve": "steal"}, "retrieve must be get or move"),
        ({"calling_ae": "A" * 17}, "calling_ae must be 1 to 16"),
        ({"objects_per_request": 0}, "objects_per_request must be from 1 to 100"),
        ({"retrieve": "move", "tls": True}, "tls_certificate is missing"),
    ],
)
def test_settings_that_cannot_be_used_are_refused(pacs: Pacs, settings: dict[str, Any], message: str) -> None:
    with pytest.raises(ConfigurationError, match=message):
        dimse(pacs, **settings)


@pytest.fixture(scope="module")
def certificates(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An authority and the archive's certificate for 127.0.0.1."""
    return issue(tmp_path_factory.mktemp("tls"), "pacs")


@pytest.fixture
def secured(certificates: Path) -> Iterator[Pacs]:
    """An archive that speaks TLS."""
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    context.load_cert_chain(certificates / "pacs.pem", certificates / "pacs.key")
    with Pacs(tls=context) as running:
        yield running


def test_archive_over_tls_is_read_and_one_with_an_unknown_certificate_is_not(secured: Pacs, certificates: Path) -> None:
    sent = secured.fill([DAY], 1)
    records, _ = pulled(dimse(secured, home=certificates, tls=True, tls_authority="authority.pem"))
    assert len(records) == sent.received
    with pytest.raises(Retry, match="TLS"):
        pulled(dimse(secured, tls=True, attempts=1))
    with pytest.raises(ConfigurationError, match="cannot be read"):
        pulled(dimse(secured, home=certificates, tls=True, tls_authority="missing.pem"))
