"""What a rebuild has to tell of each new batch, kept with the batch: a process that takes it up has not seen it."""

from __future__ import annotations

import json
from collections.abc import Iterable
from dataclasses import asdict

from attestrio.resequence.plan import FailedTx, Split
from attestrio.sequencer.db import ChainDb


class Notes:
    """Notes by number of the new batch, in the database. They do not go back with the chain, but are written again."""

    def __init__(self, db: ChainDb) -> None:
        self._db = db

    def put(self, batch: int, split: Split | None, failed: list[FailedTx]) -> None:
        """In place of what was noted there, in the transaction that makes the batch."""
        if split is None and not failed:
            self._db.put_meta(_key(batch), None)
            return
        document = {
            "split": None if split is None else asdict(split),
            "failed": [asdict(one) | {"hash": one.hash.hex()} for one in failed],
        }
        self._db.put_meta(_key(batch), json.dumps(document).encode())

    def all(self, batches: Iterable[int]) -> tuple[list[Split], list[FailedTx]]:
        """What was noted for them."""
        splits: list[Split] = []
        failed: list[FailedTx] = []
        for batch in batches:
            raw = self._db.meta(_key(batch))
            document = json.loads(raw) if raw is not None else {"split": None, "failed": []}
            if document["split"] is not None:
                splits.append(Split(**document["split"]))
            failed += [FailedTx(**one | {"hash": bytes.fromhex(one["hash"])}) for one in document["failed"]]
        return splits, failed

    def forget(self, batches: Iterable[int]) -> None:
        """The rebuild is done."""
        for batch in batches:
            self._db.put_meta(_key(batch), None)


def _key(batch: int) -> str:
    return f"resequence.{batch}"
