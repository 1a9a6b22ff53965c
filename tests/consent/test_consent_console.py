"""`xinglin consent` on a founded region: filing, showing, withdrawing, and what follows."""

from __future__ import annotations

import json
import secrets
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from founded import founded_site
from vault_world import NAME, observation, patient, seal_one

sys.path.append(str(Path(__file__).parents[1] / "console"))

from console_run import ROOT, Done, run_here

from dags.steps.site import Site
from ledger.carrier import Carrier, carry_block
from ledger.chain.state import CONSENT
from ledger.chain.transaction import Transaction
from ledger.chain.validators import institution_id
from ledger.messages.access import AccessRequest
from ledger.messages.approval import Approval
from ledger.messages.asked import SelectionAsked
from ledger.messages.consent import ConsentState
from ledger.messages.delivery import Delivered
from schemas.home import Home
from schemas.residents import RESIDENT
from shangmi import sm3

EAST = institution_id("hospital-east")
NUMBER = "11010519491231002X"
ON_PAPER = ("--reference", "cabinet 3, folder 17")


@dataclass
class Clinic:
    """A person at the hospital's machine."""

    at: Site
    folder: Path
    patients: int = 0

    def __call__(self, *arguments: object, code: int = 0, stdin: bytes = b"", who: str = "hospital-east") -> Done:
        done = run_here(
            "consent", *arguments, "--institution", who, stdin=stdin, XINGLIN_HOME=str(self.at.home.path),
            XINGLIN_REGION=str(ROOT / "region.yaml"), MONGODB_URI=self.at.home.mongodb_uri(),
        )  # fmt: skip
        assert done.code == code, (done.told, done.output.decode())
        assert NUMBER not in done.told + done.output.decode()
        return done

    def read(self, *arguments: object, **how: Any) -> Any:
        return json.loads(self(*arguments, "--json", **how).output)

    def admit(self, **body: Any) -> str:
        self.patients += 1
        id_ = f"p{self.patients}"
        found = patient(id_)
        found.body.update(body)
        seal_one(self.at.vault("hospital-east"), self.patients, found, observation(f"o-{id_}", id_))
        return id_

    def block(self) -> None:
        """A block of all that is offered; who votes little stays away, and who asks for data looks on."""
        names = [one.id for one in self.at.region.voters if one.weight > 1] + ["research-institute"]
        carry_block([Carrier(self.at.node(one), self.at.exchange) for one in names])

    def say(self, institution: str, type_: type[Transaction], **content: Any) -> bytes:
        node = self.at.node(institution)
        draft = type_(**node.heading(), **content)
        self.at.exchange.post_submission(node.sign(draft), b"")
        return draft.tx_id

    def offered(self) -> list[bytes]:
        return list(self.at.exchange.transactions())

    def state(self, patient: str) -> ConsentState | None:
        place = EAST + self.at.vault("hospital-east").summaries.patient(patient)
        found = self.at.replica("hospital-east").view.state(CONSENT, place)
        return None if found is None else ConsentState.decode(found)

    def delivered(self, *patients: str) -> str:
        """A dataset with these patients is at the research institute; returns its request's id in hex."""
        digest = secrets.token_bytes(32)
        key = self.at.node("research-institute").heading()["key_id"]
        request = self.say(
            "research-institute", AccessRequest, asked=SelectionAsked(digest, 100), holders=(EAST,),
            purpose="research", ethics=sm3(b"ethics"), answer_key=key,
        )  # fmt: skip
        self.block()
        for one in ("hospital-west", "hospital-district"):
            self.say(one, Approval, request=request, digest=digest, approves=True)
        self.block()
        vault = self.at.vault("hospital-east")
        vault.shares.note(request, map(vault.consents.owner, patients))
        self.say("hospital-east", Delivered, request=request, package=digest, manifest=digest, records=5, size=9)
        self.block()
        return request.hex()


@pytest.fixture(scope="module")
def clinic(tmp_path_factory: pytest.TempPathFactory, mongo_uri: str) -> Iterator[Clinic]:
    home = Home(tmp_path_factory.mktemp("consent") / "home")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("XINGLIN_REGION", str(ROOT / "region.yaml"))
        patch.setenv("XINGLIN_HOME", str(home.path))
        patch.setenv("MONGODB_URI", mongo_uri)
        with founded_site(home) as opened:
            yield Clinic(opened, tmp_path_factory.mktemp("files"))


