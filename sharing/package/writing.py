"""A dataset is written: sealed as it comes, nothing of it in the clear on a disk, whole under its name or not at all.

Every file is sealed into a spool of its own beside the package, so that several can be written at once; in the end they
are put together, the holder signs, and one rename makes the package. Whoever is killed leaves ciphertext whose key is
gone; the next writer to the same name clears it away.
"""

from __future__ import annotations

import fcntl
import os
import secrets
import shutil
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO, Final, Self, cast

from ledger.encoding import u32, u64
from shangmi import PublicKey, Sm3, sm3
from sharing.errors import Malformed
from sharing.package.container import FOOTER_MAGIC, HEADER_BYTES, HEADER_MAGIC, MAX_PLAIN
from sharing.package.manifest import MAX_SECTIONS, Manifest, ManifestFacts, Section, check_name
from sharing.package.names import BINARY, EVIDENCE, JSON, POLICIES, REQUEST
from sharing.package.sealing import SALT_BYTES, SECRET_BYTES, DatasetKey, SealedWriter

_PIECE: Final = 1 << 20
#: What the writer itself adds.
_OWN: Final = frozenset({REQUEST, POLICIES, EVIDENCE})


@dataclass(frozen=True, slots=True)
class Finished:
    """A package that was written.

    Attributes:
        path: Where.
        package: SM3 of the whole file, for DELIVERED.
        manifest: SM3 of its manifest, for DELIVERED.
        records: Source records in it.
        size: Bytes of it.
    """

    path: Path
    package: bytes
    manifest: bytes
    records: int
    size: int


@dataclass(slots=True)
class _Spool:
    """One file of the package, on its way."""

    name: str
    media_type: str
    sealed: bool
    path: Path
    size: int = 0
    digest: bytes = b""


