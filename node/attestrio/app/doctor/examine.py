"""All checks of a subject, in the order in which somebody would mend what they find."""

from __future__ import annotations

from functools import partial

from attestrio.app.doctor import above, far, machine, past
from attestrio.app.doctor.finding import Finding, fail, ok
from attestrio.app.doctor.holder import holder_of
from attestrio.app.doctor.ports import port
from attestrio.app.doctor.subject import Subject
from attestrio.app.files import attester_key, genesis_of_file
from attestrio.app.gossip import node_secret
from attestrio.config import BadConfig, NodeConfig
from attestrio.gossip.rules import outbound_of
from attestrio.kit.blocking import in_thread


async def examine(subject: Subject) -> list[Finding]:
    """Look at everything: some seconds, of which the disk takes 2 at most and who does not answer the most."""
    holder = await in_thread(partial(holder_of, subject.data_dir))
    found = _configuration(subject)
    found += await in_thread(partial(_machine, subject, holder))
    for key, bind in subject.binds:
        found.append(await port(key, bind, holder))
    found += await far.at_once(subject.addresses, lambda one: far.address(*one))
    if subject.l1 is not None:
        from attestrio.app.doctor.ethereum import chain

        found += await chain(subject.l1)
    if subject.node is not None:
        found += await _node(subject.node, subject)
    return found


def _configuration(subject: Subject) -> list[Finding]:
    todo = "`attestrio config show` prints all keys"
    missing = [fail("config", "", text, todo) for text in subject.missing]
    return missing or [ok("config", "", f"complete, of a{'n' if subject.kind[0] in 'ao' else ''} {subject.kind}")]


def _machine(subject: Subject, holder: int | None) -> list[Finding]:
    place = subject.data_dir
    owner = machine.owner_of(place)
    disk = () if machine.is_closed(place) else (machine.file_system, machine.room, machine.disk_sync)
    return [
        machine.data_dir(place, holder),
        *(look(place) for look in disk),
        *(machine.secret_file(key, path, owner) for key, path in subject.secret_files),
        *(machine.readable_file(key, path) for key, path in subject.files),
        *(machine.program(key, path) for key, path in subject.programs),
        machine.swap(),
        machine.descriptors(place),
    ]


async def _node(config: NodeConfig, subject: Subject) -> list[Finding]:
    """What only a node has."""
    heard = await above.main_nodes(config.main_node)
    found = [one.finding for one in heard] + [one.clock for one in heard if one.clock is not None]
    try:
        of_file = genesis_of_file(config)
    except BadConfig as exc:
        of_file = None
        found.append(fail("genesis", "", str(exc), "correct genesis.file"))
    agreed, genesis = above.agreement(config.main_node, heard, of_file)
    found.append(agreed)
    key_known, key = True, None
    try:
        secret = attester_key(config)
        key = None if secret is None else secret.public()
        found.append(past.committee(key, genesis))
    except BadConfig as exc:
        key_known = False
        found.append(fail("key", "", str(exc), "correct keys.attester_file"))
    if machine.is_closed(subject.data_dir):
        text = "nobody can say: the data directory cannot be looked into"
        found.append(fail("history", str(subject.data_dir), text, "run doctor as the user of the process"))
    else:
        if key_known:
            found.append(await in_thread(partial(past.history, key, config)))
        found += [past.halt(subject.data_dir), past.rollback(subject.data_dir)]
    if config.gossip is not None:
        try:
            node_secret(config)
        except BadConfig as exc:
            found.append(fail("key", "", str(exc), "correct gossip.node_key_file"))
        found += await far.peers(outbound_of(config.gossip.static_outbound))
    return found
