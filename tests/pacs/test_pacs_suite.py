"""The conformance suite of all kinds, a window of the past, and the whole way of a batch into the vault."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from pacs_world import DAY, NOW, contents, dataset, dicomweb, dimse, is_manifest, pulled
from pymongo.database import Database

from connectors.conformance import Trial, assert_conforms, conformance
from connectors.contract import PullConnector
from connectors.errors import Retry, Stop
from connectors.pacs.archive_trial import trial
from dags.steps.ingest import normalise_and_check
from quality.gate import Gate
from schemas.records import RawRecord
from shangmi import Sm3, sm3
from simulators.imaging import studies
from simulators.pacs import Pacs
from vault.errors import Erased
from vault.keystore import FileKeystore
from vault.store import Vault

Open = Callable[..., PullConnector]
# pynetdicom lets go of a socket that could not be connected without closing it.
pytestmark = pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")


@pytest.mark.parametrize("opened", [dimse, dicomweb])
def test_archives_conform(pacs: Pacs, opened: Open) -> None:
    pacs.fill([DAY - timedelta(1), DAY], 2)
    pacs.damaged.add(str(pacs.holdings.all()[0].SOPInstanceUID))
    (late,) = studies(7, "东城医院", DAY - timedelta(1), 1, first=5)
    nowhere = {"port": 1} if opened is dimse else {"url": f"{pacs.url}/nowhere"}
    assert_conforms(
        Trial(
            lambda: opened(pacs), wrong=lambda: opened(pacs, attempts=1, **nowhere),
            late=lambda: pacs.holdings.add(late),
        )
    )  # fmt: skip


@pytest.mark.parametrize("opened", [dimse, dicomweb])
def test_hospitals_archive_is_tried_without_changing_it(pacs: Pacs, opened: Open) -> None:
    pacs.fill([DAY], 1)
    held = len(pacs.holdings.all())
    source = opened(pacs).source
    with trial(replace(source, settings={**source.settings, "since": f"{DAY}"}), Path()) as tried:
        found = {one.name: one for one in conformance(replace(tried, connector=lambda: opened(pacs)))}
    assert {name for name, one in found.items() if one.status == "failed"} == set()
    assert found["late_record_is_caught"].status == "passed" and len(pacs.holdings.all()) == held


@pytest.mark.parametrize("opened", [dimse, dicomweb])
def test_window_of_the_past_is_read_again_whatever_has_come(pacs: Pacs, opened: Open) -> None:
    pacs.fill([DAY - timedelta(1), DAY], 3)
    begin = datetime(2026, 3, 14, 16, 0, tzinfo=UTC)  # midnight of the fifteenth in Shanghai
    pages = list(opened(pacs).pull_past(begin, begin + timedelta(days=1)))
    found = [record for page in pages for record in page.records]
    assert {dataset(one).StudyDate for one in found} == {"20260315"}
    assert len([one for one in found if is_manifest(one)]) == 3
    nine_to_ten = opened(pacs).pull_past(begin + timedelta(hours=9), begin + timedelta(hours=10))
    nine = [dataset(one).StudyTime for page in nine_to_ten for one in page.records]
    assert nine and all(one.startswith("09") for one in nine)


def test_backfill_outside_the_permitted_hours_says_so(pacs: Pacs) -> None:
    pacs.fill([DAY], 1)
    with pytest.raises(Retry, match="permitted hours"):
        list(dimse(pacs, hours=["20:00-06:00"]).pull_past(NOW - timedelta(days=1), NOW))
    assert pacs.fetched == {}


def test_day_of_an_archive_is_sealed_and_erasing_a_patient_reaches_the_pixels(
    pacs: Pacs, database: Database[dict[str, Any]], tmp_path: Path
) -> None:
    sent = pacs.fill([DAY], 4)
    vault = Vault(database, FileKeystore.create(tmp_path, b"a password"), "hospital-east", bytes(32))
    connector = dimse(pacs)
    connector.bulk, connector.digest = vault.bulk, Sm3
    records, page = pulled(connector)
    raws = [one for one in records if isinstance(one, RawRecord)]
    vault.landing.put_many(raws)
    for batch in vault.batches.plan("east-pacs", 1_000, "run"):
        landed = list(vault.batches.records(batch))
        results, mapping, *_ = normalise_and_check(landed, connector.source, Gate("dicom"))
        vault.batches.settle(batch, results, mapping)
        counts = vault.batches.reconcile(batch)
        assert (counts.received, counts.sealed, counts.quarantined) == (sent.received, sent.received, 0)
    kinds = vault.records.counts()
    images = [one for one in pacs.holdings.all() if "PixelData" in one]
    assert kinds["ImagingStudy"] == 4 and kinds["Media"] == len(images) == vault.bulk.count()

    image = images[0]
    name = f"east-pacs/{image.SOPInstanceUID}/7FE00010"
    assert b"".join(vault.bulk.open(name)) == image.PixelData
    (found,) = (
        one for one in vault.records.find(resource_type="Media", limit=100)
        if vault.records.open_located(one.locator)["identifier"][0]["value"] == f"urn:oid:{image.SOPInstanceUID}"
    )  # fmt: skip
    media = vault.records.open_located(found.locator)
    assert media["content"]["extension"][0]["valueString"] == sm3(image.PixelData).hex()

    patient = media["subject"]["reference"].removeprefix("Patient/")
    assert vault.erase(patient).bulk >= 1
    with pytest.raises(Erased):
        list(vault.bulk.open(name))
    others = [one for one in images if one.PatientID != image.PatientID]
    assert all(b"".join(vault.bulk.open(f"east-pacs/{one.SOPInstanceUID}/7FE00010")) for one in others)
    assert page.expected == sent.received and contents(pulled(connector, page.cursor)[0]) == []


def test_stop_is_not_tried_again(pacs: Pacs) -> None:
    pacs.fill([DAY], 1)
    with pytest.raises(Stop):
        pulled(dimse(pacs, called_ae="OTHER", attempts=20))
