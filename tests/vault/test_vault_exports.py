"""How far exports are, as the vault remembers it."""

from __future__ import annotations

from vault.store import Vault


def test_an_export_moves_on_and_keeps_its_beginning_and_its_facts(vault: Vault) -> None:
    assert vault.exports.get("aa") is None
    vault.exports.note("aa", "cutting", done=1, parts=4)
    began = vault.exports.get("aa")
    vault.exports.note("aa", "offered", done=4, parts=4, package="bb", records=7)
    vault.exports.note("aa", "delivered", done=4, parts=4, height=9)
    found = vault.exports.get("aa")
    assert began is not None
    assert found is not None
    assert (found.state, found.done, found.parts, found.reason) == ("delivered", 4, 4, "")
    assert found.facts == {"package": "bb", "records": 7, "height": 9}
    assert found.since == began.since
    assert found.at >= began.at
    vault.exports.note("cc", "refused", reason="risk")
    assert [one.request for one in vault.exports.all()] == ["aa", "cc"]
