"""A request in plain sentences: what a committee reads before it signs the digest."""

from __future__ import annotations

from collections.abc import Callable, Iterator

from schemas.sharing import Cohort, DatasetRequest

_PURPOSES = {
    "care": "to treat patients",
    "research": "for research",
    "claims": "to settle claims",
    "public-health": "for public health",
    "audit": "for supervision",
}


def sentences(request: DatasetRequest, title: Callable[[str], str] = str) -> Iterator[str]:
    """Yield everything a request asks for, a sentence each; nothing that is digested is left out but the nonce.

    Args:
        request: It.
        title: What people call an institution, by its id.
    """
    holders = ", ".join(map(title, request.holders))
    yield f"“{request.title}”"
    yield f"{title(request.requester)} asks {holders} for a dataset {_PURPOSES.get(request.purpose, request.purpose)}."
    yield f"Asked on {request.made}; to be deleted by {request.keep_until}."
    yield from _cohort(request)
    yield from _tables(request)
    demands, left_out = request.demands, f"{request.demands.suppression / 10:g} %"
    yield (
        f"De-identified by {request.profile}: at least {demands.k} persons alike, at least {demands.l} sensitive "
        f"value(s) among them, {_closeness(demands.t)}; at most {left_out} of the rows are left out for it."
    )
    yield from _readers(request)
    if request.ethics is None:
        yield "It names no approval of an ethics committee."
    else:
        ethics = request.ethics
        yield (
            f"It rests on approval {ethics.number} of {ethics.committee}, valid from {ethics.valid[0]} to "
            f"{ethics.valid[1]}; SM3 of its document {ethics.digest.hex()}."
        )


def _cohort(request: DatasetRequest) -> Iterator[str]:
    cohort = request.cohort
    who = [_coded(cohort), _aged(cohort), f"of sex {' or '.join(cohort.sexes)}" if cohort.sexes else ""]
    meant = "; ".join(filter(None, who))
    yield f"Patients: {meant}." if meant else "Patients: all that have records there."
    yield f"Records: of these patients, {_period(cohort)}, {request.most} at most in all."


def _coded(cohort: Cohort) -> str:
    """Return each criterion: any of its codes; all criteria must be met."""
    each = (" or ".join(f"{one.system}|{one.code}" for one in some) for some in cohort.criteria)
    return "; and ".join(f"with a record of {one}" for one in each)


def _aged(cohort: Cohort) -> str:
    return f"aged {cohort.ages[0]} to {cohort.ages[1]}" if cohort.ages else ""


def _period(cohort: Cohort) -> str:
    first, last = cohort.period
    if first and last:
        return f"dated {first} to {last}"
    if first or last:
        return f"dated from {first} on" if first else f"dated up to {last}"
    return "of any date"


def _tables(request: DatasetRequest) -> Iterator[str]:
    from sharing.views import compile_view, library

    for name, definition in sorted(request.views.items()):
        view = compile_view(definition)
        whose = "of the library" if library().get(name) == definition else "of the requester's own"
        where = " and ".join(str(one["path"]) for one in definition.get("where", ()))
        columns = "; ".join(f"{one.name} = {one.path}" for one in view.columns)
        yield f"Table {name}, {whose}, from {view.resource}{f' where {where}' if where else ''}: {columns}."
        risky = [one.name for one in view.columns if one.role in ("quasi-identifier", "identifier")]
        yield f"  What could help to recognise somebody in {name}, as it declares: {', '.join(risky) or 'nothing'}."
    if request.ndjson:
        yield "Beside the tables, the de-identified FHIR resources themselves."


def _closeness(t: int) -> str:
    return "their distribution as it may be" if t == 1_000 else f"their distribution within {t / 10:g} % of the table's"


def _readers(request: DatasetRequest) -> Iterator[str]:
    who = f"a {request.reader} there" if request.reader else "the institution itself"
    key = f"key {request.recipient.hex()}" if request.recipient else "the institution's registered key"
    yield f"Read by {who}; sealed to {key}."
