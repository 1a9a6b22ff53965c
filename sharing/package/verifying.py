"""A dataset checked by anybody: no key, no network, no database; only an anchor that somebody trusted handed over.

The holder's key is believed because the region's roster under a certified block names it, the permission because the
chain's state and receipts hold it, and the source records because they stand in notarised batches. What no proof can
show is said, too.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

from ledger.chain.validators import institution_id
from ledger.errors import ProofError
from ledger.proofs.anchor import Anchor, load_anchor
from ledger.proofs.dataset_evidence import Allowed, verify_evidence
from ledger.proofs.strict_json import MAX_FILE
from schemas.sharing import DatasetRequest
from shangmi import sm3
from sharing.errors import Malformed, Tampered
from sharing.package.container import Package
from sharing.package.manifest import Manifest
from sharing.package.names import EVIDENCE, NDJSON, POLICIES, REQUEST


@dataclass(frozen=True, slots=True)
class Verified:
    """What a package that holds proves.

    Attributes:
        manifest: What the holder signed.
        package: SM3 of the file, as DELIVERED names it; the chain can be asked for it.
        region: Name of the region, from the anchor.
        request: The request that was approved.
        allowed: What the chain says to it.
        proved: Sentences for people.
        not_proved: Likewise: what nobody can see in the file.
    """

    manifest: Manifest
    package: bytes
    region: str
    request: DatasetRequest
    allowed: Allowed
    proved: tuple[str, ...]
    not_proved: tuple[str, ...]


def verify(
    path: Path,
    anchor: Path | bytes | Anchor,
    *,
    now_ms: int | None = None,
    seen: Callable[[int], None] = lambda _: None,
) -> Verified:
    """Return what a package proves to whoever trusts the anchor.

    Args:
        path: The package.
        anchor: The anchor file or its content, obtained by hand and not from whoever sent the package.
        now_ms: The verifier's time, milliseconds since 1970 UTC; needed where the anchor limits ages.
        seen: Told of bytes that were read, for a bar.

    Raises:
        Malformed: The file is no package, or the anchor is none.
        Tampered: Something in it was changed, or does not belong together, or does not follow from the anchor.
        OSError: A file cannot be read.
    """
    trusted = read_anchor(anchor)
    with Package(path) as package:
        if package.manifest.chain_id != trusted.genesis.chain_id:
            raise Tampered("package: it is of another chain than the anchor")
        allowed = _allowed(package, trusted, now_ms)
        request = _request(package, allowed)
        _check_policies(package, allowed)
        return Verified(
            package.manifest, package.check_digests(seen), trusted.genesis.name, request, allowed,
            tuple(_proved(package.manifest, request, allowed)), tuple(_not_proved(allowed)),
        )  # fmt: skip


def read_anchor(anchor: Path | bytes | Anchor) -> Anchor:
    """Return the anchor; Malformed where it is none."""
    if isinstance(anchor, Anchor):
        return anchor
    if isinstance(anchor, Path):
        with anchor.open("rb") as file:
            anchor = file.read(MAX_FILE + 1)
    try:
        return load_anchor(anchor)
    except ProofError as error:
        raise Malformed(str(error)) from None


def _allowed(package: Package, anchor: Anchor, now_ms: int | None) -> Allowed:
    manifest = package.manifest
    evidence = package.plain(EVIDENCE)
    try:
        found = verify_evidence(evidence, anchor, manifest.request, institution_id(manifest.holder), now_ms)
    except ProofError as error:
        raise Tampered(f"evidence: {error}") from None
    if found.holder.public_key != manifest.holder_key:
        raise Tampered("manifest: it was signed with another key than the chain registers for the holder")
    if not found.holder.active:
        raise Tampered(f"holder: {manifest.holder} was {found.holder.standing} when the evidence was gathered")
    if found.records != manifest.records or found.records > found.state.most:
        raise Tampered("records: the evidence shows another number than the manifest, or more than were allowed")
    if manifest.made_height < found.state.height:
        raise Tampered("manifest: it was made before the request was allowed")
    return found


def _request(package: Package, allowed: Allowed) -> DatasetRequest:
    from sharing.request.reading import read_request, request_digest

    manifest, content = package.manifest, package.plain(REQUEST)
    digest = request_digest(content)
    if not digest == manifest.asked == allowed.state.digest:
        raise Tampered("request: the file in the package is not the one that was allowed")
    request, state = read_request(content), allowed.state
    recipient = request.recipient or allowed.requester.public_key
    agrees = {
        "chain": request.chain_id == manifest.chain_id,
        "requester": request.requester == allowed.requester.name,
        "holders": {institution_id(one) for one in request.holders} == set(state.holders),
        "purpose": (request.purpose, request.reader) == (state.purpose, state.reader),
        "records": request.most == state.most,
        "ethics approval": (request.ethics.digest if request.ethics else bytes(32)) == state.ethics,
        "recipient": recipient == manifest.recipient,
        "date of deletion": request.keep_until == manifest.keep_until,
        "profile": request.profile == manifest.profile[0],
        "tables": {one.name for one in manifest.tables} <= set(request.views),
        "FHIR resources": request.ndjson or NDJSON not in {one.media_type for one in manifest.sections},
    }
    if wrong := [name for name, holds in agrees.items() if not holds]:
        raise Tampered(f"request: the dataset is not what was asked for: {', '.join(wrong)}")
    if request.ethics is not None and not request.ethics.held(allowed.decided.timestamp_ms):
        raise Tampered("request: the ethics approval that it rests on did not hold on the day of the decision")
    return request


def _check_policies(package: Package, allowed: Allowed) -> None:
    if not sm3(package.plain(POLICIES)) == package.manifest.policies == allowed.verdict.policy_hash:
        raise Tampered("policies: the rules in the package are not those that allowed the request")


def _proved(manifest: Manifest, request: DatasetRequest, allowed: Allowed) -> Iterator[str]:
    yield (
        f"{_title(allowed.holder.title, manifest.holder)} signed this dataset with the key that the chain registers "
        f"for it. Nothing of its {len(manifest.sections)} files was changed, left out or added since."
    )
    yield (
        f"{_title(allowed.requester.title, request.requester)} asked for it, for {request.purpose}: "
        f"“{request.title}”. The request in the package is the one on the chain."
    )
    yield (
        f"The rules of the region allowed it in block {allowed.decided.height}, {_day(allowed.decided.timestamp_ms)}, "
        f"by {', '.join(allowed.verdict.policies)}. Their text in the package is the one that was in force."
    )
    if request.ethics is not None:
        begins, ends = request.ethics.valid
        yield (
            f"It rests on approval {request.ethics.number} of {request.ethics.committee}, {begins} to {ends}, whose "
            f"document has the SM3 {request.ethics.digest.hex()}."
        )
    if allowed.voices:
        said = (f"{one.member} {'approved' if one.approves else 'refused'}" for one in allowed.voices)
        yield f"Of the data access committee: {', '.join(said)}."
    if allowed.records:
        batches = "the batch" if allowed.batches == 1 else f"one of {allowed.batches} batches"
        first, last = _day(allowed.first), _day(allowed.last)
        when = f"on {first}" if first == last else f"from {first} to {last}"
        yield f"Source records: {allowed.records}. Each stands in {batches} that {manifest.holder} published {when}."
    yield (
        f"All of this is covered by block {allowed.head.height}, {_day(allowed.head.timestamp_ms)}, confirmed by "
        f"{', '.join(allowed.signers)}."
    )
    if allowed.checkpoint_ms:
        yield f"An auditor vouched for the chain up to there on {_day(allowed.checkpoint_ms)}."


def _not_proved(allowed: Allowed) -> Iterator[str]:
    yield "That rows say what the source records say is the holder's word; an audit at the holder compares them."
    yield (
        "Which statements of consent were applied is named by a digest. Auditors, who see the statements, compute it "
        "again."
    )
    yield "The reports on de-identification, quality and disclosure risk are the holder's."
    yield (
        f"What came after block {allowed.head.height}, {_day(allowed.head.timestamp_ms)}: withdrawals, erasures. The "
        "chain tells."
    )


def _title(title: str, name: str) -> str:
    return f"{title} ({name})" if title and title != name else name


def _day(milliseconds: int) -> str:
    return datetime.fromtimestamp(milliseconds / 1_000, UTC).date().isoformat()
