"""Taking over the position of an operator written in Go."""

import json

import pytest
import trio
from attestrio.journal import SqliteJournal
from attestrio.kit.blocking import inline
from attestrio.l1.place import Place
from attestrio.operator import rows
from attestrio.operator.errors import OldPositionUnreadable
from attestrio.operator.migrate import MARGIN, migrate


@pytest.fixture
async def journal(nursery, tmp_path):
    made = SqliteJournal(tmp_path / "operator.db", inline)
    await nursery.start(made.run)
    return made


async def place_of(journal):
    raw = await journal.cursor(rows.SCAN)
    return None if raw is None else Place.from_bytes(raw)


async def test_the_scan_goes_on_before_the_old_position_and_the_file_is_set_aside(journal, tmp_path):
    file = tmp_path / "last_processed_batch.json"
    file.write_text('{"block_number":20000}')

    assert await migrate(journal, file, 0)

    assert (await place_of(journal)).next_block == 20_000 - MARGIN
    assert not file.exists()
    assert json.loads((tmp_path / "last_processed_batch.json.migrated").read_text()) == {"block_number": 20_000}


async def test_it_is_read_only_once(journal, tmp_path):
    file = tmp_path / "old.json"
    file.write_text('{"block_number":20000}')
    await migrate(journal, file, 0)
    file.write_text('{"block_number":90000}')

    assert not await migrate(journal, file, 0)

    assert (await place_of(journal)).next_block == 20_000 - MARGIN
    assert not file.exists()


async def test_a_crash_before_the_file_is_renamed_changes_nothing(journal, tmp_path, monkeypatch):
    file = tmp_path / "old.json"
    file.write_text('{"block_number":20000}')
    with monkeypatch.context() as patch:
        patch.setattr("attestrio.operator.migrate._set_aside", lambda file: None)
        await migrate(journal, file, 0)
    await journal.append(rows.WORK, (), cursor=(rows.SCAN, Place(30_000).to_bytes()))

    assert not await migrate(journal, file, 0)

    assert (await place_of(journal)).next_block == 30_001
    assert not file.exists()


@pytest.mark.parametrize(("block", "first", "begins"), [(50, 0, 0), (0, 0, 0), (1000, 5000, 5000)])
async def test_it_never_begins_before_the_first_block(journal, tmp_path, block, first, begins):
    file = tmp_path / "old.json"
    file.write_text(json.dumps({"block_number": block}))

    await migrate(journal, file, first)

    assert (await place_of(journal)).next_block == begins


@pytest.mark.parametrize(
    "text", ["", '{"block_nu', "{}", '{"block_number":-1}', '{"block_number":"7"}', "[]", "\xff" * 9]
)
async def test_half_a_file_is_left_alone_and_named(journal, tmp_path, text):
    file = tmp_path / "old.json"
    file.write_text(text, "latin-1")

    with pytest.raises(OldPositionUnreadable):
        await migrate(journal, file, 0)

    assert file.exists()
    assert await place_of(journal) is None


async def test_no_file_is_nothing_to_migrate(journal, tmp_path):
    await trio.lowlevel.checkpoint()

    assert not await migrate(journal, tmp_path / "absent.json", 0)
