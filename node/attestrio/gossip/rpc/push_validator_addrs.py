"""push_validator_addrs: where validators say they can be reached.

The signatures are BLS12-381 and this node has no use for the addresses: they are read, bounded, and dropped.
"""

from __future__ import annotations

from dataclasses import dataclass
from ipaddress import IPv4Address, IPv6Address, ip_address
from typing import Final

from attestrio.gossip.limiter import Rate
from attestrio.gossip.rpc.blocks import SIGNATURE_SIZE
from attestrio.gossip.rpc.errors import DuplicateAnnouncement
from attestrio.gossip.rpc.parse import check_length, parse_untrusted
from attestrio.gossip.rpc.spec import KB, RpcSpec
from attestrio.roles import NumberOutOfRange, ValidatorPublicKey, WrongLength
from attestrio.roles.conv import read, required
from attestrio.schema import rpc_pb2, std_pb2, validator_pb2

PUSH_VALIDATOR_ADDRS: Final = RpcSpec(
    "push_validator_addrs",
    capability=1,
    inflight=1,
    rate=Rate(burst=1, refresh_s=5.0),
    max_req=100 * KB,
    max_resp=KB,
)
PORT_MAX: Final = 65535
NANOS_MAX: Final = 999_999_999


@dataclass(frozen=True, slots=True)
class Announcement:
    """A validator's address, signed by somebody who may be that validator. The newer (version, time) counts."""

    validator: ValidatorPublicKey
    ip: IPv4Address | IPv6Address
    port: int
    version: int
    seconds: int  # since 1970, negative before
    nanos: int


def request_untrusted(body: bytes) -> tuple[Announcement, ...]:
    """Every announcement, in order, no signature checked. Raises DecodeFailed, DuplicateAnnouncement for all of them.

    All are read before one is compared with another.
    """
    message = parse_untrusted(rpc_pb2.PushValidatorAddrs, body)
    announced = tuple(_announcement(signed) for signed in message.net_addresses)
    seen: set[ValidatorPublicKey] = set()
    for one in announced:
        if one.validator in seen:
            raise DuplicateAnnouncement(one.validator.to_text())
        seen.add(one.validator)
    return announced


def _announcement(signed: validator_pb2.Signed) -> Announcement:
    required(signed, "msg", "key", "sig")
    required(signed.sig, "bn254")
    check_length("validator's signature", signed.sig.bn254, SIGNATURE_SIZE)
    required(signed.msg, "net_address")
    address = signed.msg.net_address
    required(address, "addr", "version", "timestamp")
    ip, port = _socket_address(address.addr)
    required(address.timestamp, "seconds", "nanos")
    if not 0 <= address.timestamp.nanos <= NANOS_MAX:
        raise NumberOutOfRange("nanos", address.timestamp.nanos, NANOS_MAX)
    key = read(ValidatorPublicKey, signed.key)
    return Announcement(key, ip, port, address.version, address.timestamp.seconds, address.timestamp.nanos)


def _socket_address(message: std_pb2.SocketAddr) -> tuple[IPv4Address | IPv6Address, int]:
    required(message, "ip", "port")
    if len(message.ip) not in (4, 16):
        raise WrongLength("ip address", len(message.ip), 16)
    if message.port > PORT_MAX:
        raise NumberOutOfRange("port", message.port, PORT_MAX)
    return ip_address(message.ip), message.port
