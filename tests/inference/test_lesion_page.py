"""The page of a prediction, as a browser reads it: whole, quiet, sorted, with its warnings."""

import base64
import hashlib
import re
from html.parser import HTMLParser

import cv2
import numpy as np
import pytest

from common.inference.lesion_page import draw_thumbnail, write_page

EVIL = '"><script>alert(1)</script><img src=http://example.com/a.png>.jpg'
VOID = {"meta", "img"}


class Page(HTMLParser):
    """The cells of the table's rows, the pictures, and the scripts; refuses what is not well formed."""

    def __init__(self, text):
        super().__init__()
        self.open, self.rows, self.pictures, self.scripts, self.words = [], [], [], [], []
        self.feed(text)
        self.close()
        assert not self.open

    def handle_starttag(self, tag, attributes):
        self.open += [] if tag in VOID else [tag]
        if tag == "tr":
            self.rows.append([])
        if tag in ("td", "th"):
            self.rows[-1].append("")
        for name, value in attributes:
            assert not name.startswith("on")
            assert name not in ("src", "href") or value.startswith("data:image/jpeg;base64,")
        if tag == "img":
            assert dict(attributes)["loading"] == "lazy"
            self.pictures.append(dict(attributes)["src"])

    def handle_endtag(self, tag):
        assert self.open.pop() == tag

    def handle_data(self, data):
        if self.open and self.open[-1] == "script":
            self.scripts.append(data)
        elif {"td", "th"} & set(self.open):
            self.rows[-1][-1] += data
        else:
            self.words.append(data)


def lesion(name, area, **cells):
    return {"input": name, "lesion": name, "slice": None, "area_px": area, "long_px": area / 10, "short_px": 1.0,
            "parts": 1, "cut": 0, "mask": "m.png", **cells}  # fmt: skip


@pytest.fixture
def page(tmp_path):
    thumbnail = draw_thumbnail(np.full((300, 400, 3), 90, np.uint8), np.zeros((300, 400), np.uint8), [])
    lesions = [lesion("small", 9), lesion(EVIL, 1000, cut=1), lesion("none", 0, parts=0), lesion("two", 100, parts=2)]
    pictures = {(row["input"], None): thumbnail for row in lesions}
    write_page(tmp_path / "index.html", lesions, pictures, [f"{EVIL} is cut short", "b.jpg is not an image"])
    return (tmp_path / "index.html").read_text()


def test_lesions_are_sorted_by_area_with_their_warnings(page):
    head, *rows = Page(page).rows
    # Neither slices nor mm are known.
    assert head == ["overlay", "input", "lesion", "area px", "long px", "short px", "remarks"]
    assert [row[1:] for row in rows] == [
        [EVIL, EVIL, "1000", "100.0", "1.0", "cut off by its patch: may be larger "],
        ["two", "two", "100", "10.0", "1.0", "2 parts; the diameters are the largest one's"],
        ["small", "small", "9", "0.9", "1.0", ""],
        ["none", "none", "0", "0.0", "1.0", "nothing found "],
    ]
    words = " ".join("".join(Page(page).words).split())
    assert "4 lesions measured. 1 with nothing found. 1 cut off" in words
    assert f"Not predicted: {EVIL} is cut short b.jpg is not an image" in words


def test_columns_that_are_known_are_shown(tmp_path):
    row = lesion("a.nii", 9, slice=0, slices=2, area_mm2=4.5, volume_ml=0.1)
    write_page(tmp_path / "index.html", [row], {("a.nii", 0): "data:image/jpeg;base64,"}, [])
    head, cells = Page((tmp_path / "index.html").read_text()).rows
    assert dict(zip(head, cells, strict=True)) == {
        "overlay": "", "input": "a.nii", "lesion": "a.nii", "slice": "0", "slices": "2", "area px": "9",
        "long px": "0.9", "short px": "1.0", "area mm2": "4.5", "volume ml": "0.1", "remarks": "",
    }  # fmt: skip
    assert "Not predicted" not in (tmp_path / "index.html").read_text()


def test_pictures_are_small_jpegs_inside_the_page(page):
    pictures = Page(page).pictures
    assert len(pictures) == 4
    content = base64.b64decode(pictures[0].partition(",")[2])
    assert cv2.imdecode(np.frombuffer(content, np.uint8), cv2.IMREAD_COLOR).shape == (384, 512, 3)


def test_only_the_pages_own_script_may_run_and_nothing_is_requested(page):
    (script,) = Page(page).scripts
    policy = re.search(r'http-equiv="Content-Security-Policy" content="([^"]*)"', page)[1]
    digest = base64.b64encode(hashlib.sha256(script.encode()).digest()).decode()
    assert " ".join(policy.split()) == (
        f"default-src 'none'; img-src data:; style-src 'unsafe-inline'; script-src 'sha256-{digest}'"
    )
