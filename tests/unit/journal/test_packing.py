"""What is sent to the script of the journal on Redis is MessagePack of the old kind, byte for byte."""

import msgspec
from attestrio.journal.redis.packing import pack
from hypothesis import given
from hypothesis import strategies as st

texts = st.text(st.characters(codec="utf-8"), max_size=20)
values = st.recursive(
    texts | st.integers(-(2**63), 2**63 - 1), lambda inner: st.lists(inner, max_size=4), max_leaves=20
)


@given(arguments=st.dictionaries(texts, values, max_size=4))
def test_text_numbers_and_lists_are_read_back(arguments):
    assert msgspec.msgpack.decode(pack(arguments)) == arguments


def test_bytes_are_marked_like_text_because_the_script_knows_no_other_mark():
    assert pack({"k": b"\xff\x00"}) == bytes.fromhex("df00000001 db00000001 6b db00000002 ff00")


def test_what_is_none_is_left_out():
    assert pack({"a": None, "b": 1, "c": None}) == pack({"b": 1})
