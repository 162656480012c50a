"""Fetch and unpack the archives of DeepLesion: 56 ZIP files of slices, about 220 GB (DeepLesion_data.py --download)."""

import argparse
import hashlib
import os
import re
import shutil
import time
from collections.abc import Iterator, Sequence
from contextlib import suppress
from http.client import HTTPException, HTTPResponse
from io import BufferedWriter
from itertools import takewhile
from pathlib import Path
from typing import NamedTuple
from urllib.error import HTTPError
from urllib.request import Request, urlopen

from filelock import FileLock, Timeout

from common.utils.errors import UserError
from common.utils.files import check_writable, read_csv
from common.utils.progress import progress
from DeepLesion_unpack import gigabytes, unpack

LIST = Path(__file__).resolve().with_name("deeplesion_archives.csv")
TOTAL = 220e9  # bytes of all archives by the NIH's description, for the sizes that the server does not give
DELAYS = (1.0, 2.0, 4.0, 8.0, 16.0, 32.0)  # s before each new try; they start over whenever bytes have come
_TIMEOUT, _PIECE = 60.0, 1_000_000  # s; bytes, which the progress display counts
_TEMPORARY = {408, 425, 429, 500, 502, 503, 504}  # HTTP statuses that a retry may resolve


class Archive(NamedTuple):
    """An archive on the server."""

    name: str
    md5: str
    url: str


class _TransferError(Exception):
    """A transfer failed in a way that a retry may resolve."""


def read_archives() -> list[Archive]:
    """Read the published list, in the order of the archives' numbers."""
    return [Archive(row["file"], row["md5"], row["url"]) for row in read_csv(LIST)]


def parse_archives(text: str) -> list[Archive]:
    """Parse numbers and ranges of archives, counted from 1, e.g. "1-3,7".

    Raises:
        argparse.ArgumentTypeError: anything else, or a number without archive.
    """
    archives = read_archives()
    numbers: set[int] = set()
    for part in text.split(","):
        ends = re.fullmatch(r"\s*([0-9]{1,4})(?:-([0-9]{1,4}))?\s*", part)
        if not ends:
            raise argparse.ArgumentTypeError(f"{text!r} is not like 1-3,7")
        first, last = int(ends[1]), int(ends[2] or ends[1])
        if not 1 <= first <= last <= len(archives):
            raise argparse.ArgumentTypeError(
                f"there is no archive {part.strip()}; they are numbered 1 to {len(archives)}"
            )
        numbers.update(range(first, last + 1))
    return [archives[number - 1] for number in sorted(numbers)]


def download(archives: Sequence[Archive], data: Path, delays: Sequence[float] = DELAYS) -> None:
    """Fetch archives to `archives/` in the folder ``data``, check them, unpack them to `Images_png/` and delete them.

    Those that were unpacked before are left alone. After an interruption the same call goes on where it stopped.

    Raises:
        UserError: too little free disk, no answer, a wrong MD5 sum twice, or an archive that is unsafe to unpack.
    """
    store = data / "archives"
    check_writable(store, "pass another --data")
    # Without the images, the note that an archive was unpacked is worth nothing.
    trust_notes = (data / "Images_png").is_dir()
    waiting = [archive for archive in archives if not (trust_notes and _note(store, archive).is_file())]
    print(f"DeepLesion is {len(read_archives())} archives, {gigabytes(TOTAL)} in all.")
    if done := len(archives) - len(waiting):
        print(f"{done} archives were unpacked before and are not fetched again.")
    if waiting:
        check_space(waiting, store)
    for number, archive in enumerate(waiting, 1):
        print(f"{archive.name} ({number} of {len(waiting)})", flush=True)
        path = fetch_checked(archive, store, delays)
        unpack(path, data)
        _note(store, archive).write_text(f"{archive.md5}\n", encoding="ascii")
        path.unlink()


def _note(store: Path, archive: Archive) -> Path:
    """The file whose presence says that an archive was unpacked."""
    return store / f"{archive.name}.unpacked"


def check_space(archives: Sequence[Archive], store: Path) -> None:
    """Print how much is to be fetched; a UserError where the disk can't hold all of it unpacked and one archive."""
    print("Asking the server how large they are ...", flush=True)
    # After the first silence the server is not asked again: without a network each question would take its time.
    sizes: list[float] = list(takewhile(bool, (remote_size(archive.url) for archive in archives)))
    source = "as the server says" if len(sizes) == len(archives) else "an estimate, for the server does not say"
    sizes += [TOTAL / len(read_archives())] * (len(archives) - len(sizes))
    parts = [path for a in archives for path in store.glob(f"{a.name}*") if path != _note(store, a)]
    needed = sum(sizes) + max(sizes, default=0) - sum(path.stat().st_size for path in parts)
    free = shutil.disk_usage(store).free
    print(f"To fetch: {len(archives)} archives, {gigabytes(sum(sizes))} ({source}); free disk: {gigabytes(free)}.")
    if needed > free:
        raise UserError(
            f"{store} has {gigabytes(free)} of free disk but {gigabytes(needed)} are needed to fetch and unpack "
            f"{len(archives)} archives; free some, pass --data on another disk, or fetch a part with --archives 1-3"
        )


