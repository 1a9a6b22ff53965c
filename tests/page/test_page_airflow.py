"""The page in Airflow itself: its own API server as a process, real nodes behind it, Debian's Chromium before it."""

from __future__ import annotations

import sys
import time
from collections.abc import Iterator
from pathlib import Path
from urllib.parse import urlsplit

import httpx
import pytest
from browser import Browser
from node_addresses import configured

from console.region.airflow import USER, Airflow
from console.region.mongod import free_port
from console.region.processes import start
from schemas.home import Home

pytestmark = [pytest.mark.mongo, pytest.mark.airflow]
PAGE = "/xinglin/ledger"


@pytest.fixture(scope="module")
def airflow(nodes: dict[str, str], tmp_path_factory: pytest.TempPathFactory) -> Iterator[Airflow]:
    """An API server that knows the nodes; nothing else of Airflow runs."""
    made = Airflow(Home(tmp_path_factory.mktemp("airflow")), free_port())
    made.prepare()
    environment = {**made.environment(), **configured(nodes)}
    process = start("api-server", [sys.executable, "-m", "airflow", "api-server"], made.folder, environment)
    try:
        made_ready(made)
        yield made
    finally:
        process.stop()


def made_ready(airflow: Airflow) -> None:
    transport = httpx.HTTPTransport(retries=0)
    with httpx.Client(transport=transport, base_url=airflow.address, timeout=5) as client:
        for _ in range(1_200):
            try:
                if client.get("/api/v2/version").status_code == 200:
                    return
            except httpx.HTTPError:
                time.sleep(0.1)
    raise AssertionError(f"the API server does not answer; see {airflow.folder}/api-server.log")


@pytest.fixture(scope="module")
def token(airflow: Airflow) -> str:
    answer = httpx.post(f"{airflow.address}/auth/token", json={"username": USER, "password": airflow.password})
    return str(answer.json()["access_token"])


@pytest.fixture(scope="module")
def browser(airflow: Airflow, token: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Browser]:
    with Browser(tmp_path_factory.mktemp("chromium")) as opened:
        opened.cookie(airflow.address, "_token", token)
        yield opened


@pytest.mark.parametrize("headers", [{}, {"Authorization": "Bearer rubbish"}, {"Cookie": "_token=rubbish"}])
def test_who_is_not_logged_in_learns_nothing(airflow: Airflow, headers: dict[str, str]) -> None:
    answer = httpx.get(airflow.address + PAGE, headers=headers)
    assert answer.status_code in (401, 403)
    assert "hospital" not in answer.text and "医院" not in answer.text and "127.0.0.1" not in answer.text


def test_a_token_that_somebody_else_signed_is_refused(airflow: Airflow, token: str) -> None:
    head, body, _ = token.split(".")
    forged = f"{head}.{body}.{'A' * 86}"
    answer = httpx.get(airflow.address + PAGE, headers={"Authorization": f"Bearer {forged}"})
    assert answer.status_code in (401, 403) and "hospital" not in answer.text


def test_the_page_is_read_only_and_takes_nothing_from_elsewhere(airflow: Airflow, token: str) -> None:
    with httpx.Client(base_url=airflow.address, headers={"Authorization": f"Bearer {token}"}) as client:
        answer = client.get(PAGE)
        assert answer.status_code == 200
        policy = answer.headers["content-security-policy"]
        assert policy.startswith("default-src 'none'") and "unsafe" not in policy and "frame-ancestors 'self'" in policy
        assert answer.headers["cache-control"] == "no-store" and answer.headers["x-content-type-options"] == "nosniff"
        assert "://" not in answer.text.replace("http://www.w3.org", "")  # no address of a node, none of anything else
        for method in ("POST", "PUT", "DELETE", "PATCH"):
            assert client.request(method, PAGE).status_code == 405
        for path in ("/xinglin/", "/xinglin/docs", "/xinglin/openapi.json", "/xinglin/ledger/../keys"):
            assert client.get(path).status_code in (404, 200) and "hospital" not in client.get(path).text