def test_a_patient_permits_research_and_sees_what_that_means(clinic: Clinic) -> None:
    id_ = clinic.admit()
    assert "Nothing stands" in clinic("show", "--patient", id_).output.decode()
    found = clinic.read(
        "grant", "--patient", id_, *ON_PAPER, "--purpose", "research", "--who", "research-institute", "--types",
        "Observation,Condition", "--data-from", "2024-01-01", "--data-until", "2026-12-31", "--until", "2030-12-31",
    )  # fmt: skip
    assert (found["filed"], found["refused"]) == (1, [])
    assert "waits for a block" in clinic("show", "--patient", id_).output.decode()
    clinic.block()
    told = clinic("show", "--patient", id_).output.decode()
    assert (
        "Permits research to research-institute: Condition and Observation dated from 2024-01-01 until 2026-12-31; "
        "it holds until 2030-12-31." in told
    )
    assert "cabinet 3, folder 17" in told and "some records to research-institute" in told
    means = clinic.read("show", "--patient", id_)["means"]
    assert means["research"]["some records"] == ["research-institute"]
    assert means["care"]["all records"] == [] and "hospital-west" in means["public-health"]["all records"]
    assert b"stand or wait" in clinic(
        "grant", "--patient", id_, *ON_PAPER, "--purpose", "research", "--who", "research-institute", "--types",
        "Observation", "--types", "Condition", "--data-from", "2024-01-01", "--data-until", "2026-12-31", "--until",
        "2030-12-31",
    ).output  # fmt: skip


def test_a_number_on_stdin_names_a_patient_and_is_shown_to_nobody(clinic: Clinic) -> None:
    id_ = clinic.admit(identifier=[{"system": RESIDENT, "value": NUMBER}])
    scan = clinic.folder / "form.pdf"
    scan.write_bytes(b"%PDF a signed form")
    clinic("deny", "--number", "--form", scan, "--purpose", "care", stdin=NUMBER.encode() + b"\n")
    clinic.block()
    state = clinic.state(id_)
    assert state is not None and not state.provisions[0].permits
    told = clinic("show", "--number", stdin=NUMBER.encode()).output.decode()
    assert "Denies care to everyone: all records." in told and "form.pdf" in told and NAME not in told
    clinic("show", "--number", stdin=b"123\n", code=1)
    clinic("show", "--number", stdin=b"11010519491231002X1\n", code=1)
    clinic("show", "--number", "--system", "urn:nobody", stdin=b"77\n", code=1)


def test_the_patients_own_key_signs(clinic: Clinic) -> None:
    id_, key, password = clinic.admit(), clinic.folder / "patient.pem", clinic.folder / "password"
    password.write_bytes(b"a patient's own password\n")
    run = {"XINGLIN_HOME": str(clinic.at.home.path)}
    assert run_here("consent", "key", key, "--password-file", password, **run).code == 0
    assert key.read_bytes().startswith(b"-----BEGIN ENCRYPTED PRIVATE KEY") and key.stat().st_mode & 0o77 == 0
    assert run_here("consent", "key", key, "--password-file", password, **run).code == 1
    clinic("grant", "--patient", id_, "--key", key, "--password-file", password, "--purpose", "care")
    clinic.block()
    state = clinic.state(id_)
    assert state is not None and len(state.patient_key) == 64
    assert "own key" in clinic("show", "--patient", id_).output.decode()
    password.write_bytes(b"another")
    clinic("grant", "--patient", id_, "--key", key, "--password-file", password, code=3)


def test_a_fhir_consent_is_the_whole_statement_and_comes_back_as_fhir(clinic: Clinic) -> None:
    id_ = clinic.admit()
    clinic("grant", "--patient", id_, *ON_PAPER, "--purpose", "claims")
    clinic.block()
    written = json.loads(clinic("show", "--patient", id_, "--fhir").output)
    written["provision"]["provision"][0]["type"] = "deny"
    file = clinic.folder / "consent.json"
    file.write_text(json.dumps(written))
    clinic("grant", "--patient", id_, *ON_PAPER, "--fhir", file)
    clinic.block()
    state = clinic.state(id_)
    assert state is not None and [one.permits for one in state.provisions] == [False]
    written["provision"]["provision"][0]["securityLabel"] = [{"code": "R"}]
    file.write_text(json.dumps(written))
    done = clinic("grant", "--patient", id_, *ON_PAPER, "--fhir", file, code=1)
    assert "Consent.provision.provision[0].securityLabel" in done.told
    clinic("grant", "--patient", clinic.admit(), *ON_PAPER, "--fhir", file, code=1)
    file.write_text("{")
    clinic("grant", "--patient", id_, *ON_PAPER, "--fhir", file, code=3)
    assert clinic.state(id_) == state


