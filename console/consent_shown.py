"""What stands for one patient, in words, as JSON and as FHIR."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from console.exits import fail

if TYPE_CHECKING:
    from ledger.messages.consent import ConsentState
    from sharing.consent.desk import Desk
    from sharing.consent.parties import Parties


def shown(desk: Desk, parties: Parties, patient: str, *, fhir: bool) -> dict[str, Any]:
    """Return everything about a patient's statement: ``told`` in sentences, ``fhir`` where it is asked for.

    A person whom this institution knows as several patients has one for each; the first one's is shown, and whether
    the others' are the same. A patient of whom nothing is known here ends the command.
    """
    from ledger.messages.consent import ConsentState
    from sharing.consent.cutting import statements
    from sharing.consent.desk import datasets, settle
    from sharing.consent.fhir_writing import write_consent
    from sharing.consent.filing import people
    from sharing.consent.sentences import meaning, sentence, told

    settle(desk)
    view, owners = desk.replica.view, people(desk.vault, [patient]).get(patient)
    if owners is None:
        fail("no record of this patient was ever sealed here; check the id")
    names = [desk.vault.summaries.pseudonym(one) for one in owners]
    values = statements(view, desk.holder, names)
    states = [ConsentState.decode(values[one]) if one in values else None for one in names]
    state, time_ms = states[0], view.head.timestamp_ms
    others = [one for one in view.roster if one.active and one.id != desk.holder]
    means = meaning(state, sorted(others, key=lambda one: one.name), time_ms)
    waits = desk.vault.consents.newest(owners).get(owners[0])
    waiting = waits is not None and waits.sequence > (state.sequence if state else 0)
    found: dict[str, Any] = {
        "patient": names[0].hex(),
        "patients": len(owners),
        "alike": len({_will(one) for one in states}) == 1,
        "sequence": state.sequence if state else 0,
        "height": state.height if state else 0,
        "withdrawn": bool(state and state.withdrawn),
        "attested": _attested(desk, owners[0], state),
        "provisions": [sentence(one, parties) for one in state.provisions] if state else [],
        "means": means,
        "waiting": waiting,
        "datasets": [
            {
                "request": one.request.hex(),
                "requester": one.requester,
                "purpose": one.purpose,
                "delivered": one.delivered,
            }
            for one in datasets(desk, view, owners)
        ],
    }
    if fhir:
        if state is None:
            fail("nothing stands for this patient; there is no Consent to write")
        since = desk.replica.header(state.height).timestamp_ms
        found["fhir"] = write_consent(state, patient, desk.node.institution, parties, since)
    found["told"] = _told(found, told(means))
    return found


def _will(state: ConsentState | None) -> Any:
    return None if state is None else (state.withdrawn, state.provisions)


def _attested(desk: Desk, owner: bytes, state: ConsentState | None) -> str:
    """Return what the statement rests on: the patient's key, or where the paper lies, as the vault knows."""
    if state is None:
        return ""
    if state.patient_key:
        return f"the patient's own key {state.patient_key.hex()[:16]}…"
    papers = [form for _, form in desk.vault.consents.history(owner) if form and form.on_chain == state.reference]
    return f"a signed form: {papers[0].reference}" if papers else "a signed form that this vault does not know"


def _told(found: dict[str, Any], means: str) -> str:
    lines = []
    if not found["sequence"]:
        lines.append("Nothing stands for this patient here.")
    elif found["withdrawn"]:
        lines.append(f"Everything was taken back in block {found['height']}, on {found['attested']}.")
    else:
        lines.append(f"Statement {found['sequence']} stands since block {found['height']}, on {found['attested']}:")
        lines += [f"  {one}" for one in found["provisions"]]
    if found["waiting"]:
        lines.append("A newer statement waits for a block; it counts from there on.")
    if found["patients"] > 1:
        same = "the same stands for all" if found["alike"] else "NOT the same stands for all; file anew"
        lines.append(f"This person is {found['patients']} patients here: {same}.")
    lines += ["Of the records that this institution holds, today there goes for", means]
    if found["datasets"]:
        lines.append(f"The patient is in {len(found['datasets'])} datasets that left:")
        lines += [
            f"  {one['request'][:16]}  {one['requester']}  {one['purpose']}  block {one['delivered']}"
            for one in found["datasets"]
        ]
    return "\n".join(lines)
