"""The picture of the network shows what the network is."""

import re
import struct
import zlib
from base64 import b64decode
from xml.etree import ElementTree as ET

import altair as alt
import polars as pl
import vl_convert

from tradesys import ManualClock, Network
from tradesys.routes import ROUTES
from tradesys.widgets.svg_drawings import chart_style, network_svg

SVG = "{http://www.w3.org/2000/svg}"


def texts(svg: str) -> list[str]:
    # The picture is one that we have drawn ourselves a moment ago.
    return [e.text or "" for e in ET.fromstring(svg).iter(f"{SVG}text")]  # noqa: S314


def test_picture_names_every_system_and_counts_what_it_holds() -> None:
    desk = Network(2, 1, clock=ManualClock())
    written = texts(network_svg(desk).svg)
    assert {"c1", "c2", "s1", "firm"} <= set(written)
    for held in desk.summary().values():
        for dataset, count in held.items():
            assert f"{count:,}" in written[written.index(dataset) :]


def test_a_picture_comes_with_a_png_of_its_size() -> None:
    picture = network_svg(Network(2, 1, clock=ManualClock()))
    bundle = picture._repr_mimebundle_()
    assert bundle["image/svg+xml"] == picture.svg
    png = b64decode(bundle["image/png"])
    assert png.startswith(b"\x89PNG\r\n\x1a\n")
    width, height = struct.unpack(">II", png[16:24])
    assert f'width="{width}" height="{height}"' in picture.svg
    pixels = vl_convert.svg_to_png(picture.svg, scale=1)
    assert len(png) < len(pixels) / 2
    assert decoded(png) == decoded(pixels)


def decoded(png: bytes) -> bytes:
    """The pixels of a PNG file, as its rows are filtered; every checksum is right."""
    at, data = 8, b""
    while at < len(png):
        (length,) = struct.unpack(">I", png[at : at + 4])
        chunk, checksum = png[at + 4 : at + 8 + length], png[at + 8 + length : at + 12 + length]
        assert zlib.crc32(chunk).to_bytes(4) == checksum
        data += chunk[4:] if chunk.startswith(b"IDAT") else b""
        at += 12 + length
    return zlib.decompress(data)


def test_a_chart_comes_as_svg_and_as_png() -> None:
    chart_style()
    drawn = alt.Chart(pl.DataFrame({"x": [1, 2]})).mark_point().encode(x="x")._repr_mimebundle_()
    assert isinstance(drawn, dict)
    assert drawn.keys() >= {"image/svg+xml", "image/png"}
    assert b64decode(drawn["image/png"]).startswith(b"\x89PNG")


def test_picture_has_an_arrow_for_every_route_and_one_for_orders() -> None:
    svg = network_svg(Network(1, 1, clock=ManualClock())).svg
    assert len(re.findall("marker-end", svg)) == len(ROUTES) + 1


def test_picture_is_the_same_from_the_network_and_from_its_summary() -> None:
    desk = Network(2, 2, clock=ManualClock())
    assert network_svg(desk).svg == network_svg(desk.summary()).svg


def test_picture_marks_what_is_cut_off() -> None:
    desk = Network(3, 2, clock=ManualClock())
    assert not any("cut off" in text for text in texts(network_svg(desk).svg))
    desk.partition("c1")
    assert texts(network_svg(desk).svg).count("cut off") == 1
    desk.partition("c2", "s1")
    assert {"cut off from s1", "cut off from c2"} <= set(texts(network_svg(desk).svg))
    desk.heal()
    desk.partition("c3", "s1", "s2", "firm")
    assert "cut off from 3 others" in texts(network_svg(desk).svg)
