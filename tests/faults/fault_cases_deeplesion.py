"""Faults of DeepLesion's table and slices."""

import numpy as np

from fault_worlds import Fault, closed, cut, edit, folder, gone, image, loop, put, read_only, several, small_disk
from faults import FULL, Case, dropped, kept, same_arrays

DEEP = "code_deeplesion/DeepLesion_data"
INFO, SLICE = "data/DL_info.csv", "data/Images_png/000002_01_01/010.png"
NAME = "000002_01_01_010"
ENDS, BOX = "135, 261, 167, 261, 151, 250, 151, 272", "130, 245, 172, 277"
"""Of that slice's first lesion, in row 2 of the table."""
JUNK = (
    "._DL_info.csv .DS_Store notes.txt __MACOSX/000002_01_01/010.png Images_png/Thumbs.db "
    "Images_png/000002_01_01/._010.png a/000002_01_01/010.png a/000002_01_01_010.png a/DL_info.csv"
)
HU = np.full((512, 512), 32_800, np.uint16)


def malformed(old: str, new: str, reason: str) -> Case:
    """A cell of row 2 that can't be used: the row is named and the others are there."""
    return Case(DEEP, f"the table says {new}", edit(INFO, old, new), right=dropped("row 2 (line 4)", reason))


def shifted(x: int, y: int) -> Fault:
    """The lesion of row 2 somewhere else in its slice, of 512x512 px."""

    def text(cells: str) -> str:
        move = np.resize([x - 151, y - 261], 8)
        return ", ".join(str(int(cell) + step) for cell, step in zip(cells.split(","), move, strict=False))

    return several(edit(INFO, ENDS, text(ENDS)), edit(INFO, BOX, text(BOX)))


BORDERS = {"top": (250, 3), "left": (3, 250), "bottom": (250, 509), "right": (509, 250), "corner": (510, 510)}
END_POINTS = "Measurement_coordinates does not hold 8 numbers"

CASES = [
    Case(DEEP, "truncated slice", cut(SLICE), r"010\.png is cut short"),
    Case(DEEP, "empty slice", put(SLICE, b""), "not a readable image"),
    Case(DEEP, "empty slice with --skip-bad", put(SLICE, b""), flags="--skip-bad",
         right=dropped(NAME, f"{SLICE} is not a readable image; download it again")),
    Case(DEEP, "junk, and a damaged copy of a slice elsewhere",
         several(*(put(f"data/{name}", "x") for name in JUNK.split()))),
    Case(DEEP, "JPEG named .png", image(SLICE, np.zeros((512, 512), np.uint8), ".jpg"), "holds 8-bit px"),
    Case(DEEP, "slice in colour", image(SLICE, np.dstack([HU] * 3)), "in 3 dimensions"),
    Case(DEEP, "unreadable slice", closed(SLICE), r"010\.png can't be read"),
    Case(DEEP, "link to itself in place of a slice", loop(SLICE), right=dropped(NAME, "the key slice is missing")),
    Case(DEEP, "folder in place of a slice", folder(SLICE), right=dropped(NAME, "the key slice is missing")),
    Case(DEEP, "unreadable folder of slices", closed("data/Images_png/000002_01_01"), "no permission for"),
    Case(DEEP, "100,000 px wide", image(SLICE, np.full((40, 100_000), 32_800, np.uint16)),
         right=dropped(NAME, "the box lies outside the slice")),
    Case(DEEP, "slice all zero", image(SLICE, HU * 0), r"010\.png holds 0 to 0, which as HU \+ 32768 can't be a CT"),
    Case(DEEP, "slice all one", image(SLICE, HU * 0 + 1), r"010\.png holds 1 to 1, which as HU \+ 32768 can't be a CT"),
    Case(DEEP, "read-only data folder", read_only("data"), "data can.t be written to .*pass another --prepared"),
    Case(DEEP, "no table", gone(INFO), r"DL_info\.csv is missing"),
    Case(DEEP, "empty table", put(INFO, b""), "names no lesion"),
    Case(DEEP, "table cut within a row", cut(INFO), right=kept(NAME)),
    Case(DEEP, "binary table", put(INFO, bytes(range(128, 256)) * 9), r"DL_info\.csv is not a readable CSV"),
    Case(DEEP, "quote that never ends", put(INFO, 'File_name,"' + "x" * 200_000), "is not a readable CSV"),
    Case(DEEP, "folder in place of the table", folder(INFO), r"DL_info\.csv is missing"),
    Case(DEEP, "link to itself in place of the table", loop(INFO), r"DL_info\.csv is missing"),
    Case(DEEP, "unreadable table", closed(INFO), r"no permission for data/DL_info\.csv"),
    malformed(f"{NAME}.png", "../../../etc/passwd_010.png", "File_name is not like 000001_01_01_109.png"),
    malformed(ENDS, ENDS.replace("135", "nan"), END_POINTS),
    malformed(ENDS, ENDS.replace("135", "1e300"), END_POINTS),
    malformed(ENDS, ENDS.replace("135", "167"),
              "Measurement_coordinates: a diameter has no length, or the two are parallel"),
    malformed(BOX, "172, 245, 130, 277", "Bounding_boxes are not left, top, right, bottom"),
    Case(DEEP, "one-pixel lesion", edit(INFO, ENDS, "150.7, 261, 151.3, 261, 151, 260.7, 151, 261.3"),
         right=kept(NAME)),
    *(Case(DEEP, f"lesion at the border: {where}", shifted(*place), right=kept(NAME))
      for where, place in BORDERS.items()),
    Case(DEEP, "lesion outside the slice", shifted(600, 600), right=dropped(NAME, "the box lies outside the slice")),
    Case(DEEP, "the same row twice", edit(INFO, "000003_01_01_010.png", f"{NAME}.png"), right=kept(f"{NAME}-3")),
    Case(DEEP, "lines end as on Windows, with a byte order mark",
         lambda world: put(INFO, b"\xef\xbb\xbf" + world.path(INFO).read_bytes())(world), right=same_arrays),
    Case(DEEP, "file in place of the archives' folder", put("data/archives", "x"), "data/archives", "--download"),
    Case(DEEP, "no such archive", sentence="there is no archive 57", flags="--download --archives 57"),
    Case(DEEP, "disk full", small_disk("full", 400_000), FULL, "--prepared full/prepared"),
]  # fmt: skip
