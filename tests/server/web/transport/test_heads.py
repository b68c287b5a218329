"""The sizes of a head, also of what the parser has not handed over yet."""

import pytest

from server.protocol.errors import WireError
from server.web.transport.heads import HeadMeter
from server.web.transport.limits import ConnectionLimits

LIMITS = ConnectionLimits(url_bytes=10, head_bytes=100, headers=3)


@pytest.fixture
def meter() -> HeadMeter:
    made = HeadMeter(LIMITS)
    made.begin()
    return made


def test_an_address_may_come_in_parts(meter: HeadMeter) -> None:
    meter.add_url(6)
    meter.add_url(4)
    with pytest.raises(WireError) as caught:
        meter.add_url(1)
    assert (caught.value.status, caught.value.code) == (414, "uri_too_long")


def test_headers_have_a_number(meter: HeadMeter) -> None:
    for _ in range(3):
        meter.add_header(b"a", 2)
    with pytest.raises(WireError) as caught:
        meter.add_header(b"a", 2)
    assert (caught.value.status, caught.value.code) == (431, "request_header_fields_too_large")


def test_headers_have_a_size(meter: HeadMeter) -> None:
    meter.add_header(b"a", 60)
    meter.add_header(b"a", 40)
    with pytest.raises(WireError) as caught:
        meter.add_header(b"a", 1)
    assert caught.value.status == 431


def test_half_of_a_header_counts(meter: HeadMeter) -> None:
    """The parser keeps it to itself; what came with a whole header in one piece is not known, and not counted."""
    meter.add_header(b"a", 60)
    for size in (50, 20, 20):
        meter.fed(size)
    with pytest.raises(WireError):
        meter.fed(1)


def test_what_is_handed_over_is_no_longer_half_of_anything(meter: HeadMeter) -> None:
    for _ in range(100):
        meter.fed(90)
        meter.heard()
        meter.fed(90)


def test_every_request_has_its_own(meter: HeadMeter) -> None:
    for _ in range(10):
        meter.add_url(10)
        meter.add_header(b"host", 100)
        meter.begin()


def test_two_names_of_the_host_are_one_too_many(meter: HeadMeter) -> None:
    meter.add_header(b"host", 5)
    with pytest.raises(WireError) as caught:
        meter.add_header(b"host", 5)
    assert caught.value.status == 400
