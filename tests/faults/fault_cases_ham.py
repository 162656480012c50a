"""Faults of HAM10000's raw files."""

import struct
import zlib

import cv2
import numpy as np

from fault_worlds import World, closed, cut, folder, gone, image, loop, moved, put, read_only, several, small_disk
from faults import FULL, Case, dropped, kept, same_arrays

HAM = "code_ham/HAM_data"
PART_1, PART_2 = "data/HAM10000_images_part_1", "data/HAM10000_images_part_2"
MASKS, META = "data/HAM10000_segmentations_lesion_tschandl", "data/HAM10000_metadata.csv"
JPG, MASK = f"{PART_1}/ISIC_0000003.jpg", f"{MASKS}/ISIC_0000003_segmentation.png"
NAME = "ISIC_0000003"


def disc(x: int, y: int, radius: int = 12) -> np.ndarray:
    """(64, 96) mask of 0/255."""
    mask = np.zeros((64, 96), np.uint8)
    cv2.circle(mask, (x, y), radius, 255, -1)
    return mask


def as_png(world: World) -> None:
    """The JPEG's own pixels as PNG under its name."""
    image(JPG, cv2.imread(str(world.path(JPG))))(world)


def wide(world: World) -> None:
    """An image and its mask, 100,000 px wide."""
    image(JPG, np.full((64, 100_000, 3), (200, 190, 180), np.uint8))(world)
    image(MASK, cv2.resize(disc(50, 32, 20), (100_000, 64)))(world)


def huge_png() -> bytes:
    """A PNG that claims 100,000 x 100,000 px in 60 bytes."""

    def chunk(content: bytes) -> bytes:
        return struct.pack(">I", len(content) - 4) + content + struct.pack(">I", zlib.crc32(content))

    header = b"IHDR" + struct.pack(">IIBBBBB", 100_000, 100_000, 8, 2, 0, 0, 0)
    return b"\x89PNG\r\n\x1a\n" + chunk(header) + chunk(b"IDAT" + zlib.compress(b"")) + chunk(b"IEND")


BORDERS = {"top": (48, 2), "left": (2, 32), "bottom": (48, 61), "right": (93, 32), "corner": (1, 1)}

