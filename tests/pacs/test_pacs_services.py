"""Orthanc from Debian, over DIMSE and DICOMweb: another implementation than the simulator's."""

from __future__ import annotations

import os
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime, timedelta
from io import BytesIO
from pathlib import Path
from typing import Any

import httpx
import pytest
from pacs_world import DAY, NOW, Kept, contents, dataset, is_manifest, pulled, source

from connectors.conformance import Trial, assert_conforms
from connectors.errors import Retry, Stop
from connectors.pacs.dicomweb import DicomwebConnector
from connectors.pacs.dimse import DimseConnector
from deploy.services import Orthanc, install, running
from normalise import convert
from schemas.records import RawRecord
from simulators.imaging import studies

pytestmark = [
    pytest.mark.services,
    # pynetdicom lets go of a socket that could not be connected without closing it.
    pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning"),
]
USER = ("pacs", "open sesame")


@dataclass
class Archive:
    """A running Orthanc."""

    http: int
    dicom: int
    move: int
    server: Orthanc | None = None

    def add(self, objects: list[Any]) -> None:
        for one in objects:
            stream = BytesIO()
            one.save_as(stream, enforce_file_format=True)
            url = f"http://127.0.0.1:{self.http}/instances"
            httpx.post(url, content=stream.getvalue(), auth=USER).raise_for_status()

    def clear(self) -> None:
        for one in httpx.get(f"http://127.0.0.1:{self.http}/patients", auth=USER).json():
            httpx.delete(f"http://127.0.0.1:{self.http}/patients/{one}", auth=USER)

    def dimse(self, kept: Kept | None = None, **settings: Any) -> DimseConnector:
        given = {
            "host": "127.0.0.1", "port": self.dicom, "called_ae": "ORTHANC", "since": "2026-03-13", "seconds": 10.0,
            "move_port": self.move, **settings,
        }  # fmt: skip
        return DimseConnector(source("pacs.dimse", **given), Path(), now=lambda: NOW, bulk=kept)

    def web(self, kept: Kept | None = None, now: datetime = NOW, **settings: Any) -> DicomwebConnector:
        given = {
            "url": f"http://127.0.0.1:{self.http}/dicom-web", "since": "2026-03-13", "seconds": 10.0,
            "user": "pacs", "password_secret": "orthanc", **settings,
        }  # fmt: skip
        return DicomwebConnector(source("pacs.dicomweb", **given), Path(), now=lambda: now, bulk=kept)


@pytest.fixture(scope="module")
def orthanc() -> Iterator[Archive]:
    """The Orthanc of deploy/services.py, or one of our own where these tests run alone."""
    if told := os.environ.get("XINGLIN_TEST_ORTHANC"):
        yield Archive(*map(int, told.split()))
        return
    install((Orthanc,))
    with running(Orthanc) as server:
        assert isinstance(server, Orthanc)
        yield Archive(server.port, server.dicom_port, server.move_port, server)


@pytest.fixture
def archive(orthanc: Archive, monkeypatch: pytest.MonkeyPatch) -> Archive:
    """An empty Orthanc."""
    monkeypatch.setenv("XINGLIN_SECRET_ORTHANC", USER[1])
    orthanc.clear()
    return orthanc


def filled(archive: Archive, count: int = 4) -> list[Any]:
    objects = [one for study in studies(7, "东城医院", DAY, count) for one in study]
    archive.add(objects)
    return objects


def test_get_move_and_web_hand_over_the_same_objects_and_pixels(archive: Archive) -> None:
    objects = filled(archive)
    found = []
    kept, moved, web = Kept(), Kept(), Kept()
    for connector in (archive.dimse(kept), archive.dimse(moved, retrieve="move"), archive.web(web)):
        records, page = pulled(connector)
        assert len(records) == page.expected == len(objects) + 4 and page.waiting == 0
        found.append([(one.native_id, dataset(one).PatientID) for one in records if not is_manifest(one)])  # type: ignore[union-attr]
        assert pulled(connector, page.cursor)[0] == []
    assert found[0] == found[1] == found[2]
    assert {one for one, _ in found[0]} == {str(one.SOPInstanceUID) for one in objects}
    pixels = {f"east-pacs/{one.SOPInstanceUID}/7FE00010": one.PixelData for one in objects if "PixelData" in one}
    assert kept.contents == moved.contents == web.contents == pixels


def test_names_in_every_character_set_come_through_orthanc(archive: Archive) -> None:
    objects = filled(archive, 16)
    expected = {str(one.PatientID): str(one.PatientName).lstrip("=").replace("^", "").strip() for one in objects}
    for connector in (archive.dimse(), archive.web()):
        records, _ = pulled(connector)
        for record in records:
            assert isinstance(record, RawRecord)
            made = convert("dicom", record.content, connector.source.context)
            (patient,) = (one.body for one in made.resources if one.type == "Patient")
            assert patient["name"][0]["text"] == expected[patient["identifier"][0]["value"]]


def test_late_objects_are_caught_and_only_they_are_fetched(archive: Archive) -> None:
    (study,) = studies(7, "东城医院", DAY - timedelta(1), 1)
    archive.add(study[:4])
    records, page = pulled(archive.dimse(kept := Kept()))
    assert len(records) == 5
    kept.contents.clear()
    archive.add(study)
    late, _ = pulled(archive.dimse(kept), page.cursor)
    assert len(late) == 3 and len(kept.contents) == 2


@pytest.mark.parametrize("way", ["dimse", "web"])
def test_archive_conforms(archive: Archive, way: str) -> None:
    filled(archive, 2)
    (late,) = studies(7, "东城医院", DAY - timedelta(2), 1, first=5)
    opened = getattr(archive, way)
    wrong = {"called_ae": "OTHER"} if way == "dimse" else {"user": "nobody"}
    assert_conforms(Trial(opened, wrong=lambda: opened(attempts=1, **wrong), late=lambda: archive.add(late)))


def test_wrong_titles_and_credentials_are_told(archive: Archive) -> None:
    filled(archive, 1)
    with pytest.raises(Stop, match="its AE title is not 'OTHER'"):
        pulled(archive.dimse(called_ae="OTHER"))
    with pytest.raises((Retry, Stop), match="our AE title"):  # it takes the association and hangs up on the query
        pulled(archive.dimse(calling_ae="STRANGER", attempts=1))
    assert all(one.ok for one in archive.dimse().check())
    assert [one.ok for one in archive.dimse(calling_ae="STRANGER").check()][-1] is False
    with pytest.raises(Stop, match="refuses us"):
        pulled(archive.web(user="nobody"))
    assert [(one.aspect, one.ok) for one in archive.web(user="nobody").check()][-1] == ("rights", False)


def test_orthanc_that_restarts_in_the_middle_of_a_study_loses_and_doubles_nothing(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("XINGLIN_SECRET_ORTHANC", USER[1])
    install((Orthanc,))
    with running(Orthanc) as server:
        assert isinstance(server, Orthanc)
        archive = Archive(server.port, server.dicom_port, server.move_port)
        objects = filled(archive, 2)
        connector = archive.dimse(kept := Kept(), objects_per_request=1, attempts=8)
        connector.page_records = 1  # type: ignore[misc]
        landed = []
        for number, page in enumerate(connector.pull({})):
            landed += page.records
            if number == 3:
                server.stop(kill=True)
                server.start()
        assert len(landed) == len({one for one, _ in contents(landed)}) == len(objects) + 2
        assert len(kept.contents) == len([one for one in objects if "PixelData" in one])
        server.stop()
        with pytest.raises(Retry):
            pulled(archive.dimse(attempts=1))
        server.start()
