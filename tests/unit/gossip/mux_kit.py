"""What the tests of the mux and of calls share: rates, a machine that is up, a peer made of bytes."""

from __future__ import annotations

from attestrio.gossip.limiter import UNLIMITED, Rate
from attestrio.gossip.mux.handshake import encode_hello
from attestrio.gossip.mux.machine import Mux
from attestrio.gossip.mux.stream import Data, Ended, Half, Opened

NEVER = Rate(burst=0, refresh_s=1.0)


def halves(offer, rate=UNLIMITED):
    return {id_: Half(count, rate) for id_, count in offer.items()}


def events_of(mux):
    events = []
    while (event := mux.next_event()) is not None:
        events.append(event)
    return events


def fed(mux, data, now=0.0):
    mux.feed(data, now)
    return events_of(mux)


def raised_mux(accept=None, connect=None, rate=UNLIMITED, now=0.0):
    """A machine whose peer offers the same from the other side, with everything sent that begins a connection."""
    mux = Mux(halves(accept or {}, rate), halves(connect or {}, rate), now)
    mux.feed(encode_hello(connect or {}, accept or {}), now)
    mux.take_output()
    return mux


def told(events):
    """Events as text and bytes, neighbouring data put together."""
    seen = []
    for event in events:
        if isinstance(event, Opened):
            seen.append("opened")
        elif isinstance(event, Ended):
            seen.append("ended")
        elif isinstance(event, Data) and seen and isinstance(seen[-1], bytes):
            seen[-1] += event.data
        else:
            seen.append(event.data)
    return seen
