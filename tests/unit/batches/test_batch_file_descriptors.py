"""A batch file in a process that has no descriptor left."""

import resource
import tempfile

import pytest
from attestrio.batches.file import BatchFileUnreadable
from attestrio.batches.local import LocalBatches
from attestrio.kit.blocking import inline
from attestrio.roles import GenesisHash


async def test_a_file_that_cannot_be_opened_for_want_of_a_descriptor_is_not_called_wrong(tmp_path):
    path = tmp_path / "batches.jsonl"
    path.write_text("")
    batches = LocalBatches(path, GenesisHash(bytes(32)), inline)
    limits = resource.getrlimit(resource.RLIMIT_NOFILE)

    with tempfile.TemporaryFile() as highest:  # no number above it is given out
        resource.setrlimit(resource.RLIMIT_NOFILE, (highest.fileno(), limits[1]))
        try:
            with pytest.raises(BatchFileUnreadable, match="Too many open files"):
                await batches.check()
        finally:
            resource.setrlimit(resource.RLIMIT_NOFILE, limits)

    await batches.check()