class Writer:
    """A package that is being written; use it in a ``with``, which clears away what was not finished.

    Args:
        path: Where it goes, suffix ``.xld``; nothing is there until ``finish`` returns.
        request: Id of the ACCESS_REQ on the chain, 32 bytes.
        holder: Whose records, by its id in region.yaml.
        recipient: Whose key will open it.
        chance: Gives random bytes; another one only for test vectors.

    Raises:
        OSError: Nothing can be written there.
    """

    def __init__(
        self,
        path: Path,
        request: bytes,
        holder: str,
        recipient: PublicKey,
        *,
        chance: Callable[[int], bytes] = secrets.token_bytes,
    ) -> None:
        self.path, self._recipient = path, recipient
        self._key = DatasetKey(chance(SECRET_BYTES), chance(SALT_BYTES), request, holder)
        self._spools: list[_Spool] = []
        self._names: set[str] = set()
        self._ended = False
        _clear(path)
        self._folder = Path(tempfile.mkdtemp(prefix=f".{path.name}.", suffix=".part", dir=path.parent))
        self._lock = os.open(self._folder, os.O_RDONLY)
        fcntl.flock(self._lock, fcntl.LOCK_EX)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Nothing of an unfinished package is left; a finished one stays."""
        if not self._ended:
            self._ended = True
            shutil.rmtree(self._folder, ignore_errors=True)
            os.close(self._lock)

    @contextmanager
    def sealed(self, name: str, media_type: str) -> Iterator[BinaryIO]:
        """Yield a file to write to; several may be open at once. Each holds 1 MiB of plaintext, in memory.

        Where the block raises, the file is left out; its name is used up, since its key must not seal other content.

        Raises:
            Malformed: The name is none, or was used.
        """
        spool, whole = self._begin(name, media_type, sealed=True), Sm3()
        with spool.path.open("xb") as file:

            def sink(piece: bytes) -> None:
                whole.update(piece)
                spool.size += file.write(piece)

            writer = SealedWriter(sink, self._key.of_file(name))
            try:
                yield cast("BinaryIO", writer)
                writer.finish()
            except BaseException:
                self._spools.remove(spool)
                writer.close()
                with suppress(OSError):
                    spool.path.unlink()
                raise
        spool.digest = whole.digest()

    def plain(self, name: str, media_type: str, content: bytes) -> None:
        """Put in a file that is readable without a key: no patient's data.

        Raises:
            Malformed: The name is none, or was used, or it is too large.
        """
        if name in _OWN:
            raise Malformed(f"{name}: the writer puts this file in itself, at the end")
        self._plain(name, media_type, content)

    def _plain(self, name: str, media_type: str, content: bytes) -> None:
        if len(content) > MAX_PLAIN:
            raise Malformed(f"{name}: {len(content)} bytes; a readable file has at most {MAX_PLAIN}")
        spool = self._begin(name, media_type, sealed=False)
        spool.path.write_bytes(content)
        spool.size, spool.digest = len(content), sm3(content)

    def _begin(self, name: str, media_type: str, *, sealed: bool) -> _Spool:
        if self._ended:
            raise RuntimeError("a dataset is written to after it was finished or closed")
        if check_name(name) in self._names or len(self._names) >= MAX_SECTIONS:
            raise Malformed(f"{name}: a file of this name was written before, or there are too many files")
        self._names.add(name)
        spool = _Spool(name, media_type, sealed, self._folder / str(len(self._names)))
        self._spools.append(spool)
        return spool

    def finish(self, facts: ManifestFacts, evidence: bytes, sign: Callable[[bytes], bytes]) -> Finished:
        """Return once the signed package is durable under its name.

        Args:
            facts: What the manifest says.
            evidence: What ``evidence.gather`` returned.
            sign: Returns the holder's signature for the manifest whose SM3 it is given: ``Notary.sign_manifest``.

        Raises:
            Malformed: The facts are none that a reader would accept, or the signature is not the holder's.
            OSError: The disk is full or failing; nothing is left of the package then.
        """
        if unfinished := [one.name for one in self._spools if not one.digest]:
            raise RuntimeError(f"a dataset is finished while {unfinished[0]} is still written")
        try:
            self._plain(REQUEST, JSON, facts.request_file)
            self._plain(POLICIES, BINARY, facts.policies)
            self._plain(EVIDENCE, BINARY, evidence)
            return self._finish(facts, sign)
        finally:
            self.close()

    def _finish(self, facts: ManifestFacts, sign: Callable[[bytes], bytes]) -> Finished:
        manifest = self._manifest(facts)
        encoded = manifest.encode()
        Manifest.decode(encoded)  # what no reader would accept is not signed
        digest = sm3(encoded)
        signature = sign(digest)
        if not PublicKey.from_bytes(facts.holder_key).verify(signature, manifest.message(digest)):
            raise Malformed("the signature is not the holder's for this manifest; see whose key signs")
        end = sum(one.size for one in self._spools) + HEADER_BYTES
        footer = u64(end) + u32(len(encoded)) + signature + FOOTER_MAGIC
        whole, path = Sm3(), self._folder / "whole"
        with path.open("xb") as file:
            for piece in self._pieces(encoded + footer):
                whole.update(piece)
                file.write(piece)
            file.flush()
            os.fsync(file.fileno())
        path.replace(self.path)
        _fsync_folder(self.path.parent)
        return Finished(self.path, whole.digest(), digest, facts.records, end + len(encoded) + len(footer))

    def _pieces(self, rest: bytes) -> Iterator[bytes]:
        yield HEADER_MAGIC + self._key.salt
        for spool in self._spools:
            with spool.path.open("rb") as file:
                while piece := file.read(_PIECE):
                    yield piece
            spool.path.unlink()  # so that the disk never holds much more than the package twice
        yield rest

    def _manifest(self, facts: ManifestFacts) -> Manifest:
        key, sections, offset = self._key, [], HEADER_BYTES
        for one in self._spools:
            sections.append(Section(one.name, one.media_type, one.sealed, offset, one.size, one.digest))
            offset += one.size
        return Manifest(
            chain_id=facts.chain_id, request=key.request, asked=facts.asked, holder=key.holder,
            holder_key=facts.holder_key, recipient=self._recipient.bytes, salt=key.salt,
            wrapped=self._recipient.encrypt(key.secret), commitment=key.commitment, policies=sm3(facts.policies),
            consents=facts.consents, profile=facts.profile, made_height=facts.made_height, made_ms=facts.made_ms,
            keep_until=facts.keep_until, persons=facts.persons, records=facts.records, tables=facts.tables,
            excluded=facts.excluded, sections=tuple(sections),
        )  # fmt: skip


def _clear(path: Path) -> None:
    """What writers to this name left when they were killed is gone; one that is alive holds a lock and is left."""
    left = (one for one in path.parent.iterdir() if one.name.startswith(f".{path.name}.") and one.suffix == ".part")
    for folder in list(left):
        with suppress(OSError):
            handle = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW)
            try:
                fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
                shutil.rmtree(folder, ignore_errors=True)
            finally:
                os.close(handle)


def _fsync_folder(folder: Path) -> None:
    handle = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)
