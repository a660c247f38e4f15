"""What a whole node does about its own key in strange hands, and about a main node that leads it astray."""

import msgspec
import trio
from app_kit import KEY, Site, genesis_of
from attestrio.app.succession import GenesisOfOtherChain
from attestrio.protection.clone import CloneSeen
from attestrio.protection.halt import Halted, read_halt
from attestrio.roles import Batch, BatchHash, BatchNumber


class Silent:
    """A link that carries nothing: the test brings votes itself."""

    async def run(self, votes, *, task_status=trio.TASK_STATUS_IGNORED):
        task_status.started()
        await trio.sleep_forever()


def strange_vote(genesis, number):
    return KEY.sign_batch(Batch(BatchNumber(number), BatchHash(b"\x99" * 32), genesis.hash()))


async def test_vote_by_our_own_key_that_we_did_not_make_halts_the_node_before_the_next_signature(
    nursery, tmp_path, autojump_clock
):
    site = Site(nursery, tmp_path)
    node = await site.start(link=Silent())
    epoch = await node.wait_epoch()
    await trio.sleep(2.5)
    made = [vote.batch.number for vote in epoch.votes.votes()]

    epoch.votes.add([strange_vote(site.genesis, 40)])
    site.told.number = 41
    await site.gone.wait()

    assert made == [0]
    assert isinstance(site.ended, CloneSeen)
    assert site.ended.exit_code == 70
    assert read_halt(tmp_path / "data").code == "clone_seen"
    assert [vote.batch.number for vote in epoch.votes.votes() if vote.batch.number == 41] == []


async def test_halted_node_refuses_to_start_again(nursery, tmp_path, autojump_clock):
    site = Site(nursery, tmp_path)
    node = await site.start(link=Silent())
    epoch = await node.wait_epoch()
    epoch.votes.add([strange_vote(site.genesis, 40)])
    await site.gone.wait()

    refused = await site.refused()

    assert isinstance(refused, Halted)
    assert refused.exit_code == 70


async def test_halt_that_somebody_else_writes_stops_the_next_vote(nursery, tmp_path, autojump_clock):
    site = Site(nursery, tmp_path)
    node = await site.start(link=Silent())
    epoch = await node.wait_epoch()
    await trio.sleep(2.5)

    (tmp_path / "data" / "HALT").write_text("stop")
    site.told.number = 1
    await site.gone.wait()

    assert isinstance(site.ended, Halted)
    assert [vote for vote in epoch.votes.votes() if vote.batch.number == 1] == []


async def test_nothing_is_signed_before_listening_is_over(nursery, tmp_path, autojump_clock):
    site = Site(nursery, tmp_path)
    config = site.config()
    config = msgspec.structs.replace(config, protection=msgspec.structs.replace(config.protection, listen_s=30.0))
    node = await site.start(config, link=Silent())
    epoch = await node.wait_epoch()

    await trio.sleep(29.0)
    before = epoch.votes.votes()
    await trio.sleep(5.0)

    assert before == []
    assert [int(vote.batch.number) for vote in epoch.votes.votes()] == [0]


async def test_fork_far_above_the_one_in_force_is_not_followed(nursery, tmp_path, autojump_clock):
    site = Site(nursery, tmp_path)
    node = await site.start()
    epoch = await node.wait_epoch()

    site.told.genesis = genesis_of(fork=2**64 - 1)
    await trio.sleep(100.0)

    assert node.epoch.value is epoch
    assert site.ended is None


async def test_operator_leads_a_node_back_from_a_fork_that_never_was(nursery, tmp_path, autojump_clock):
    site = Site(nursery, tmp_path)
    await site.start()
    site.told.genesis = genesis_of(fork=900)
    await trio.sleep(20.0)
    await site.stop()
    site.told.genesis = site.genesis
    site.pin(genesis_of(fork=1))

    refused = await site.refused(msgspec.structs.replace(site.config(serve=True), keys=site.config().keys))
    node = await site.start(accept_genesis=genesis_of(fork=1).hash())
    epoch = await node.wait_epoch()

    assert isinstance(refused, GenesisOfOtherChain)
    assert "--accept-genesis" in str(refused)
    assert epoch.genesis.fork_number == 1
