"""Files of wishes: every line is a wish or is named, and no bytes raise anything but a refusal."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from sharing_world import INSURER, WEST, roster

from ledger.messages.provisions import Provision
from shangmi import sm3
from sharing.consent.campaign import Campaign, Terms, form_of
from sharing.consent.filing import Wish
from sharing.consent.parties import Parties
from sharing.errors import Malformed, Refused

PARTIES = Parties(roster())
TERMS = Terms(purpose=("research",), reference="archive")


def read(path: Path, content: str | bytes) -> tuple[list[Wish], list[tuple[str, str]]]:
    path.write_bytes(content if isinstance(content, bytes) else content.encode())
    campaign = Campaign(path, "grant", TERMS, PARTIES)
    return list(campaign.wishes()), campaign.faults


def test_empty_cells_take_the_commands_words_and_others_their_own(tmp_path: Path) -> None:
    found, faults = read(
        tmp_path / "a.csv",
        "patient,decision,purpose,who,from,reference\np1,,,,,\np2,deny,care;claims,hospital-west class:B,,shelf 2\n"
        "p3,withdraw,,,,\np4,,claims,insurer,2026,\n",
    )
    assert not faults and [one.decision for one in found] == ["grant", "deny", "withdraw", "grant"]
    assert found[0].provisions == (Provision(True, frozenset({"research"})),)
    assert found[1].provisions == (Provision(False, frozenset({"care", "claims"}), ("B",), (WEST,)),)
    assert found[2].provisions == () and found[3].provisions[0].institutions == (INSURER,)
    assert found[0].form is not None and found[0].form.reference == "archive"
    assert found[1].form is not None and found[1].form.reference == "shelf 2"
    assert "p1" not in repr(found)


@pytest.mark.parametrize(
    "line", ["p1,grant,research,extra", ",grant,research", "p1,maybe,research", "p1,grant,curiosity", '"p1\n",,']
)
def test_a_bad_line_is_named_by_number_without_its_words(tmp_path: Path, line: str) -> None:
    found, faults = read(tmp_path / "a.csv", f"patient,decision,purpose\np0,,\n{line}\n")
    words = str(faults)
    if line.startswith('"'):
        assert [one.patient for one in found] == ["p0", "p1"]  # a line end within quotes is no part of an id
    else:
        assert [one.patient for one in found] == ["p0"] and faults[0][0] == "line 3"
        assert "curiosity" not in words and "maybe" not in words and "extra" not in words


def test_without_a_paper_there_is_no_statement(tmp_path: Path) -> None:
    (tmp_path / "a.csv").write_text("patient\np1\n")
    campaign = Campaign(tmp_path / "a.csv", "grant", Terms(), PARTIES)
    assert list(campaign.wishes()) == [] and "where the paper lies" in campaign.faults[0][1]


def test_a_scan_is_known_by_its_digest(tmp_path: Path) -> None:
    (tmp_path / "form.pdf").write_bytes(b"%PDF" * 1_000_000)
    form = form_of(tmp_path / "form.pdf")
    assert (form.reference, form.digest) == ("form.pdf", sm3(b"%PDF" * 1_000_000).hex())
    assert form.on_chain != form_of(tmp_path / "form.pdf").on_chain  # another salt


SHREDS = st.lists(
    st.sampled_from(["patient", "decision", "types", "p1", "deny", "2026", "欧", *',;{}:["\n\0']), max_size=30
).map(lambda parts: "".join(parts).encode())  # fmt: skip


@settings(
    derandomize=True, max_examples=200, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(st.sampled_from(["a.csv", "a.ndjson"]), SHREDS | st.binary(max_size=80), st.booleans())
def test_no_bytes_raise_anything_but_a_refusal(tmp_path: Path, name: str, content: bytes, headed: bool) -> None:
    try:
        found, faults = read(tmp_path / name, (b"patient,decision,types\n" if headed else b"") + content)
    except (Malformed, Refused):
        return
    assert all(one.patient for one in found) and all(place.startswith("line") for place, _ in faults)
