"""Landing in groups: what many connections bring at the same time becomes durable in one write.

A durable write costs the same for one record as for many, so while one write runs, what arrives is gathered
for the next. Nobody waits for a group to fill.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Final

from schemas.records import RawRecord

#: Makes records durable, in order; True for each that was not there before. Called in a thread of its own, one
#: call at a time; what it raises means that none of them may be acknowledged.
LandMany = Callable[[list[RawRecord]], Sequence[bool]]

GROUP_RECORDS: Final = 500
GROUP_BYTES: Final = 16 * 1024 * 1024

_Waiting = tuple[RawRecord, asyncio.Future[bool]]


class GroupLanding:
    """Lands records that concurrent callers bring, as few writes as they allow."""

    def __init__(self, land_many: LandMany) -> None:
        self._land_many = land_many
        self._waiting: list[_Waiting] = []
        self._thread = ThreadPoolExecutor(1, thread_name_prefix="landing")
        self._task: asyncio.Task[None] | None = None

    def land(self, record: RawRecord) -> asyncio.Future[bool]:
        """Return what resolves once the record is durable, to whether it was new.

        It fails with whatever ``land_many`` raised.
        """
        future: asyncio.Future[bool] = asyncio.get_running_loop().create_future()
        self._waiting.append((record, future))
        if self._task is None or self._task.done():
            self._task = asyncio.create_task(self._run())
        return future

    async def _run(self) -> None:
        while self._waiting:
            group = self._next_group()
            await self._write(group)

    def _next_group(self) -> list[_Waiting]:
        size = count = 0
        for record, _ in self._waiting:
            size += len(record.content)
            if count and (size > GROUP_BYTES or count == GROUP_RECORDS):
                break
            count += 1
        group, self._waiting = self._waiting[:count], self._waiting[count:]
        return group

    async def _write(self, group: list[_Waiting]) -> None:
        loop = asyncio.get_running_loop()
        try:
            new = await loop.run_in_executor(self._thread, self._land_many, [record for record, _ in group])
            answers = list(zip(group, new, strict=True))
        except Exception as error:  # noqa: BLE001 - whatever went wrong, nobody of the group may be told it is durable
            for _, future in group:
                if not future.done():
                    future.set_exception(error)
            return
        for (_, future), fresh in answers:
            if not future.done():
                future.set_result(bool(fresh))

    async def call(self, work: Callable[[str], None], argument: str) -> None:
        """Run something else that blocks where the writes run, so that it never holds up the connections."""
        await asyncio.get_running_loop().run_in_executor(self._thread, work, argument)

    async def close(self) -> None:
        """Wait for the write that runs and for those that wait."""
        if self._task is not None:
            await self._task
        self._thread.shutdown(wait=False)
