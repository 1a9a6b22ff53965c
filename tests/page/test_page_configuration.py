"""Which nodes the page asks: one form of configuration, and a sentence for everything else."""

from __future__ import annotations

import pytest

from ledger.page.addresses import NodeAddress, WrongAddresses, node_addresses

EAST = "hospital-east=http://127.0.0.1:8701"


def addresses(text: str) -> tuple[NodeAddress, ...]:
    return node_addresses({"XINGLIN_NODE_URLS": text})


def test_nodes_are_read_in_their_order_with_blanks_and_final_commas() -> None:
    assert addresses(f" {EAST}/ , lab-centre=https://lab.example:443/node ,") == (
        NodeAddress("hospital-east", "http://127.0.0.1:8701"),
        NodeAddress("lab-centre", "https://lab.example:443/node"),
    )


def test_without_the_variable_there_are_no_nodes() -> None:
    assert node_addresses({}) == addresses("") == addresses(" , ") == ()


@pytest.mark.parametrize(
    "text",
    [
        "http://127.0.0.1:8701",
        "hospital-east",
        "hospital-east=",
        "=http://127.0.0.1:8701",
        "Hospital East=http://127.0.0.1:8701",
        "hospital-east=ftp://127.0.0.1",
        "hospital-east=file:///etc/passwd",
        "hospital-east=http://",
        "hospital-east=http://127.0.0.1:0",
        "hospital-east=http://127.0.0.1:99999",
        "hospital-east=http://127.0.0.1:port",
        "hospital-east=http://[::1",
        "hospital-east=http://127.0.0.1:8701?x=1",
        "hospital-east=http://127.0.0.1:8701#x",
        f"{EAST},{EAST}",
    ],
)
def test_another_form_is_refused_with_what_to_write(text: str) -> None:
    with pytest.raises(WrongAddresses, match="XINGLIN_NODE_URLS"):
        addresses(text)


def test_an_address_with_a_password_is_refused_and_not_repeated() -> None:
    with pytest.raises(WrongAddresses, match="hospital-east") as caught:
        addresses("hospital-east=http://user:secret@127.0.0.1:8701")
    assert "secret" not in str(caught.value)


def test_more_nodes_than_a_page_can_ask_are_refused() -> None:
    with pytest.raises(WrongAddresses, match="65 nodes, at most 64"):
        addresses(",".join(f"h{one}=http://127.0.0.1:80" for one in range(65)))