def remote_size(url: str) -> int:
    """The size of a file in bytes, 0 where the server does not say."""
    # Without ranges the server begins to send the whole file, of which nothing is read.
    request = Request(url, headers={"Range": "bytes=0-0"})
    with suppress(OSError, HTTPException), urlopen(request, timeout=_TIMEOUT / 4) as response:
        size = response.headers.get("Content-Range") or response.headers.get("Content-Length") or ""
        return _number(size.rpartition("/")[2])
    return 0


def _number(text: str) -> int:
    return int(text) if text.isascii() and text.isdigit() else 0


def fetch_checked(archive: Archive, store: Path, delays: Sequence[float] = DELAYS) -> Path:
    """Fetch an archive and check its MD5 sum; where it differs, fetch it once more, and then raise a UserError."""
    path = store / archive.name
    for _ in range(2):
        if not path.is_file():
            part = path.with_name(f"{path.name}.part")
            fetch(archive.url, part, delays)
            part.rename(path)
        with path.open("rb") as file:
            md5 = hashlib.file_digest(file, "md5").hexdigest()
        if md5 == archive.md5:
            return path
        print(f"{path} is damaged: its MD5 sum is {md5}, not {archive.md5}", flush=True)
        path.unlink()
    raise UserError(
        f"{archive.name} arrived damaged twice from {archive.url} (wrong MD5 sum) and was deleted; try again later"
    )


def fetch(url: str, part: Path, delays: Sequence[float] = DELAYS) -> None:
    """Fetch the rest of a partial file, however often the connection breaks.

    Raises:
        UserError: refused, as many tries in a row as there are ``delays`` brought nothing, or another process is
            fetching the same file.
    """
    failures = 0
    try:
        with FileLock(part.with_name(f".{part.name}.lock"), timeout=0), part.open("ab") as file:
            while True:
                start = file.seek(0, os.SEEK_END)
                try:
                    return _receive(url, file, start)
                except _TransferError as error:
                    failures = 0 if file.seek(0, os.SEEK_END) > start else failures + 1
                    if failures > len(delays):
                        raise UserError(
                            f"{url} can't be fetched ({error}); run the same command later: it goes on where it stopped"
                        ) from error
                    delay = delays[max(failures - 1, 0)] if delays else 0
                    print(f"{error}; trying again in {delay:g} s", flush=True)
                    time.sleep(delay)
    except Timeout as error:
        raise UserError(f"{part} is being fetched by another process; wait for it or stop it") from error
    except OSError as error:
        error.filename = error.filename or str(part)  # for the sentence about a full disk
        raise


def _receive(url: str, file: BufferedWriter, start: int) -> None:
    """Append to ``file`` the bytes from ``start`` on."""
    try:
        response = urlopen(Request(url, headers={"Range": f"bytes={start}-"} if start else {}), timeout=_TIMEOUT)
    except HTTPError as error:
        if error.code == 416:
            return  # nothing is left to send; the MD5 sum will tell whether the file is right
        if error.code not in _TEMPORARY:
            raise UserError(f"{url} is refused by the server ({error.code} {error.reason}); try again later") from error
        raise _TransferError(f"the server answered {error.code}") from error
    except (OSError, HTTPException) as error:
        raise _TransferError(f"no connection: {error}") from error
    with response:
        if response.status == 206:
            print(f"going on after the {gigabytes(start)} that are here", flush=True)
        else:
            file.truncate(0)  # the server ignores ranges and sends the file from its start
        length, received = _number(response.headers.get("Content-Length", "")), 0
        for piece in progress(_pieces(response), Path(file.name).stem, -(-length // _PIECE), unit="megabyte"):
            received += file.write(piece)
    if received < length:
        raise _TransferError(f"the connection ended after {received} of {length} bytes")


def _pieces(response: HTTPResponse) -> Iterator[bytes]:
    while True:
        try:
            piece = response.read(_PIECE)
        except (OSError, HTTPException) as error:
            raise _TransferError(f"the connection broke: {error}") from error
        if not piece:
            return
        yield piece
