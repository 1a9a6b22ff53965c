"""Objects that arrive by C-STORE are read while they arrive; pynetdicom would hold each whole in memory or on disk.

The library collects the fragments of a message in a file-like object (``DIMSEMessage.data_set``) before its handler
is told. Here that object hands the fragments of a C-STORE on to a thread, which seals pixel data into the bulk store
and keeps the rest; where that thread is slower than the network, the network waits. So no object is ever whole in
memory, and nothing lies on a disk unencrypted. Uses ``DIMSEServiceProvider.receive_primitive`` and ``.message`` and
``DIMSEMessage.data_set`` of pynetdicom 3, which a test holds it to.
"""

from __future__ import annotations

import queue
import threading
import time
from collections.abc import Callable, Iterator
from io import BytesIO
from typing import TYPE_CHECKING, Any, Final

from pynetdicom import evt
from pynetdicom.dimse import DIMSEServiceProvider
from pynetdicom.dimse_messages import C_STORE_RQ, DIMSEMessage

from connectors.contract import Found
from connectors.pacs.instances import Taking, take
from connectors.pacs.streams import Stream

if TYPE_CHECKING:
    from pynetdicom.association import Association
    from pynetdicom.pdu_primitives import P_DATA

#: Fragments between the network and the thread that reads them.
_FRAGMENTS: Final = 16
#: Seconds after which whoever waits for a fragment looks whether one can still come.
_LOOK: Final = 0.1


class Reception:
    """One object on its way in.

    Args:
        uid: Its SOPInstanceUID.
        syntax: The transfer syntax it comes in.
        taking: How it is taken; None forgets it (nobody asked for it).
        alive: Whether more may still come.
    """

    def __init__(self, uid: str, syntax: str, taking: Taking | None, alive: Callable[[], bool]) -> None:
        self.uid = uid
        self._syntax = syntax
        self._taking = taking
        self._alive = alive
        self._queue: queue.Queue[bytes | None] = queue.Queue(_FRAGMENTS)
        self._found: Found | None = None
        self._error: BaseException | None = None
        self._thread = threading.Thread(target=self._run, name="reception", daemon=True)
        if taking is not None:
            self._thread.start()

    def feed(self, fragment: bytes | None) -> None:
        """Hand on a fragment, None after the last; returns when there is room for it, or when nobody reads any more."""
        while self._thread.is_alive():
            try:
                return self._queue.put(fragment, timeout=_LOOK)
            except queue.Full:
                continue

    def _pieces(self) -> Iterator[bytes]:
        while True:
            try:
                piece = self._queue.get(timeout=_LOOK)
            except queue.Empty:
                if not self._alive():
                    raise ConnectionAbortedError("the connection ended inside an object") from None
                continue
            if piece is None:
                return
            yield piece

    def _run(self) -> None:
        assert self._taking is not None
        try:
            self._found = take(Stream(self._pieces()), self._syntax, self.uid, self._taking)
        except BaseException as error:  # noqa: BLE001  raised again where the result is asked for
            self._error = error

    def result(self) -> Found | None:
        """Return what it became, once its pixel data are durable; None for what nobody asked for.

        What the bulk store raised is raised.
        """
        if self._taking is not None:
            self._thread.join()
        if self._error is not None:
            raise self._error
        return self._found


#: Returns how the object of this SOPInstanceUID is taken, or None where nobody asked for it.
Wanted = Callable[[str], Taking | None]


class _Arriving(BytesIO):
    """The data set of a message; that of a C-STORE goes to its reception."""

    def __init__(self, provider: _Provider, message: DIMSEMessage) -> None:
        super().__init__()
        self._provider = provider
        self._message = message
        self.reception: Reception | None = None

    def write(self, data: bytes, /) -> int:  # type: ignore[override]
        """Take one fragment."""
        if not isinstance(self._message, C_STORE_RQ):
            return super().write(data)
        if self.reception is None:
            self.reception = self._provider.begin(self._message)
        self.reception.feed(data)
        return len(data)


class _Provider(DIMSEServiceProvider):
    """The library's, but for where the fragments of a C-STORE go."""

    def __init__(self, association: Association, wanted: Wanted) -> None:
        super().__init__(association)
        self._wanted = wanted
        self._heard = time.monotonic()

    def get_msg(self, block: bool = False) -> Any:
        """Return the next message; one whose fragments still come is waited for, however long all of it takes."""
        while True:
            found = super().get_msg(block)
            quiet = time.monotonic() - self._heard
            timeout = self.dimse_timeout
            if found[0] is not None or not block or not self._may_come() or (timeout is not None and quiet >= timeout):
                return found

    def receive_primitive(self, primitive: P_DATA) -> None:
        """Take what came; see the base."""
        self._heard = time.monotonic()
        if self.message is None:
            self.message = DIMSEMessage()
            self.message.data_set = _Arriving(self, self.message)
        arriving = self.message.data_set
        super().receive_primitive(primitive)
        if self.message is None and isinstance(arriving, _Arriving) and arriving.reception is not None:
            arriving.reception.feed(None)

    def begin(self, message: C_STORE_RQ) -> Reception:
        """Return the reception of the object whose first fragment is here."""
        uid = str(message.command_set.AffectedSOPInstanceUID)
        syntaxes = {one.context_id: one.transfer_syntax[0] for one in self.assoc.accepted_contexts}
        return Reception(uid, str(syntaxes.get(message.context_id, "")), self._wanted(uid), self._may_come)

    def _may_come(self) -> bool:
        return self.assoc.dul.is_alive() and not (self.assoc.is_aborted or self.assoc.is_released)


def receives(wanted: Wanted) -> Callable[[evt.Event], None]:
    """Return the handler of EVT_CONN_OPEN after which the association's objects are read as they arrive."""

    def opened(event: evt.Event) -> None:
        event.assoc.dimse = _Provider(event.assoc, wanted)

    return opened


def received(event: evt.Event) -> Reception | None:
    """Return the reception of the object that EVT_C_STORE tells of."""
    arriving = event.request.DataSet  # type: ignore[union-attr]
    return arriving.reception if isinstance(arriving, _Arriving) else None
