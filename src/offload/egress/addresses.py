"""Which addresses nobody's URL may reach: the table of forbidden blocks, and what the operator opens again."""

import re
from collections.abc import Sequence
from dataclasses import dataclass
from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network, ip_address, ip_network

from offload.core.errors import WrongSetting

# A table of our own: `ipaddress.is_global` calls several of these global, and changes between versions of Python.
FORBIDDEN_BLOCKS: tuple[IPv4Network | IPv6Network, ...] = tuple(
    ip_network(block)
    for block in (
        "0.0.0.0/8", "10.0.0.0/8", "100.64.0.0/10", "127.0.0.0/8", "169.254.0.0/16", "172.16.0.0/12", "192.0.0.0/24",
        "192.0.2.0/24", "192.88.99.0/24", "192.168.0.0/16", "198.18.0.0/15", "198.51.100.0/24", "203.0.113.0/24",
        "224.0.0.0/4", "240.0.0.0/4",
        "168.63.129.16/32",  # a cloud's own services, at an address that looks like any other
        "::/96", "::ffff:0:0:0/96", "64:ff9b::/96", "64:ff9b:1::/48", "100::/64", "2001::/23", "2001:db8::/32",
        "2002::/16", "3fff::/20", "5f00::/16", "fc00::/7", "fe80::/10", "fec0::/10", "ff00::/8",
    )
)  # fmt: skip
_NAME = re.compile(r"(?=.{1,253}$)[a-z0-9_]([a-z0-9_-]{0,61}[a-z0-9_])?(\.[a-z0-9_]([a-z0-9_-]{0,61}[a-z0-9_])?)*")


@dataclass(frozen=True, slots=True, kw_only=True)
class AllowList:
    """What an operator opens in spite of the table: networks, and hosts wherever they are."""

    networks: tuple[IPv4Network | IPv6Network, ...] = ()
    names: frozenset[str] = frozenset()

    @classmethod
    def parse(cls, entries: Sequence[str]) -> "AllowList":
        """Read `10.2.0.0/16`, `::1` or `partner.internal`, or raise WrongSetting that names every mistake."""
        networks: list[IPv4Network | IPv6Network] = []
        names: set[str] = set()
        problems: list[str] = []
        for entry in entries:
            text = entry.strip().lower().rstrip(".")
            try:
                networks.append(ip_network(text))
            except ValueError as error:
                if _NAME.fullmatch(text) and not text.rpartition(".")[2].isdigit():
                    names.add(text)
                else:
                    problems.append(f"egress_allow: {entry!r} is neither a network nor a host name: {error}")
        if problems:
            raise WrongSetting("\n".join(problems))
        return cls(networks=tuple(networks), names=frozenset(names))

    def why_not(self, address: str, *, host: str) -> str | None:
        """Say why nobody may connect to this address on behalf of this host; None when they may."""
        try:
            found = unwrapped(ip_address(address))
        except ValueError:
            return f"{address!r} is not an address"
        if host.rstrip(".") in self.names or any(found in network for network in self.networks):
            return None
        for block in FORBIDDEN_BLOCKS:
            if found in block:
                return f"{found} is in {block}, which is closed; the setting egress_allow opens addresses and hosts"
        return None


def unwrapped(address: IPv4Address | IPv6Address) -> IPv4Address | IPv6Address:
    """Return the IPv4 address that an IPv4-mapped IPv6 address stands for; every other as it is."""
    return getattr(address, "ipv4_mapped", None) or address
