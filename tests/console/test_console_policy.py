"""`xinglin policy` and `xinglin governance`: rules tried without a chain, and proposed, voted and made on one."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml
from console_run import ROOT, Done, Xinglin, run_here
from founded import opened_site

from console.region.founding import found
from dags.steps.site import Site
from ledger.carrier import Carrier, carry_block
from ledger.contracts.policy import SHIPPED
from schemas.home import Home
from shangmi import PrivateKey

RULES = SHIPPED / "default.cedar"
FORBID = '\n@id("lab.none") @says("The laboratory publishes nothing while it is looked into.")\n' \
    'forbid (principal == Institution::"lab-centre", action, resource);\n'  # fmt: skip
Write = Callable[[str, bytes], Path]


def read(done: Done, code: int = 0) -> Any:
    assert done.code == code, done.told
    return json.loads(done.output)


# ---- Without a chain ----


def test_the_shipped_rules_are_told_in_sentences(xinglin: Xinglin) -> None:
    done = xinglin("policy", "check", RULES)
    assert (done.code, done.errors) == (0, b"")
    assert "permitted: A hospital or nursing home publishes records of its own patients" in str(done.output, "utf-8")
    assert len(read(xinglin("policy", "check", RULES, "--json"))["rules"]) == 17


@pytest.mark.parametrize(
    ("arguments", "allowed", "policies"),
    [
        (("--as", "insurer", "--purpose", "claims", "--consent", "permit"), True, ["claims.consented"]),
        (("--as", "insurer", "--purpose", "claims"), False, []),
        (("--as", "insurer", "--purpose", "claims", "--consent", "permit", "--credit", 199), False,
         ["never.discredited"]),
        (("--as", "hospital-east", "--action", "access", "--purpose", "care", "--consent", "permit"), True,
         ["care.consented"]),
        (("--as", "hospital-east", "--action", "upload"), True, ["upload.own"]),
        (("--as", "hospital-east", "--action", "upload", "--owner", "hospital-west"), False, []),
        (("--as", "research", "--purpose", "research", "--dataset", "--ethics", "--approved"), True,
         ["research.dataset"]),
        (("--as", "research", "--purpose", "research", "--dataset", "--approved"), False, []),
        (("--as", "regulator", "--purpose", "audit", "--dataset", "--recent", 20), False, ["rate.datasets"]),
        (("--as", "hospital", "--purpose", "emergency", "--erased"), False, ["never.erased"]),
    ],
)  # fmt: skip
def test_a_request_is_tried_before_anybody_proposes_the_rules(
    xinglin: Xinglin, arguments: tuple[object, ...], allowed: bool, policies: list[str]
) -> None:
    answer = read(xinglin("policy", "check", RULES, *arguments, "--json"), 0 if allowed else 1)
    assert (answer["allowed"], answer["policies"]) == (allowed, policies)
    told = xinglin("policy", "check", RULES, *arguments)
    assert str(told.output, "utf-8").startswith("allowed" if allowed else "denied")
    assert told.code == (0 if allowed else 1)


def test_what_changes_is_told_rule_by_rule_and_for_whom(xinglin: Xinglin, file: Write) -> None:
    text = RULES.read_text(encoding="utf-8")
    wide = text.replace("principal.credit >= 400", "principal.credit >= 350") + FORBID
    done = xinglin("policy", "check", file("new.cedar", wide.encode()), "--against", RULES)
    said = str(done.output, "utf-8")
    assert "+ The laboratory publishes nothing while it is looked into. [lab.none]" in said
    assert "~ An insurer with credit of 400 or more may read one record" in said
    assert "newly allowed: an-insurer asks for one record; claims; statement: permit; not approved, approved" in said
    assert "credit 350, 351, 399" in said
    assert "newly denied: lab-centre publishes its own records" in said
    assert "after whole epochs" in said
    found = read(xinglin("policy", "check", file("n.cedar", (text + FORBID).encode()), "--against", RULES, "--json"))
    assert found["changes"]["deny_only"] is True
    assert found["changes"]["allowed"] == []
    assert {one["who"] for one in found["changes"]["denied"]} == {"lab-centre"}


@pytest.mark.parametrize(
    ("content", "said"),
    [
        (
            RULES.read_bytes().replace(b"principal.credit <", b"principal.credt <"),
            "never.discredited: attribute `credt`",
        ),
        (b"permit (", "cannot be read"),
        (b"(" * 30_000, "brackets in each other"),
        (b'@id("a") permit (principal, action, resource);', '@says("\xe2\x80\xa6") is missing'),
    ],
)
def test_faulty_rules_are_named_and_end_in_1(xinglin: Xinglin, file: Write, content: bytes, said: str | bytes) -> None:
    path = file("faulty.cedar", content)
    done = xinglin("policy", "check", path)
    assert done.code == 1
    assert (said if isinstance(said, bytes) else said.encode("latin-1", "ignore")) in done.output or said in str(
        done.output, "utf-8"
    )
    assert read(xinglin("policy", "check", path, "--json"), 1)["faults"]


@pytest.mark.parametrize(
    ("arguments", "code"),
    [
        (("policy", "check", "missing.cedar"), 3),
        (("policy", "check", RULES, "--as", "nobody"), 1),
        (("policy", "check", RULES, "--as", "insurer", "--purpose", "fun"), 2),
        (("policy", "check", RULES, "--as", "insurer", "--action", "erase"), 2),
        (("policy", "check", RULES, "--as", "insurer", "--credit", "1001"), 2),
        (("policy", "show"), 1),
        (("policy", "propose", RULES, "--title", "x"), 1),
        (("policy", "vote", "abcdef"), 1),
        (("governance", "freeze", "lab-centre", "--title", "x"), 1),
        (("governance", "number", "epoch_blocks", "5", "--title", "x"), 2),
        (("governance", "propose", "missing.json", "--title", "x"), 3),
    ],
)
def test_what_cannot_be_done_is_one_sentence_and_a_code(
    xinglin: Xinglin, arguments: tuple[object, ...], code: int
) -> None:
    done = xinglin(*arguments)
    assert done.code == code
    assert done.told


def test_text_that_is_not_utf8_or_no_change_is_unreadable(xinglin: Xinglin, file: Write) -> None:
    assert xinglin("policy", "check", file("a.cedar", b"\xff\xfe")).code == 3
    for content in (b"", b"[]", b"{}", b'{"format":"xinglin-change/v1","bytes":"00"}', b'{"format":1,"bytes":"zz"}'):
        assert xinglin("governance", "propose", file("a.json", content), "--title", "x").code == 3


# ---- On a chain: epochs of two blocks ----


@pytest.fixture(scope="module")
def at(tmp_path_factory: pytest.TempPathFactory, mongo_uri: str) -> Iterator[Site]:
    folder = tmp_path_factory.mktemp("ruled")
    region = yaml.safe_load((ROOT / "region.yaml").read_text(encoding="utf-8"))
    region["parameters"]["epoch_blocks"] = 2
    (folder / "region.yaml").write_text(yaml.safe_dump(region, allow_unicode=True), encoding="utf-8")
    home = Home(folder / "home")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("XINGLIN_HOME", str(home.path))
        patch.setenv("XINGLIN_REGION", str(folder / "region.yaml"))
        patch.setenv("MONGODB_URI", mongo_uri)
        found(home)
        with opened_site(home) as at:
            for one in at.region.institutions:
                at.node(one.id)  # every replica stands
            yield at


@pytest.fixture
def here(at: Site, mongo_uri: str, empty: Path) -> Xinglin:
    def run(*arguments: object, stdin: bytes = b"", **environment: str) -> Done:
        return run_here(
            *arguments, stdin=stdin,
            **{"XINGLIN_HOME": str(at.home.path), "XINGLIN_REGION": str(at.home.path.parent / "region.yaml"),
               "MONGODB_URI": mongo_uri, **environment},
        )  # fmt: skip

    return run


def block(at: Site) -> None:
    """Whatever was offered stands in one more block."""
    carry_block([Carrier(at.node(one.id), at.exchange) for one in at.region.institutions])


def vote(here: Xinglin, proposal: str, *who: str) -> None:
    for one in who:
        assert here("policy", "vote", proposal[:12], "--institution", one).code == 0


def test_rules_and_members_are_changed_by_vote(here: Xinglin, at: Site, file: Write) -> None:
    shown = read(here("policy", "show", "--json"))
    assert (len(shown["rules"]), shown["proposals"]) == (17, [])
    text = str(here("policy", "show", "--text").output, "utf-8")
    assert text == RULES.read_text(encoding="utf-8")

    # A forbid more: proposed, voted, made in the block of the votes.
    path = file("new.cedar", (text + FORBID).encode())
    assert b"can only deny" in here("policy", "check", path).output
    asked = ("policy", "propose", path, "--title", "Look into the laboratory", "--institution", "hospital-east")
    proposal = read(here(*asked, "--json"))["transaction"]
    block(at)
    told = str(here("policy", "show").output, "utf-8")
    assert proposal in told
    assert "Look into the laboratory (rules, proposed by hospital-east)" in told
    assert "3 of 12 votes for it, not signed by a regulator yet: hospital-east" in told
    assert here(*asked).code == 1  # the same again
    vote(here, proposal, "hospital-west", "hospital-district", "nursing-home", "health-commission")
    block(at)
    assert "lab.none" in {one["id"] for one in read(here("policy", "show", "--json"))["rules"]}
    done = here("policy", "vote", proposal[:12], "--institution", "lab-centre")
    assert (done.code, b"0 open proposals begin so" in done.errors) == (2, True)
    assert read(here("policy", "check", "--as", "lab-centre", "--action", "upload", "--json"), 1)["policies"] == [
        "lab.none"
    ]

    # A number, a faulty change, and a new key with its proof, made at the end of the next whole epoch.
    asked = ("governance", "number", "round_seconds", "30", "--title", "Slower", "--institution", "hospital-west")
    number = read(here(*asked, "--json"))["transaction"]
    assert (
        here("governance", "number", "round_seconds", "4000", "--title", "x", "--institution", "hospital-west").code
        == 1
    )
    change = at.home.path.parent / "key.json"
    assert here("governance", "new-key", "-o", change, "--institution", "hospital-west").code == 0
    again = here("governance", "new-key", "-o", change, "--institution", "hospital-west")
    assert (again.code, b"holds sm2.pem already" in again.errors) == (1, True)
    asked = ("governance", "propose", change, "--title", "Yearly key", "--institution", "hospital-east")
    key = read(here(*asked, "--json"))["transaction"]
    assert here("governance", "adopt-key", "--institution", "hospital-west").code == 1
    block(at)
    vote(here, key, "hospital-west", "hospital-district", "nursing-home", "health-commission")
    block(at)
    for choice in ([], ["--against"], [], ["--against"]):  # blocks, until the next whole epoch is over
        proposals = {one["proposal"]: one for one in read(here("governance", "show", "--json"))["proposals"]}
        if key not in proposals:
            break
        assert proposals[key]["stage"] == "passed"
        assert here("policy", "vote", number[:12], "--institution", "nursing-home", *choice).code == 0
        block(at)
    registered = at.replica("hospital-east").view.roster
    new = PrivateKey.from_pem(
        (at.home.keys("hospital-west") / "next" / "sm2.pem").read_bytes(), at.home.password("hospital-west")
    ).public
    assert new.bytes in {one.public_key for one in registered}
    done = here("governance", "adopt-key", "--institution", "hospital-west")
    assert (done.code, b"signs with the new key now" in done.output) == (0, True), done.told
    at.close()  # the node of this process held the old key, as one that runs would until it is restarted
    assert at.keystore("hospital-west").public_key == new
    assert not (at.home.keys("hospital-west") / "next").exists()
    assert here("governance", "adopt-key", "--institution", "hospital-west").code == 1


def test_an_applicant_writes_its_own_admission_and_a_member_proposes_it(
    here: Xinglin, at: Site, tmp_path: Path
) -> None:
    out, keys = tmp_path / "clinic.json", tmp_path / "keys"
    asked = ("governance", "apply", "payer", "--name", "惠民保险", "--class", "P", "--party", "insurer", "--keys", keys)
    assert here(*asked, "-o", out).code == 0
    assert here(*asked, "-o", out).code == 1  # nothing is overwritten
    assert (keys / "password").stat().st_mode & 0o777 == 0o600
    done = here("governance", "propose", out, "--title", "Admit the insurer", "--institution", "hospital-east")
    assert done.code == 0, done.told
    block(at)
    shown = read(here("governance", "show", "--json"))["proposals"]
    assert any(one["says"] == ["惠民保险 (payer) is admitted: class P, to the rules: insurer."] for one in shown)
    assert (
        here("governance", "apply", "x y", "--name", "x", "--class", "B", "--keys", keys, "-o", tmp_path / "b").code
        == 1
    )
    assert here("governance", "apply", "xy", "--name", "x", "--class", "B", "--party", "insurer", "--keys", keys,
                "-o", tmp_path / "b").code == 2  # fmt: skip


def test_who_takes_part_and_the_chains_numbers_are_shown_as_they_stand(here: Xinglin) -> None:
    shown = read(here("governance", "show", "--json"))
    assert [one["institution"] for one in shown["members"]] == sorted(one["institution"] for one in shown["members"])
    votes = {one["institution"]: (one["standing"], one["votes"]) for one in shown["members"]}
    assert votes["hospital-east"] == ("active", 3) and votes["health-commission"] == ("active", 0)
    assert shown["numbers"]["lock_epochs"] == 1
    told = str(here("governance", "show").output, "utf-8")
    assert all(one in told for one in (*votes, *shown["numbers"]))
