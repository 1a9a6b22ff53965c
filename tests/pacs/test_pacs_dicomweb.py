"""An archive over DICOMweb: the same studies, streamed, whatever its HTTP does."""

from __future__ import annotations

from pacs_world import DAY, Kept, contents, dicomweb, dimse, pulled

from simulators.pacs import Pacs


def test_both_ways_to_the_same_archive_give_the_same_records(pacs: Pacs, kept: Kept) -> None:
    sent = pacs.fill([DAY], 9)
    web, page = pulled(dicomweb(pacs, kept))
    assert len(web) == sent.received == page.expected
    pixels = dict(kept.contents)
    wire, _ = pulled(dimse(pacs, kept))
    # Manifests differ: QIDO-RS answers in UTF-8, C-FIND in the objects' own character sets.
    by_id = dict(contents(wire))
    assert {one: body for one, body in contents(web) if one in by_id and not _manifest(body)} == {
        one: body for one, body in by_id.items() if not _manifest(body)
    }
    assert kept.contents == pixels


def _manifest(body: bytes) -> bool:
    return b"113030" in body
