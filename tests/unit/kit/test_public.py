"""Connections for strangers' URLs: which addresses count as public, and that only those are connected to."""

import ssl
from functools import partial

import httpcore
import httpx
import pytest
import trio
import trio.testing
from attestrio.kit.http import AddressNotPublic, client
from attestrio.kit.public import MAX_ADDRESSES, PublicBackend, is_public

PUBLIC = ["93.184.216.34", "1.1.1.1", "2606:4700:4700::1111", "::ffff:1.1.1.1", "64:ff9b::101:101"]
INSIDE = [
    "127.0.0.1", "127.8.8.8", "0.0.0.0", "10.1.2.3", "172.16.0.1", "192.168.1.1", "169.254.169.254", "100.64.0.1",
    "224.0.0.1", "239.1.1.1", "255.255.255.255", "240.0.0.1", "::", "::1", "fe80::1", "fe80::1%eth0", "fc00::1",
    "fd00:ec2::254", "ff02::1", "::ffff:127.0.0.1", "::ffff:a9fe:a9fe", "64:ff9b::7f00:1", "64:ff9b::a9fe:a9fe",
    "2002:7f00:1::", "2002:0a00:0001::1", "localhost", "",
]  # fmt: skip


class Wire(httpcore.AsyncNetworkBackend):
    """Connects to nothing; `asked` is every address in order. `away` refuse, `silent` never answer."""

    def __init__(self, away=(), silent=(), stream=None):
        self.asked, self.away, self.silent = [], away, silent
        self.stream = stream or httpcore.AsyncMockStream([b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nok"])

    async def connect_tcp(self, host, port, timeout=None, local_address=None, socket_options=None):
        await trio.lowlevel.checkpoint()
        self.asked.append((host, port))
        if host in self.away:
            raise httpcore.ConnectError("refused")
        if host in self.silent:
            with trio.move_on_after(timeout):
                await trio.sleep_forever()
            raise httpcore.ConnectTimeout
        return self.stream


def says(*addresses):
    async def resolve(host, port):
        await trio.lowlevel.checkpoint()
        return addresses

    return resolve


@pytest.mark.parametrize("address", PUBLIC)
def test_public(address):
    assert is_public(address)


@pytest.mark.parametrize("address", INSIDE)
def test_not_public(address):
    assert not is_public(address)


async def test_the_connection_goes_to_the_address_that_was_looked_at():
    wire = Wire()

    await PublicBackend(says("1.1.1.1"), wire).connect_tcp("rebound.example", 80)

    assert wire.asked == [("1.1.1.1", 80)]


async def test_private_addresses_of_a_name_that_has_public_ones_too_are_left_out():
    wire = Wire(away=["1.1.1.1"])

    await PublicBackend(says("127.0.0.1", "1.1.1.1", "10.0.0.1", "8.8.8.8"), wire).connect_tcp("mixed.example", 80)

    assert wire.asked == [("1.1.1.1", 80), ("8.8.8.8", 80)]


@pytest.mark.parametrize("found", [[], ["127.0.0.1", "::1"], ["169.254.169.254"]])
async def test_a_name_without_a_public_address_is_not_connected_to(found):
    wire = Wire()

    with pytest.raises(AddressNotPublic) as caught:
        await PublicBackend(says(*found), wire).connect_tcp("inside.example", 80)

    assert wire.asked == []
    assert caught.value.addresses == tuple(found)


async def test_all_addresses_together_get_the_time_of_one_connection(autojump_clock):
    many = [f"1.1.1.{number}" for number in range(20)]
    wire = Wire(silent=many)

    with pytest.raises(httpcore.ConnectTimeout):
        await PublicBackend(says(*many), wire).connect_tcp("many.example", 80, timeout=8.0)

    assert (len(wire.asked), trio.current_time()) == (MAX_ADDRESSES, 8.0)


async def test_a_resolver_that_is_silent_costs_the_time_of_a_connection(autojump_clock):
    async def silent(host, port):
        await trio.sleep_forever()

    with pytest.raises(httpcore.ConnectTimeout):
        await PublicBackend(silent, Wire()).connect_tcp("slow.example", 80, timeout=8.0)

    assert trio.current_time() == 8.0


async def test_a_certificate_is_checked_against_the_name_and_not_the_address():
    class Tls(httpcore.AsyncMockStream):
        async def start_tls(self, ssl_context, server_hostname=None, timeout=None):
            named.append((server_hostname, ssl_context.check_hostname, ssl_context.verify_mode))
            return self

    named = []
    transport = httpx.AsyncHTTPTransport()
    stream = Tls([b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nok"])
    transport._pool._network_backend = PublicBackend(says("1.1.1.1"), Wire(stream=stream))
    async with client("https://batches.example", transport=transport) as http:
        assert (await http.get("https://batches.example/x")).text == "ok"

    assert named == [("batches.example", True, ssl.CERT_REQUIRED)]


@pytest.mark.parametrize("url", ["http://127.0.0.1:{}/", "https://127.0.0.1:{}/"])
async def test_a_client_for_public_addresses_knocks_at_no_private_one(url):
    async with trio.open_nursery() as nursery:
        knocked = []

        async def handle(stream):
            knocked.append(stream)

        (listener,) = await nursery.start(partial(trio.serve_tcp, host="127.0.0.1"), handle, 0)
        url = url.format(listener.socket.getsockname()[1])
        async with client(url, public_only=True) as http:
            with pytest.raises(AddressNotPublic):
                await http.get(url)
        await trio.testing.wait_all_tasks_blocked()
        nursery.cancel_scope.cancel()

    assert knocked == []