CASES = [
    Case(HAM, "truncated image", cut(JPG), r"ISIC_0000003\.jpg is cut short"),
    Case(HAM, "truncated mask", cut(MASK), r"ISIC_0000003_segmentation\.png is cut short"),
    Case(HAM, "empty image", put(JPG, b""), "is not a readable image"),
    Case(HAM, "text in place of a mask", put(MASK, "no mask"), "is not a readable image"),
    Case(HAM, "garbage between the markers", put(JPG, b"\xff\xd8\xff" + bytes(500) + b"\xff\xd9"), "not a readable"),
    Case(HAM, "PNG named .jpg", as_png, right=same_arrays),
    Case(HAM, "unreadable image", closed(JPG), r"ISIC_0000003\.jpg can't be read"),
    Case(HAM, "unreadable folder", closed(PART_1), f"no permission for {PART_1}"),
    Case(HAM, "unreadable folder of masks", closed(MASKS), f"no permission for {MASKS}"),
    Case(HAM, "link to itself in place of an image", loop(JPG), r"ISIC_0000003\.jpg can.t be read .*symbolic links"),
    Case(HAM, "images that can't be opened left out", several(loop(JPG), closed(f"{PART_1}/ISIC_0000004.jpg")),
         flags="--skip-bad", right=kept("ISIC_0000001")),
    Case(HAM, "link to itself in place of a folder", loop(MASKS),
         r"data holds 12 \.jpg and 0 masks, but no ISIC_"),
    Case(HAM, "folder in place of an image", folder(JPG), right=dropped(NAME, "mask without image")),
    Case(HAM, "folder in place of a mask", folder(MASK), right=dropped(NAME, "image without mask")),
    Case(HAM, "folder in place of the metadata", folder(META), right=kept(NAME)),
    Case(HAM, "file in place of the data folder", put("file", "x"),
         "there is no such folder; unpack HAM10000 there", "--data file"),
    Case(HAM, "file in place of the prepared folder", put("data/prepared", "x"), "data/prepared is not a folder"),
    Case(HAM, "the user's own folder given for the arrays", put("mine/thesis.txt", "x"),
         "mine holds thesis.txt, which would be lost", "--prepared mine"),
    Case(HAM, "read-only data folder", read_only("data"), "data can.t be written to .*pass another --prepared"),
    Case(HAM, "read-only folder for the arrays", read_only("shut"),
         "shut can.t be written to .*pass another --prepared", "--prepared shut/p"),
    Case(HAM, "spaces and letters of other scripts in a folder's name", flags="--prepared 'data/Läsionen 皮膚'",
         right=kept(NAME, prepared="data/Läsionen 皮膚")),
    Case(HAM, "spaces and letters of other scripts in a file's name",
         several(moved(JPG, f"{PART_1}/Läsion 3 皮膚.jpg"), moved(MASK, f"{MASKS}/Läsion 3 皮膚_segmentation.png")),
         right=kept("Läsion 3 皮膚")),
    Case(HAM, "a name that is not UTF-8",
         several(moved(JPG, f"{PART_1}/\udcff.jpg"), moved(MASK, f"{MASKS}/\udcff_segmentation.png")),
         right=kept(r"\udcff")),
    Case(HAM, "a name that is a formula",
         several(moved(JPG, f"{PART_1}/=1+1.jpg"), moved(MASK, f"{MASKS}/=1+1_segmentation.png")),
         right=kept("=1+1")),
    Case(HAM, "a name with a line end and a terminal's command",
         several(put(f"{PART_1}/a\n\x1b[2J.jpg", b""), put(f"{MASKS}/a\n\x1b[2J_segmentation.png", b"")),
         r"a\\n\\x1b\[2J\.jpg is not a readable image"),
    Case(HAM, "100,000 px wide", wide, right=kept(NAME, range(1000, 14400))),
    Case(HAM, "claims 100,000 x 100,000 px", put(JPG, huge_png()), r"ISIC_0000003\.jpg"),
    Case(HAM, "mask all zero", image(MASK, disc(0, 0) * 0),
         right=dropped(NAME, "the mask is empty")),
    Case(HAM, "mask fills the image", image(MASK, np.full((64, 96), 255, np.uint8)),
         right=dropped(NAME, "the mask covers the whole image")),
    Case(HAM, "one-pixel lesion", image(MASK, disc(40, 30, 0)),
         right=dropped(NAME, "the mask's hull has under 5 points")),
    *(Case(HAM, f"lesion at the border: {name}", image(MASK, disc(*place)), right=kept(NAME))
      for name, place in BORDERS.items()),
    Case(HAM, "image all zero", image(JPG, np.zeros((64, 96, 3), np.uint8)), r"ISIC_0000003\.jpg shows nothing"),
    Case(HAM, "image all one", image(JPG, np.ones((64, 96, 3), np.uint8)), r"ISIC_0000003\.jpg shows nothing"),
    Case(HAM, "image of another size", image(JPG, np.full((60, 96, 3), (0, 9, 0), np.uint8)),
         "is 96x64 px but its image is 96x60"),
    Case(HAM, "the same name in both folders", image(f"{PART_2}/ISIC_0000003.jpg", np.zeros((64, 96, 3), np.uint8)),
         r"part_2/ISIC_0000003\.jpg differs from .*part_1/ISIC_0000003\.jpg"),
    Case(HAM, "binary metadata", put(META, b"\x00\xff\xfe\x80" * 9), "is not a readable CSV", "--protocol corrected"),
    Case(HAM, "metadata cut within a row", put(META, "image_id,lesion_id\nISIC_0000000\n"),
         "needs HAM10000_metadata.csv", "--protocol corrected"),
    Case(HAM, "the arrays' description damaged", put("data/prepared/prepared.json", "{"), "prepared.json is damaged"),
    Case(HAM, "no folder of images", several(gone(PART_1), gone(PART_2)),
         r"data holds 0 \.jpg and 12 masks, .*; it holds HAM10000_metadata\.csv, HAM10000_seg.*or pass --data DIR"),
    Case(HAM, "disk full", small_disk("full", 400_000), FULL, "--prepared full/prepared"),
    Case(HAM, "no such protocol", sentence="invalid choice", flags="--protocol newest"),
    Case(HAM, "no process", sentence="not a whole number above 0", flags="--workers 0"),
    Case(HAM, "more clusters than lesions", sentence="13 shape clusters", flags="--clusters 13"),
]  # fmt: skip
