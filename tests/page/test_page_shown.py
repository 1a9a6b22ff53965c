"""The page's document: everything from nodes is text, and every state has its sentence in both languages."""

from __future__ import annotations

import asyncio
from typing import Any

import hostile_node as hostile
import httpx
import pytest
from fastapi import HTTPException
from node_addresses import DEAD

from ledger.page import application
from ledger.page.application import page_application

HOSTILE = "<img src=x onerror=alert(1)>\"'&{{7*7}}"


def everybody() -> None:
    """The dependency of a site where everybody may look."""


def get(environment: dict[str, str], *paths: str, allowed: Any = everybody) -> list[httpx.Response]:
    app = page_application(allowed, environment)

    async def ask() -> list[httpx.Response]:
        async with httpx.AsyncClient(transport=httpx.ASGITransport(app), base_url="http://page") as client:
            return [await client.get(path) for path in paths]

    return asyncio.run(ask())


def page(environment: dict[str, str], path: str = "/ledger") -> str:
    [answer] = get(environment, path)
    assert answer.status_code == 200
    return answer.text


def shown(answers: dict[str, Any], path: str = "/ledger") -> str:
    with hostile.node(answers) as (url, _):
        return page({"XINGLIN_NODE_URLS": f"hospital-east={url}"}, path)


def test_whatever_a_node_says_stays_text() -> None:
    text = shown(
        hostile.whole(
            status=hostile.status(region=HOSTILE, halted=HOSTILE, next_producer=HOSTILE),
            members={"members": [hostile.member(name=HOSTILE, role=HOSTILE[:32], standing=HOSTILE[:32])]},
            blocks={"blocks": [hostile.block(builder=HOSTILE, signers=[HOSTILE], absent=[HOSTILE])]},
            credit={"epochs": [{"epoch": 0, "scores": {HOSTILE: 600}}]},
            pending={"batches": [{"submitter": HOSTILE, "seq": 1, "entries": 1, "received_ms": 1 << 62}]},
        ),
        f"/ledger?node={HOSTILE}",
    )
    assert text.count("&lt;img src=x onerror=alert(1)&gt;") >= 8
    assert "<img" not in text and "{{7*7}}" in text
    assert str(1 << 62) in text  # a time that no calendar has


def test_without_configuration_it_says_what_to_set() -> None:
    text = page({})
    assert "没有配置节点地址" in text and "No node is configured" in text and "XINGLIN_NODE_URLS" in text


def test_a_wrong_configuration_is_said_on_the_page() -> None:
    assert "hospital-east is not http(s)" in page({"XINGLIN_NODE_URLS": "hospital-east=ftp://x"})


def test_where_no_node_answers_the_page_says_so() -> None:
    text = page({"XINGLIN_NODE_URLS": f"hospital-east={DEAD}"})
    assert "没有一个节点回答" in text and "No node answers" in text and "nothing listens at its address" in text


def test_a_young_chain_has_sentences_instead_of_empty_tables() -> None:
    text = shown(hostile.whole(status=hostile.status(height=0), blocks={"blocks": []}, credit={"epochs": []}))
    for words in ("No block yet: only genesis.", "The first epoch has not ended", "None waits."):
        assert words in text


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"status": hostile.status(halted="two certified blocks")}, ("已停止", "halted", "two certified blocks")),
        ({"status": hostile.status(block_id="a" * 64)}, ("与他人矛盾", "contradicts others", "xinglin ledger verify")),
        ({"status": hostile.status(institution="lab-centre")}, ("自称另一机构", "says it is another")),
        ({"pending": hostile.says(b"")}, ("待确认批次", "did not give its pending batches", "This node does not say")),
        ({"blocks": {"blocks": [hostile.block(build_round=2, evidence=1)]}}, ("第 3 轮", "round 2", "+1", "evidence")),
    ],
)
def test_every_trouble_has_its_sentence(changes: dict[str, Any], words: tuple[str, ...]) -> None:
    text = shown(hostile.whole(**changes))
    for word in words:
        assert word in text, word


@pytest.mark.parametrize(("code", "words"), [(401, "Log in to Airflow first"), (403, "may not see")])
def test_who_may_not_see_it_gets_a_page_that_says_so_and_no_node_is_asked(code: int, words: str) -> None:
    def nobody() -> None:
        raise HTTPException(code)

    with hostile.node(hostile.whole()) as (url, asked):
        [answer] = get({"XINGLIN_NODE_URLS": f"hospital-east={url}"}, "/ledger", allowed=nobody)
    assert answer.status_code == code and words in answer.text and "hospital" not in answer.text and asked == []
    assert answer.headers["content-security-policy"].startswith("default-src 'none'")


def test_many_readers_cost_the_nodes_no_more_than_one(monkeypatch: pytest.MonkeyPatch) -> None:
    with hostile.node(hostile.whole()) as (url, asked):
        environment = {"XINGLIN_NODE_URLS": f"hospital-east={url}"}
        get(environment, *["/ledger"] * 5, *(f"/ledger?node=stranger-{one}" for one in range(5)))
        assert len(asked) == 5
        monkeypatch.setattr(application, "KEPT_SECONDS", 0.0)
        get(environment, "/ledger", "/ledger")
        assert len(asked) == 15


def test_style_and_script_are_files_of_this_server() -> None:
    style, script = get({}, "/ledger.css", "/ledger.js")
    assert style.headers["content-type"].startswith("text/css") and "http" not in style.text
    assert script.headers["content-type"].startswith("text/javascript") and "http" not in script.text


def luminance(colour: str) -> float:
    parts = [int(colour[at : at + 2], 16) / 255 for at in (1, 3, 5)]
    linear = [one / 12.92 if one <= 0.04045 else ((one + 0.055) / 1.055) ** 2.4 for one in parts]
    return 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2]


@pytest.mark.parametrize("at", [0, 1, 2], ids=["light", "dark by the system", "dark by choice"])
def test_text_and_lines_stand_out_from_every_ground(at: int) -> None:
    [style] = get({}, "/ledger.css")
    themes = [part for part in style.text.split("{") if "--ground" in part]
    declared = (one.split(":") for one in themes[at].split("}")[0].split(";") if one.strip().startswith("--"))
    colours = {name.strip(): value.strip() for name, value in declared}
    inks = ["--ink", "--quiet", "--link", "--good", "--warn", "--bad", *(f"--line-{one}" for one in range(8))]
    pairs = [(ink, "--ground") for ink in inks] + [("--ink", "--card"), ("--quiet", "--card")]
    pairs += [("--ink", "--alarm"), ("--quiet", "--alarm")]
    for ink, ground in pairs:
        deep, light = sorted((luminance(colours[ink]), luminance(colours[ground])))
        assert (light + 0.05) / (deep + 0.05) >= 4.5, (ink, ground)
