"""Row 20 of Aligned's list: Go's own net/rpc and the real aggregator. The other direction is with the operator."""

from dataclasses import replace

import go_peer
import trio
from aligned_kit import line_of, response_of, world_of
from anvil_kit import needs_anvil
from attestrio.bls import SecretKey, operator_id
from attestrio.gorpc.messages import Point
from suite import needs, patient

pytestmark = [*needs_anvil, needs(go_peer.GO)]

P_LIMBS = (0x3C208C16D87CFD47, 0x97816A916871CA8D, 0xB85045B68181585D, 0x30644E72E131A029)  # of the field's prime
STARTING = "99 temporary: starting"  # until it has read its journal
LIMIT_S = patient(60.0)
BAD_SIGNATURE = "99 permanent: bad signature"
UNREADABLE = (
    "31 elements", "33 elements", "string for array", "element above 255", "nothing in common", "no struct",
    "no struct, a number",
)  # fmt: skip
NO_SIGNATURE = "99 invalid response: nil signature"  # as in upstream's own words
NOT_IN_QUORUM = "99 permanent: not in quorum"
BAD_IDENTIFIER = "99 permanent: bad batch identifier"


async def say(peer, *words):
    """What the Go program reports: name → reply and error text; 99 is a reply that was not touched."""
    done = await trio.run_process([peer, *words], capture_stdout=True, capture_stderr=True)
    return dict(line.split(": ", 1) for line in done.stdout.decode().splitlines())


async def test_row_20_a_go_client_is_told_what_go_operators_expect_and_its_signatures_answer_a_batch(tmp_path):
    peer = go_peer.build(tmp_path)
    with trio.fail_after(LIMIT_S):
        async with world_of(tmp_path, block_s=0.5) as world:
            aggregator = await world.aggregator()
            await world.operators(4, aggregator.address)
            await aggregator.start()
            world.nursery.start_soon(world.mine_for_ever)
            (identifier,) = await world.post(0)
            (other,) = await world.post(1)

            async def known():
                readings = await aggregator.metrics()
                return readings.value("aggregator_operator_keys") == 4 and readings.value("aggregator_open_tasks") == 2

            await world.until(known, 20)
            batch = world.posted[identifier]
            one, *others = (response_of(member, identifier, batch) for member in world.members)
            stranger = replace(one, operator_id=operator_id(SecretKey(99).public_g1()))
            wrong = response_of(world.members[0], identifier, batch, signed=other)
            cases = {
                "stranger": stranger,
                "of another batch": wrong,
                "another identifier": replace(one, batch_identifier_hash=other),
                "no signature": replace(one, signature=None),
                "zero point": replace(one, signature=Point((0,) * 4, (0,) * 4)),
                "not on the curve": replace(one, signature=Point((1, 0, 0, 0), (1, 0, 0, 0))),
                "limb too large": replace(one, signature=Point(P_LIMBS, one.signature.y)),
                "good": one,
                "good again": one,
                "another after it": wrong,
            }
            file = tmp_path / "responses"
            file.write_bytes(b"\n".join(line_of(response, name) for name, response in cases.items()))

            said = await say(peer, "respond", aggregator.address, file)

            assert said == {
                "stranger": "99 temporary: operator not known yet",
                "of another batch": BAD_SIGNATURE, "another identifier": BAD_IDENTIFIER,
                "no signature": NO_SIGNATURE, "zero point": BAD_SIGNATURE, "not on the curve": BAD_SIGNATURE,
                "limb too large": BAD_SIGNATURE, "good": "0", "good again": "0", "another after it": BAD_SIGNATURE,
            }  # fmt: skip
            file.write_bytes(line_of(stranger, "stranger"))

            async def refused():  # once the quorum of the batch is read
                return await say(peer, "respond", aggregator.address, file) == {"stranger": NOT_IN_QUORUM}

            await world.until(refused, 20)
            file.write_bytes(b"\n".join(line_of(response, "other") for response in others))
            assert await say(peer, "respond", aggregator.address, file) == {"other": "0"}
            await world.until_answered(30, [identifier])
            assert await world.pending() == {other}


async def test_row_20_what_go_sends_and_no_operator_would_costs_that_call_only(tmp_path):
    peer = go_peer.build(tmp_path)
    with trio.fail_after(LIMIT_S):
        async with world_of(tmp_path) as world:
            aggregator = await world.aggregator()
            await aggregator.start()

            said = await say(peer, "call", aggregator.address)
            while STARTING in said.values():
                said = await say(peer, "call", aggregator.address)
            large = await say(peer, "too-large", aggregator.address)
            after = await say(peer, "call", aggregator.address)

            assert {name: text for name, text in said.items() if not text.startswith("99 ")} == {
                "running": "1", "after drop": "1", "concurrent": "[0 0 0 0]",
                "missing": "1 rpc: can't find method Aggregator.Missing",
                "drop": "1 rpc: can't find method Aggregator.Drop",
            }  # fmt: skip
            assert {said[name] for name in ("sample", "zero point", "no operator", "sample again")} == {BAD_SIGNATURE}
            assert {said[name] for name in ("nil signature", "nil affine", "empty struct", "more fields")} == {
                NO_SIGNATURE
            }
            assert all(said[name].startswith("99 gob: ") for name in UNREADABLE)
            assert large["1 MiB"].startswith("0 ")  # that connection is closed
            assert after == said
