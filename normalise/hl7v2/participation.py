"""A person or organisation in a role: PractitionerRole, where a segment says more than who somebody is.

Sources: HL7 v2-to-FHIR, PRT[PractitionerRole], ROL[Encounter-PractitionerRole], ROL[Patient-GeneralPractitioner].
Like staff and places it is the institution's and only mentioned; its id is what it says, for v2 numbers no roles.
"""

from __future__ import annotations

import json

from normalise.hl7v2.building import Body, Building


def in_role(said: Body, building: Building, beside: frozenset[str] = frozenset()) -> Body | None:
    """Return the Reference to whoever takes part: to the PractitionerRole that ``said`` is, where it says enough.

    Args:
        said: The elements of a PractitionerRole.
        building: The message.
        beside: Elements that alone make no role of it, for they are said where the Reference stands.

    Returns:
        The practitioner's or organisation's own Reference where nothing else is known of the role; None for nobody.
    """
    found = {name: value for name, value in said.items() if value}
    who = found.get("practitioner") or found.get("organization")
    if who is None:
        return None
    if len(found.keys() - beside) == 1:
        return dict(who)
    name = str(who.get("display", ""))
    body: Body = {"resourceType": "PractitionerRole"}
    body["id"] = building.id_within("PractitionerRole", json.dumps(found, sort_keys=True, ensure_ascii=False))
    stored = building.add(body | found, "ensure", own=False)
    reference = {"reference": f"PractitionerRole/{stored['id']}"}
    return {**reference, "display": name} if name else reference