def test_a_paper_campaign_is_filed_line_by_line_and_again_without_effect(clinic: Clinic) -> None:
    ids = [clinic.admit() for _ in range(4)]
    table = clinic.folder / "campaign.csv"
    table.write_text(
        "patient,decision,purpose,data_from,reference\n"
        f"{ids[0]},,,,folder 1\n{ids[1]},deny,research;care,,folder 1\n{ids[2]},,,soon,folder 2\n"
        f"{NAME},,,,folder 2\n{ids[3]},perhaps,,,folder 2\n",
        encoding="utf-8-sig",
    )
    for filed in (2, 0):
        found = clinic.read("grant", "--many", table, "--purpose", "research", "--who", "hospital", code=1)
        assert found["filed"] == filed and found["same"] == 2 - filed
        assert [place for place, _ in found["refused"]] == ["line 4", "line 6", "line 5"]
        assert NAME not in str(found)
        clinic.block()
    first, second = clinic.state(ids[0]), clinic.state(ids[1])
    assert first is not None and second is not None
    assert first.provisions[0].classes == ("A", "B") and second.provisions[0].purposes == {"care", "research"}
    lines = clinic.folder / "campaign.ndjson"
    lines.write_text(
        json.dumps({"patient": ids[2], "purpose": ["research"], "types": ["Observation"], "reference": "folder 3"})
        + "\n\n[1]\nrubbish\n"
    )
    found = clinic.read("grant", "--many", lines, code=1)
    assert found["filed"] == 1 and [place for place, _ in found["refused"]] == ["line 3", "line 4"]


@pytest.mark.parametrize("content", [b"", b"name,age\nx,3\n", b"\xff\xfe\x00", b'patient\n"unfinished', b"patient,x\n"])
def test_a_file_that_is_no_table_is_unreadable_and_nothing_is_filed(clinic: Clinic, content: bytes) -> None:
    path = clinic.folder / "broken.csv"
    path.write_bytes(content)
    before = clinic.offered()
    told = clinic("grant", "--many", path, *ON_PAPER, code=3).told
    assert told.startswith("xinglin: ") and "broken.csv" in told
    assert "missing.csv" in clinic("grant", "--many", clinic.folder / "missing.csv", code=3).told
    assert clinic.offered() == before


def test_withdrawing_names_the_datasets_and_their_holder_is_told_and_answers(clinic: Clinic) -> None:
    id_ = clinic.admit()
    clinic("grant", "--patient", id_, *ON_PAPER, "--purpose", "research")
    clinic.block()
    request = clinic.delivered(id_)
    assert "in 1 datasets" in clinic("show", "--patient", id_).output.decode()
    told = clinic("withdraw", "--patient", id_, *ON_PAPER).output.decode()
    assert request[:16] in told and "research-institute" in told and "consent notify" in told
    assert b"nobody" in clinic("notify").output
    clinic.block()
    assert b"at most 5 persons" in clinic("notify").output
    assert b"nobody" in clinic("notify").output
    clinic.block()
    (found,) = clinic.read("notices", who="research-institute")
    assert (found["request"], found["stage"], found["persons"]) == (request, "raised", 5)
    clinic("answer", request[:8], "--replaced", who="research-institute", code=1)
    clinic("answer", request[:8], who="research-institute", code=2)
    clinic("answer", "ffffff", "--deleted", who="research-institute", code=2)
    clinic("answer", request[:8], "--deleted", who="research-institute")
    clinic.block()
    assert b"deleted in block" in clinic("notices", who="research-institute").output
    assert b"deleted in block" in clinic("notices", "--delivered").output
    state = clinic.state(id_)
    assert state is not None and state.withdrawn
    assert "Everything was taken back" in clinic("show", "--patient", id_).output.decode()


@pytest.mark.parametrize(
    ("arguments", "code"),
    [
        (("grant",), 2),
        (("grant", "--patient", "p1"), 2),
        (("grant", "--patient", "p1", "--number", *ON_PAPER), 2),
        (("grant", "--patient", "nobody", *ON_PAPER), 1),
        (("grant", "--patient", "p1", *ON_PAPER, "--purpose", "curiosity"), 1),
        (("grant", "--patient", "p1", *ON_PAPER, "--who", "hospital-north"), 1),
        (("deny", "--patient", "p1", *ON_PAPER, "--who", "insurer,research"), 1),
        (("grant", "--patient", "p1", *ON_PAPER, "--types", "Observatory"), 1),
        (("grant", "--patient", "p1", *ON_PAPER, "--from", "2027", "--until", "2026"), 1),
        (("show",), 2),
        (("show", "--patient", "nobody"), 1),
        (("show", "--patient", "p1", "--fhir"), 0),
    ],
)
def test_what_cannot_be_done_is_told_and_nothing_is_offered(
    clinic: Clinic, arguments: tuple[str, ...], code: int
) -> None:
    before = clinic.offered()
    clinic(*arguments, code=code)
    assert clinic.offered() == before