def test_airflow_lists_the_page_in_its_menu(airflow: Airflow, token: str) -> None:
    answer = httpx.get(f"{airflow.address}/api/v2/plugins", headers={"Authorization": f"Bearer {token}"}, timeout=30)
    [plugin] = [one for one in answer.json()["plugins"] if one["name"] == "xinglin_ledger"]
    [view] = plugin["external_views"]
    assert (view["href"], view["url_route"]) == ("xinglin/ledger", "xinglin-ledger")


def test_an_engineer_sees_the_chain_inside_airflow(airflow: Airflow, browser: Browser, tmp_path: Path) -> None:
    browser.look(1440, 1000)
    browser.open(f"{airflow.address}/plugin/xinglin-ledger")
    inside = "document.querySelector('iframe')?.contentDocument"
    browser.until(f"{inside}?.readyState === 'complete' && {inside}.querySelector('svg.credit') !== null")
    assert browser.value(f"{inside}.querySelector('h1').innerText").startswith("账本")
    assert browser.picture(tmp_path / "airflow.png", whole=False).startswith(b"\x89PNG")


@pytest.mark.parametrize(("width", "dark"), [(1280, False), (1280, True), (390, False)])
def test_it_reads_well_in_every_window(
    airflow: Airflow, browser: Browser, tmp_path: Path, width: int, dark: bool
) -> None:
    del browser.requested[:], browser.complaints[:]
    browser.look(width, 900, dark=dark)
    browser.open(airflow.address + PAGE)
    assert browser.value("document.documentElement.scrollWidth") <= width
    ground = browser.value("getComputedStyle(document.body).backgroundColor")
    assert ground == ("rgb(18, 23, 28)" if dark else "rgb(255, 255, 255)")
    words = browser.value("document.body.innerText")
    for word in ("杏林示范区", "东城医院", "落后 behind", "没有回答 does not answer", "缺席： Absent: 颐年养老院"):
        assert word in words, word
    assert browser.value("document.querySelectorAll('svg.credit polyline').length") == 5
    assert browser.picture(tmp_path / "page.png").startswith(b"\x89PNG")
    assert {urlsplit(one).netloc for one in browser.requested} == {urlsplit(airflow.address).netloc}
    assert browser.complaints == []


def test_who_cannot_see_is_told_the_same(airflow: Airflow, browser: Browser) -> None:
    browser.open(airflow.address + PAGE)
    title = browser.value("document.querySelector('svg title').textContent")
    said = browser.value("document.querySelector('svg desc').textContent")
    assert "信用" in title and "Credit" in title and "东城医院 6" in said
    assert browser.value("document.querySelector('svg').getAttribute('role')") == "img"
    nameless = (
        "[...document.querySelectorAll('table')].filter(one => !document.getElementById("
        "one.closest('[role=region]').getAttribute('aria-labelledby') ?? '') && "
        "!one.closest('[role=region]').getAttribute('aria-label')).length"
    )
    assert browser.value(nameless) == 0
    assert browser.value("[...document.querySelectorAll('thead th')].every(one => one.scope === 'col')")
    assert browser.value("document.documentElement.lang") == "zh"


@pytest.mark.parametrize("theme", ["dark", "light"])
def test_it_follows_the_theme_chosen_in_airflow(airflow: Airflow, browser: Browser, theme: str) -> None:
    browser.look(1280, 900, dark=theme == "light")
    browser.open(airflow.address + PAGE)
    browser.value(f"localStorage.setItem('theme', '{theme}')")
    browser.open(airflow.address + PAGE)
    wanted = "rgb(18, 23, 28)" if theme == "dark" else "rgb(255, 255, 255)"
    assert browser.value("getComputedStyle(document.body).backgroundColor") == wanted
    browser.value("localStorage.removeItem('theme')")
