"""Zips of strangers: what leads out of its folder, or fills the disk, is refused and costs nothing."""

from __future__ import annotations

import io
import struct
import zipfile

import pytest
from bsptools import MODEL, NSG, link, zipped
from hpcgate_dialect_bsp.archive import MAX_ENTRIES, unpack
from hypothesis import given
from hypothesis import strategies as st

from hpcgate.errors import InvalidSpec
from hpcgate.model.spec import MAX_INPUT_BYTES

GOOD = ("m/init.py", b"x")


def lying() -> bytes:
    """Claims to hold a hundred bytes, and holds ten thousand."""
    packed = bytearray(zipped(("m/init.py", b"\0" * 10_000)))
    for mark, at in ((b"PK\x03\x04", 22), (b"PK\x01\x02", 24)):
        struct.pack_into("<I", packed, packed.index(mark) + at, 100)
    return bytes(packed)


def encrypted() -> bytes:
    packed = bytearray(zipped(GOOD))
    for mark, at in ((b"PK\x03\x04", 6), (b"PK\x01\x02", 8)):
        packed[packed.index(mark) + at] |= 1
    return bytes(packed)


def renamed(good: bytes, bad: bytes) -> bytes:
    """A name that no library would write."""
    assert len(good) == len(bad)
    return zipped(GOOD, (f"m/{good.decode()}", b"y")).replace(b"m/" + good, b"m/" + bad)


HOSTILE = {
    "a bomb": (zipped(GOOD, ("m/zeros", b"\0" * (MAX_INPUT_BYTES + 1))), "bytes when unpacked"),
    "a bomb of many": (zipped(*((f"m/{n}", b"") for n in range(MAX_ENTRIES + 1))), "entries"),
    "one that lies": (lying(), "cannot be unpacked"),
    "up and out": (zipped(GOOD, ("m/../../x", b"y")), "leads out"),
    "up at once": (zipped(GOOD, ("../x", b"y")), "leads out"),
    "absolute": (zipped(GOOD, ("/etc/cron.d/x", b"y")), "leads out"),
    "of a drive": (zipped(GOOD, ("C:x", b"y")), "leads out"),
    "backslashes": (renamed(b"a--x", b"a..\\"), "leads out"),
    "twice a slash": (renamed(b"abcd", b"a//d"), "leads out"),
    "a link": (zipped(GOOD, link("m/x", "/etc/passwd")), "link or a device"),
    "a link as the folder": (zipped(link("m", "/etc"), GOOD), "link or a device"),
    "twice the same": (zipped(GOOD, ("m/other.p", b"y")).replace(b"m/other.p", b"m/init.py"), "twice"),
    "a NUL": (renamed(b"abcd", b"ab\0d"), "no name of a file"),
    "two folders": (zipped(GOOD, ("n/x", b"y")), "must hold one folder"),
    "a file at the top": (zipped(("init.py", b"x")), "must hold one folder"),
    "nothing": (zipped(), "must hold one folder"),
    "encrypted": (encrypted(), "cannot be unpacked"),
    "compressed otherwise": (zipped(GOOD, kind=zipfile.ZIP_LZMA), "unusual way"),
    "cut off": (MODEL[:-30], "no zip archive"),
    "no zip": (b"hello", "no zip archive"),
    "a folder called as results are": (zipped(("STDOUT/init.py", b"x")), "cannot be called"),
}


@pytest.mark.parametrize("case", HOSTILE)
def test_what_is_hostile_is_refused_and_costs_nothing(ann, case):
    packed, text = HOSTILE[case]
    before = ann.quota("nsg", NSG), ann.get("/jobs/")
    said = ann.submit("/jobs/nsg/", 400, file=packed, name="m.zip", tool="PY_TG")
    assert said.startswith("file: ")
    assert text in said
    assert (ann.quota("nsg", NSG), ann.get("/jobs/")) == before


@given(st.lists(st.tuples(st.integers(0, len(MODEL) - 1), st.integers(1, 255)), min_size=1, max_size=4))
def test_damage_anywhere_is_a_refusal_and_nothing_else(damage):
    packed = bytearray(MODEL)
    for place, bits in damage:
        packed[place] ^= bits
    try:
        unpacked = unpack("m.zip", bytes(packed))
    except InvalidSpec:
        return
    assert all(file.path.startswith(f"{unpacked.top}/") for file in unpacked.files)


def test_what_is_good_keeps_its_bits(tmp_path):
    packed = io.BytesIO()
    with zipfile.ZipFile(packed, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, mode in (("run.sh", 0o755), ("data", 0o644)):
            (tmp_path / name).write_bytes(b"#!/bin/sh\n" * 100)
            (tmp_path / name).chmod(mode)
            archive.write(tmp_path / name, f"m/{name}")
    unpacked = unpack("m.zip", packed.getvalue())
    assert unpacked.top == "m"
    assert {file.path: (len(file.content), file.executable) for file in unpacked.files} == {
        "m/run.sh": (1000, True),
        "m/data": (1000, False),
    }
