"""URLs of clients: one spelling of each place is taken, every other is refused before anything is looked up."""

import pytest
from hypothesis import given
from hypothesis import strategies as st
from yarl import URL

from offload.core.errors import EgressRefused
from offload.egress import Door
from offload.egress.targets import follow, parse_target
from tests.egress.vectors import CLOSED_ADDRESSES, OPEN, Vector, closed, misspelt


@pytest.mark.parametrize("vector", misspelt(), ids=lambda vector: vector.name)
def test_a_url_with_more_than_one_reading_is_refused(vector: Vector) -> None:
    with pytest.raises(EgressRefused):
        parse_target(vector.url)


@pytest.mark.parametrize("vector", (*closed(), *OPEN), ids=lambda vector: vector.name)
def test_a_url_that_is_written_well_is_read_as_the_client_library_reads_it(vector: Vector) -> None:
    target = parse_target(vector.url)
    theirs = URL(target.text, encoded=True)
    assert (theirs.scheme, theirs.raw_host, theirs.port) == (target.scheme, target.host, target.port)
    assert theirs.raw_path_qs == target.path_query and not theirs.user
    assert parse_target(target.text) == target


@given(st.text(max_size=60).map(lambda rest: "http://" + rest))
def test_whatever_is_taken_means_the_same_to_the_client_library(url: str) -> None:
    try:
        target = parse_target(url)
    except EgressRefused:
        return
    theirs = URL(target.text, encoded=True)
    assert (theirs.raw_host, theirs.port, theirs.raw_path_qs) == (target.host, target.port, target.path_query)
    assert target.text.isascii() and target.text.isprintable() and " " not in target.text


def test_a_signed_url_is_sent_letter_by_letter() -> None:
    url = "https://bucket.example/a%2Fb/../c%20d?X-Signature=%2b+/=&x=%zz;y='()"
    assert parse_target(url).text == url
    assert parse_target("https://a.example/é?ü#fragment").path_query == "/%C3%A9?%C3%BC"
    assert parse_target(url).shown == "https://bucket.example/a%2Fb/../c%20d"


def test_https_only_refuses_http() -> None:
    with pytest.raises(EgressRefused):
        parse_target("http://a.example/", https_only=True)
    assert parse_target("https://a.example/", https_only=True).port == 443


@pytest.mark.parametrize(
    ("location", "leads_to"),
    [
        ("/b", "https://a.example/b"),
        ("c?d", "https://a.example/x/c?d"),
        ("//b.example/", "https://b.example/"),
        ("http://b.example:8080/", "http://b.example:8080/"),
        ("?e", "https://a.example/x/y?e"),
    ],
)
def test_a_redirect_may_be_relative(location: str, leads_to: str) -> None:
    assert follow(parse_target("https://a.example/x/y"), location).text == leads_to


@pytest.mark.parametrize(
    "location", ["", "file:///etc/passwd", "//u@b/", "http://127.1/", "\\\\b\\", "http://[", "/a b", "\x00"]
)
def test_a_redirect_is_judged_like_a_url_of_a_client(location: str) -> None:
    with pytest.raises(EgressRefused):
        follow(parse_target("https://a.example/x/y"), location)


@pytest.mark.parametrize("address", [*CLOSED_ADDRESSES, "localhost", "LOCALHOST.", "a.localhost"])
def test_a_closed_address_that_the_client_wrote_itself_is_told_at_once(address: str) -> None:
    host = f"[{address}]" if ":" in address else address
    with pytest.raises(EgressRefused, match="egress_allow"):
        Door().check(f"http://{host}:8080/")


def test_what_can_only_be_known_by_looking_it_up_is_not_judged_early() -> None:
    def nobody(host: str) -> list[str]:
        raise AssertionError(f"{host} was looked up")

    Door(lookup=nobody).check("https://private.test/")
    Door(lookup=nobody, allow=["127.0.0.0/8"]).check("http://localhost:8080/")
    Door(lookup=nobody, allow=["localhost"]).check("http://localhost:8080/")
