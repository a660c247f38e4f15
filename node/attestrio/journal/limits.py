"""Refusing what is above a journal's limits, before anything of it is written."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from attestrio.journal.api import Cursor, ItemTooLarge, Limits, Put, Work


def require_within(
    limits: Limits,
    work: Iterable[Work],
    keys: Sequence[bytes] = (),
    cursor: Cursor | None = None,
    put: Sequence[Put] = (),
) -> None:
    """One transaction: `work` appended, `keys` ended, cursor and values beside them. Raises ItemTooLarge."""
    total = len(keys) + len(put)
    names, key_bytes, body_bytes = [], [len(key) for key in keys], []
    for each in work:
        names.append(len(each.topic))
        total += len(each.items)
        key_bytes += [len(item.key) for item in each.items]
        body_bytes += [len(item.body) for item in each.items]
    for value in put:
        names.append(len(value.table))
        key_bytes.append(len(value.key))
        body_bytes.append(len(value.value or b""))
    if cursor is not None:
        names.append(len(cursor[0]))
        body_bytes.append(len(cursor[1]))
    for what, got, limit in (
        ("items in one transaction", total, limits.max_items),
        ("characters of a name", max(names, default=0), limits.max_name),
        ("bytes of a key", max(key_bytes, default=0), limits.max_key),
        ("bytes of a body", max(body_bytes, default=0), limits.max_body),
    ):
        if got > limit:
            raise ItemTooLarge(what, got, limit)


def require_names(limits: Limits, *names: str) -> None:
    """Topics, owners and leads. Raises ItemTooLarge."""
    require_within(limits, [Work(name, ()) for name in names])
