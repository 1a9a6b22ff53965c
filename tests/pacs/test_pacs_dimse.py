"""An archive over DIMSE: everything once, in order, however it is cut, interrupted, late or doubled."""

from __future__ import annotations

from pacs_world import DAY, Kept, contents, dataset, dimse, is_manifest, pulled

from schemas.records import RawRecord
from simulators.pacs import Pacs


def test_every_object_and_a_manifest_of_each_study_come_once(pacs: Pacs, kept: Kept) -> None:
    sent = pacs.fill([DAY], 5)
    records, page = pulled(dimse(pacs, kept))
    assert len(records) == sent.received == page.expected
    held = {str(one.SOPInstanceUID) for one in pacs.holdings.all()}
    assert {one.native_id for one in records if isinstance(one, RawRecord) and not is_manifest(one)} == held
    assert pulled(dimse(pacs, kept), page.cursor)[0] == []
    assert contents(pulled(dimse(pacs, kept))[0]) == contents(records)
    assert dataset(records[0])
