"""URLs that were written to get where they must not, and some that are right: data for every test of the door."""

from dataclasses import dataclass

LOCAL_PORT = 8080
"""A port on which the tests listen, on every address that a hostile URL may mean."""
OPEN_V4, OPEN_V4_TOO, OPEN_V6 = "93.184.216.34", "1.1.1.1", "2606:2800:220:1:248:1893:25c8:1946"
"""Public addresses: in a network of its own a test gives them to itself."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Vector:
    url: str
    reaches: str | None = None
    """The address that a connection must lead to; None: there must be none."""

    @property
    def name(self) -> str:
        return self.url.encode("unicode_escape").decode()[:100]


MISSPELT: tuple[str, ...] = (
    # IPv4 as numbers that only some readers take for addresses
    "http://2130706433/", "http://017700000001/", "http://0x7f000001/", "http://0X7F000001/", "http://0x7f.0.0.1/",
    "http://0x7f.0x0.0x0.0x1/", "http://0177.0.0.1/", "http://0177.0000.0000.0001/", "http://00177.0.0.01/",
    "http://127.1/", "http://127.0.1/", "http://127.0x1/", "http://127.0.0.01/", "http://127.0.0.001/",
    "http://127.00.0.1/",
    "http://0/", "http://00/", "http://0x0/", "http://0x/", "http://1/", "http://10.1/", "http://10.65536/",
    "http://0.0/", "http://0.0.0/", "http://4294967295/", "http://4294967296/", "http://3232235521/",
    "http://2852039166/", "http://0xa9fea9fe/", "http://0xA9.0xFE.0xA9.0xFE/", "http://0251.0376.0251.0376/",
    "http://169.254.43518/", "http://169.16689662/", "http://025177524776/", "http://169.0xfe.169.254/",
    "http://127.0.0.1.1/", "http://1.127.0.0.1/", "http://256.0.0.1/", "http://127.0.0.256/", "http://1.2.3.999/",
    "http://127.0.0.0x1/", "http://127.0.0.0x/", "http://example.com.1/", "http://example.0x7f/",
    "http://127.0.0.1./", "http://127.0.0.1../", "http://2130706433./", "http://127..0.1/", "http://.127.0.0.1/",
    "http://+127.0.0.1/", "http://-127.0.0.1/", "http://127.0.0.-1/", "http://127,0,0,1/",     "http://1e3.1/",
    "http://340282366920938463463374607431768211455/", "http://127.0.0.1:80:80/",
    # digits and dots from elsewhere in Unicode, and letters that become them
    "http://１２７.0.0.1/", "http://１２７.０.０.１/", "http://127。0。0。1/", "http://127．0．0．1/", "http://127｡0｡0｡1/",
    "http://①②⑦.⓪.⓪.①/", "http://𝟏𝟐𝟕.𝟎.𝟎.𝟏/", "http://٣.٣.٣.٣/", "http://☃.test/", "http://²130706433/",
    "http://0ｘ7f000001/", "http://1️⃣27.0.0.1/", "http://１/", "http://ⓧ.１/", "http://127.0.0.¹/",
    # what cannot be in a host
    "http://exa\u200bmple.com/", "http://exa\u00admple.com/", "http://\u202elocalhost/", "http://local\u2060host/",
    "http://exam\u0000ple.com/", "http://example.com\u0000.evil.test/", "http://exam\tple.com/",
    "http://exam\nple.com/",
    "http://127.0.0.1\r\nHost: a/", "http://127.0.0.1\n/", "http://exam ple.com/", "http://example.com /",
    "http:// example.com/",
    "http://example.com\\@127.0.0.1/", "http://127.0.0.1\\.example.com/",
    "http:\\\\127.0.0.1\\", "http://example.com\x7f/",
    "http://example.com\x85/", "http://exa\ud800mple.com/", "http://example.com%00/",
    "http://127.0.0.1%00.example.com/",
    "http://%31%32%37.0.0.1/", "http://127%2e0%2e0%2e1/", "http://%6cocalhost/", "http://localhost%2f/",
    "http://127.0.0.1%2f@a/",
    "http://example.com%23@127.0.0.1/", "http://%00/", "http://a%0d%0aHost:b/", "http://exa*mple.com/",
    "http://exa;mple.com/",
    "http://exa|mple.com/", "http://exa^mple.com/", "http://<example>.com/", "http://exa\"mple.com/", "http://a,b.com/",
    "http://a'b.com/", "http://{a}.com/", "http://a`b.com/", "http://a!b.com/", "http://a$b.com/", "http://a~b.com/",
    "http://a&b.com/", "http://a=b.com/", "http://a+b.com/", "http://(a).com/", "http://-a.com/", "http://a-.com/",
    "http://a..b/", "http://.a.com/", "http://a.com../", "http://./", "http://../", "http:///", "http://", "http://?",
    "http://#",
    "http:///example.com/", "http:////127.0.0.1/", "http:127.0.0.1", "http:/127.0.0.1/", "http:example.com",
    "//127.0.0.1/",
    "http://" + "a" * 64 + ".com/", "http://" + "a." * 127 + "com/", "http://" + "1" * 300 + "/", "http://xn--/",
    "http://xn--\u00fc/", "http://℀.com/", "http://a℁b/", "http://⑴.com/", "http://a／b.com/", "http://a？b.com/",
    "http://a＃b.com/",
    "http://a＠127.0.0.1/", "http://a：80/", "http://ａ＼b/", "http://\u2024/", "http://\u3002/",
    # brackets
    "http://[]/", "http://[/", "http://]/", "http://[::1/", "http://::1/", "http://::1]/", "http://[[::1]]/",
    "http://[::1]a/",
    "http://a[::1]/", "http://[::1].com/", "http://[127.0.0.1]/", "http://[localhost]/", "http://[::ffff:127.1]/",
    "http://[::ffff:0x7f.0.0.1]/", "http://[::ffff:127.0.0.01]/", "http://[::12345]/", "http://[1::2::3]/",
    "http://[:1]/",
    "http://[v1.a]/", "http://[vF.127.0.0.1]/", "http://[0:0:0:0:0:0:0:0:1]/", "http://[::1%25lo]/", "http://[::1%lo]/",
    "http://[fe80::1%25eth0]/", "http://[fe80::1%eth0]/", "http://[::1%2525lo]/", "http://[::1%]/", "http://[%3a%3a1]/",
    "http://[::１]/", "http://[ ::1]/", "http://[::1 ]/", "http://[::1/64]/", "http://[::1]:/", "http://[::1]:80:80/",
    # user information
    "http://user@example.com/", "http://user:pass@example.com/", "http://@127.0.0.1/", "http://:@127.0.0.1/",
    "http://@/",
    "http://example.com@127.0.0.1/", "http://example.com:80@127.0.0.1/", "http://a@b@127.0.0.1/",
    "http://[::1]@example.com/",
    "http://127.0.0.1@example.com/", "http://example.com%40127.0.0.1/", "http://user@[::1]/", "https://a:b@c:443/",
    # ports
    "http://example.com:0/", "http://example.com:1/", "http://example.com:22/", "http://example.com:25/",
    "http://example.com:53/",
    "http://example.com:23/", "http://example.com:111/", "http://example.com:445/", "http://example.com:587/",
    "http://example.com:1023/", "http://example.com:81/", "http://example.com:444/", "http://example.com:2375/",
    "http://example.com:3306/", "http://example.com:5432/", "http://example.com:6379/", "http://example.com:6667/",
    "http://example.com:9200/", "http://example.com:11211/", "http://example.com:27017/", "http://example.com:10080/",
    "http://example.com:65536/", "http://example.com:99999/", "http://example.com:4294967376/",
    "http://example.com:-80/",
    "http://example.com:+80/", "http://example.com: 80/", "http://example.com:80 /", "http://example.com:080/",
    "http://example.com:0x50/", "http://example.com:8_0/", "http://example.com:８０/", "http://example.com:/",
    "http://example.com:http/",
    "http://example.com:80\\@127.0.0.1:22/", "http://:80/", "http://example.com:80:22/", "http://example.com:²/",
    # schemes
    "ftp://example.com/", "file:///etc/passwd", "file://localhost/etc/passwd", "gopher://127.0.0.1:6379/_x",
    "dict://127.0.0.1/",
    "ldap://127.0.0.1/", "tftp://127.0.0.1/", "ws://example.com/", "wss://example.com/", "javascript:alert(1)",
    "data:text/plain,x",
    "jar:http://127.0.0.1!/", "unix:///run/docker.sock", "http+unix://%2frun%2fdocker.sock/", "httpx://example.com/",
    "http s://example.com/", " http://example.com/", "http://example.com/ ", "\thttp://example.com/",
    "http\n://example.com/",
    "https:/example.com", "://example.com/", "example.com", "/etc/passwd", "", "http", "http:", "http:/",
    "h\u0131ttp://a.com/",
    "htt\u017fp://a.com/", "http\uff1a//a.com/", "url:http://example.com/", "view-source:http://example.com/",
    "\ufeffhttp://a.com/",
    # the rest of the URL
    "http://example.com/\r\nX: y", "http://example.com/ HTTP/1.1", "http://example.com/a\\b", "http://example.com/\x00",
    "http://example.com/\x1b[2J", "http://example.com/\ud800", "http://example.com/?a b",
    "http://example.com/" + "a" * 9000,
)  # fmt: skip
"""Never used, wherever they may lead: each has more than one reading, or none."""

CLOSED_ADDRESSES: tuple[str, ...] = (
    "0.0.0.0", "0.255.255.255", "10.0.0.1", "10.255.255.255", "100.64.0.1", "100.100.100.200", "100.127.255.255",
    "127.0.0.1",
    "127.0.0.53", "127.127.127.127", "127.255.255.254", "169.254.169.254", "169.254.170.2", "169.254.0.1", "172.16.0.1",
    "172.31.255.255", "192.0.0.1", "192.0.0.192", "192.0.2.1", "192.88.99.1", "192.168.0.1", "192.168.255.255",
    "198.18.0.1",
    "198.19.255.255", "198.51.100.1", "203.0.113.1", "224.0.0.1", "239.255.255.255", "240.0.0.1", "255.255.255.255",
    "168.63.129.16",
    "::", "::1", "::7f00:1", "::127.0.0.1", "::a9fe:a9fe", "::ffff:127.0.0.1", "::ffff:7f00:1", "::ffff:10.0.0.1",
    "::ffff:169.254.169.254", "::ffff:a9fe:a9fe", "::ffff:0.0.0.0", "::ffff:192.168.0.1", "::FFFF:127.0.0.1",
    "0:0:0:0:0:ffff:7f00:1", "0000:0000:0000:0000:0000:0000:0000:0001", "0:0:0:0:0:0:0:1", "::ffff:0:127.0.0.1",
    "::ffff:0:7f00:1", "64:ff9b::127.0.0.1", "64:ff9b::7f00:1", "64:ff9b::a9fe:a9fe", "64:ff9b::8.8.8.8",
    "64:ff9b:1::1", "64:ff9b:1::a9fe:a9fe", "100::1", "2001::1", "2001:0:7f00:1::", "2001:10::1", "2001:20::1",
    "2001:1ff::1",
    "2001:db8::1", "2002::1", "2002:7f00:1::", "2002:7f00:1::1", "2002:a9fe:a9fe::1", "2002:c0a8:1::1", "3fff::1",
    "3fff:fff::1",
    "5f00::1", "fc00::1", "fd00:ec2::254", "fd12:3456:789a::1", "fe80::1", "fe80::a9fe:a9fe", "febf::1", "fec0::1",
    "feff::1",
    "ff02::1", "ff0e::1", "ffff::1",
)  # fmt: skip
"""Written as they should be, and closed."""

NAMES: dict[str, list[list[str]]] = {
    # each lookup takes the next answer, and the last one stays
    "open.test": [[OPEN_V4]],
    "both.test": [[OPEN_V6, OPEN_V4]],
    "many.test": [[OPEN_V4, OPEN_V4_TOO, OPEN_V6]],
    "xn--bcher-kva.test": [[OPEN_V4]],
    "mapped-open.test": [[f"::ffff:{OPEN_V4}"]],
    "localhost": [["127.0.0.1", "::1"]],
    "localhost.": [["127.0.0.1"]],
    "localhost.localdomain": [["127.0.0.1"]],
    "app.localhost": [["127.0.0.1"]],
    "ip6-localhost": [["::1"]],
    "metadata.test": [["169.254.169.254"]],
    "metadata.google.internal": [["169.254.169.254"]],
    "private.test": [["10.0.0.1"]],
    "private-v6.test": [["fd00:ec2::254"]],
    "mapped.test": [["::ffff:10.0.0.1"]],
    "nat64.test": [["64:ff9b::a00:1"]],
    "sixtofour.test": [["2002:a00:1::1"]],
    "any.test": [["0.0.0.0"]],
    "any-v6.test": [["::"]],
    "scoped.test": [["fe80::1%lo"]],
    "mixed.test": [[OPEN_V4, "10.0.0.1"]],
    "mixed-last.test": [[OPEN_V4, OPEN_V4_TOO, OPEN_V6, "127.0.0.1"]],
    "mixed-first.test": [["127.0.0.1", OPEN_V4]],
    "mixed-families.test": [[OPEN_V4, "::1"]],
    "mixed-mapped.test": [[OPEN_V4, "::ffff:127.0.0.1"]],
    "many-closed.test": [[OPEN_V4] * 40 + ["192.168.0.1"]],
    "nothing.test": [[]],
    "nonsense.test": [["not an address"]],
    "octal.test": [["0177.0.0.1"]],
    "short.test": [["127.1"]],
    "127.0.0.1.nip.test": [["127.0.0.1"]],
    "1.0.0.127.in-addr.arpa": [["127.0.0.1"]],
    "under_score.test": [["10.0.0.1"]],
    "a" * 63 + ".test": [["10.0.0.1"]],
    "trailing.test.": [["10.0.0.1"]],
    "intranet": [["10.0.0.1"]],
    "kubernetes.default.svc": [["10.0.0.1"]],
    "rebound.test": [["127.0.0.1"], [OPEN_V4]],
}

CLOSED_NAMES: tuple[str, ...] = (
    "localhost", "LOCALHOST", "LocalHost", "localhost.", "localhost.localdomain", "app.localhost", "ip6-localhost",
    "ⓛocalhost",
    "ｌｏｃａｌｈｏｓｔ", "𝓁ocalhost", "metadata.test", "METADATA.test", "metadata.google.internal", "private.test",
    "private-v6.test",
    "mapped.test", "nat64.test", "sixtofour.test", "any.test", "any-v6.test", "scoped.test", "mixed.test",
    "mixed-last.test",
    "mixed-first.test", "mixed-families.test", "mixed-mapped.test", "many-closed.test", "nothing.test",
    "nonsense.test", "octal.test",
    "short.test", "127.0.0.1.nip.test", "1.0.0.127.in-addr.arpa", "127.0.0.1e0", "1e3", "१२७.०.०.१",
    "under_score.test", "a" * 63 + ".test", "trailing.test.",
    "intranet", "kubernetes.default.svc", "no-such-name.test",
)  # fmt: skip

OPEN: tuple[Vector, ...] = (
    Vector(url=f"http://open.test:{LOCAL_PORT}/", reaches=OPEN_V4),
    Vector(url="http://open.test/", reaches=OPEN_V4),
    Vector(url="http://open.test:80/", reaches=OPEN_V4),
    Vector(url="HTTP://OPEN.TEST/", reaches=OPEN_V4),
    Vector(url=f"http://open.test:{LOCAL_PORT}?query", reaches=OPEN_V4),
    Vector(url=f"http://open.test:{LOCAL_PORT}#@127.0.0.1/", reaches=OPEN_V4),
    Vector(url=f"http://open.test:{LOCAL_PORT}/@127.0.0.1/?u=http://127.0.0.1/", reaches=OPEN_V4),
    Vector(url=f"http://open.test:{LOCAL_PORT}/%00%0d%0a%2e%2e/..//é?ü=😀", reaches=OPEN_V4),
    Vector(url=f"http://{OPEN_V4}:{LOCAL_PORT}/", reaches=OPEN_V4),
    Vector(url=f"http://[{OPEN_V6}]:{LOCAL_PORT}/", reaches=OPEN_V6),
    Vector(url=f"http://[{OPEN_V6.upper()}]:{LOCAL_PORT}/", reaches=OPEN_V6),
    Vector(url=f"http://both.test:{LOCAL_PORT}/", reaches=OPEN_V6),
    Vector(url=f"http://many.test:{LOCAL_PORT}/", reaches=OPEN_V4),
    Vector(url=f"http://bücher.test:{LOCAL_PORT}/", reaches=OPEN_V4),
    Vector(url=f"http://BÜCHER。test:{LOCAL_PORT}/", reaches=OPEN_V4),
    Vector(url=f"http://xn--bcher-kva.test:{LOCAL_PORT}/", reaches=OPEN_V4),
    Vector(url=f"http://[::ffff:{OPEN_V4}]:{LOCAL_PORT}/", reaches=f"::ffff:{OPEN_V4}"),
    Vector(url=f"http://mapped-open.test:{LOCAL_PORT}/", reaches=f"::ffff:{OPEN_V4}"),
    Vector(url="http://open.test:65535/", reaches=OPEN_V4),
    Vector(url="http://open.test:1024/", reaches=OPEN_V4),
)
"""What must work, or the rest proves nothing."""


def closed() -> tuple[Vector, ...]:
    """Return every URL that is written well and leads nowhere that is open."""
    hosts = [f"[{each}]" if ":" in each else each for each in CLOSED_ADDRESSES] + list(CLOSED_NAMES)
    return tuple(Vector(url=f"http://{host}:{LOCAL_PORT}/") for host in hosts)


def misspelt() -> tuple[Vector, ...]:
    return tuple(Vector(url=url) for url in MISSPELT)
