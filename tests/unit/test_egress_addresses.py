"""The table of forbidden blocks, and what an operator opens."""

from ipaddress import ip_address, ip_network

import pytest

from offload.core.errors import WrongSetting
from offload.egress.addresses import FORBIDDEN_BLOCKS, AllowList
from tests.egress.vectors import CLOSED_ADDRESSES, OPEN_V4, OPEN_V4_TOO, OPEN_V6

OPEN_NEIGHBOURS = (
    # just outside the blocks
    "1.0.0.0", "9.255.255.255", "11.0.0.0", "100.63.255.255", "100.128.0.0", "126.255.255.255", "128.0.0.0",
    "169.253.255.255",
    "169.255.0.0", "172.15.255.255", "172.32.0.0", "191.255.255.255", "192.0.1.0", "192.0.3.0", "192.88.98.255",
    "192.88.100.0",
    "192.167.255.255", "192.169.0.0", "198.17.255.255", "198.20.0.0", "198.51.99.255", "198.51.101.0", "203.0.112.255",
    "203.0.114.0", "223.255.255.255", "168.63.129.15", "168.63.129.17",
    "2001:200::", "2001:db7:ffff::", "2001:db9::", "2003::", "2600::1", "2a00::1", "3ffe::1", "64:ff9a::1", "fbff::1",
    OPEN_V4, OPEN_V4_TOO, OPEN_V6, f"::ffff:{OPEN_V4}",
)  # fmt: skip


@pytest.mark.parametrize("address", CLOSED_ADDRESSES)
def test_a_private_or_special_address_is_closed(address: str) -> None:
    assert AllowList().why_not(address, host="a.test")


@pytest.mark.parametrize("address", OPEN_NEIGHBOURS)
def test_a_public_address_is_open(address: str) -> None:
    assert AllowList().why_not(address, host="a.test") is None


def test_the_first_and_the_last_address_of_every_block_are_closed() -> None:
    for block in FORBIDDEN_BLOCKS:
        if block != ip_network("::ffff:0:0:0/96"):
            assert AllowList().why_not(str(block[0]), host="a.test"), block
        assert AllowList().why_not(str(block[-1]), host="a.test"), block


def test_what_python_calls_private_is_closed() -> None:
    for text in (
        "10.0.0.1",
        "127.0.0.1",
        "169.254.1.1",
        "fc00::1",
        "fe80::1",
        "::1",
        "2001:db8::1",
        "192.168.1.1",
        "240.0.0.1",
    ):
        assert not ip_address(text).is_global and AllowList().why_not(text, host="a.test")


@pytest.mark.parametrize("text", ["", "a", "127.1", "0177.0.0.1", "fe80::1%eth0", "::1%lo", "1.2.3.4/32"])
def test_what_is_no_plain_address_is_closed(text: str) -> None:
    assert AllowList().why_not(text, host="a.test")


def test_an_operator_opens_networks_and_hosts() -> None:
    allow = AllowList.parse(["10.2.0.0/16", "127.0.0.1", "fd00::/8", "Partner.Internal."])
    assert allow.why_not("10.2.3.4", host="a.test") is None
    assert allow.why_not("::ffff:10.2.3.4", host="a.test") is None
    assert allow.why_not("127.0.0.1", host="a.test") is None
    assert allow.why_not("fd12::1", host="a.test") is None
    assert allow.why_not("192.168.0.1", host="partner.internal") is None
    assert allow.why_not("192.168.0.1", host="partner.internal.") is None
    for address, host in (("10.3.0.1", "a.test"), ("127.0.0.2", "a.test"), ("192.168.0.1", "x.partner.internal")):
        assert allow.why_not(address, host=host)


def test_every_entry_that_opens_nothing_is_named() -> None:
    with pytest.raises(WrongSetting) as raised:
        AllowList.parse(["10.0.0.1/8", "a b", "127.1", "http://a/", "fine.test"])
    assert [line.split("'")[1] for line in str(raised.value).splitlines()] == [
        "10.0.0.1/8",
        "a b",
        "127.1",
        "http://a/",
    ]
