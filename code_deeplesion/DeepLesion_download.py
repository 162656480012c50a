"""Fetch and unpack DeepLesion's archives: 56 ZIP files of slices, about 220 GB (see DeepLesion_data.py --download)."""

import argparse
import fcntl
import hashlib
import shutil
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from http.client import HTTPException, HTTPResponse
from pathlib import Path
from urllib.error import HTTPError
from urllib.request import Request, urlopen

from common.utils.errors import UserError
from common.utils.files import read_csv
from common.utils.progress import progress
from DeepLesion_unpack import gigabytes, unpack

LIST = Path(__file__).resolve().parent / "deeplesion_archives.csv"
WHOLE = 220e9  # bytes of all archives, for what the server does not tell
DELAYS = (1.0, 2.0, 4.0, 8.0, 16.0, 32.0)  # s before each new try; they start over whenever bytes have come
_TIMEOUT = 60.0  # s
_TRY_AGAIN = {408, 425, 429, 500, 502, 503, 504}
_PIECE = 1_000_000  # bytes; what the progress display counts


@dataclass(frozen=True)
class Archive:
    """One of the archives."""

    name: str
    md5: str
    url: str


class _BrokenError(Exception):
    """The transfer failed in a way that another try may mend."""


def read_archives(path: Path = LIST) -> list[Archive]:
    """The published list: names, MD5 sums, addresses."""
    return [Archive(row["file"], row["md5"], row["url"]) for row in read_csv(path)]


def archive_numbers(text: str) -> frozenset[int]:
    """Parse "1-3,7".

    Raises:
        argparse.ArgumentTypeError: not numbers and ranges of archives that there are.
    """
    count = len(read_archives())
    numbers: set[int] = set()
    for part in text.split(","):
        ends = part.strip().split("-")
        if not (len(ends) <= 2 and all(end.isascii() and end.isdigit() and len(end) < 5 for end in ends)):
            raise argparse.ArgumentTypeError(f"{text!r} is not like 1-3,7")
        first, last = int(ends[0]), int(ends[-1])
        if not 1 <= first <= last <= count:
            raise argparse.ArgumentTypeError(f"there is no archive {part.strip()}; they are numbered 1 to {count}")
        numbers.update(range(first, last + 1))
    return frozenset(numbers)


def add_flags(parser: argparse.ArgumentParser) -> None:
    """Add --download and --archives."""
    parser.add_argument("--download", action="store_true", help=f"fetch the slices first, {gigabytes(WHOLE)} in all")
    parser.add_argument(
        "--archives", type=archive_numbers, metavar="RANGE", help="with --download: only these, e.g. 1-3,7"
    )


def choose(numbers: frozenset[int] | None) -> list[Archive]:
    """The archives of these numbers, counted from 1; None means all."""
    return [a for number, a in enumerate(read_archives(), 1) if numbers is None or number in numbers]


def download(archives: Sequence[Archive], data: Path, delays: Sequence[float] = DELAYS) -> None:
    """Fetch, check and unpack archives, one after the other; what is unpacked already is left alone.

    An archive is deleted once it is unpacked. When it is run again after an interruption it goes on from there.

    Args:
        archives: what to fetch.
        data: the data folder; archives are kept in `archives/` inside it and name their files `Images_png/...`.
        delays: s to wait before each new try.

    Raises:
        UserError: too little free disk, no answer, a wrong MD5 sum twice, or an archive that is unsafe to unpack.
    """
    store = data / "archives"
    store.mkdir(parents=True, exist_ok=True)
    # Without its images the note that an archive was unpacked is worth nothing.
    noted = (data / "Images_png").is_dir()
    waiting = [a for a in archives if not (noted and _note(store, a).is_file())]
    print(f"DeepLesion is {len(read_archives())} archives, {gigabytes(WHOLE)} in all.")
    if len(waiting) < len(archives):
        print(f"{len(archives) - len(waiting)} archives were unpacked before and are not fetched again.")
    if waiting:
        check_space(waiting, store)
    for number, archive in enumerate(waiting, 1):
        print(f"{archive.name} ({number} of {len(waiting)})", flush=True)
        path = obtain(archive, store, delays)
        unpack(path, data)
        _note(store, archive).write_text(f"{archive.md5}\n", encoding="ascii")
        path.unlink()


def _note(store: Path, archive: Archive) -> Path:
    return store / f"{archive.name}.unpacked"


def check_space(archives: Sequence[Archive], store: Path) -> None:
    """Say how much is to be fetched, and refuse when the disk can't take it: all unpacked, and one archive beside."""
    print("Asking the server how large they are ...", flush=True)
    sizes, told = [], True
    for archive in archives:
        # After the first silence the others are not asked: without a network each would take its time.
        size = remote_size(archive.url) if told else None
        told = size is not None
        sizes.append(size or WHOLE / len(read_archives()))
    here = sum(path.stat().st_size for a in archives for path in store.glob(f"{a.name}*") if path != _note(store, a))
    needed = sum(sizes) + max(sizes, default=0) - here
    free = shutil.disk_usage(store).free
    source = "as the server says" if told else "an estimate, for the server does not say"
    print(f"To fetch: {len(archives)} archives, {gigabytes(sum(sizes))} ({source}); free disk: {gigabytes(free)}.")
    if needed > free:
        raise UserError(
            f"{store} has {gigabytes(free)} of free disk but {gigabytes(needed)} are needed to fetch and unpack "
            f"{len(archives)} archives; free some, pass --data on another disk, or fetch a part with --archives 1-3"
        )


def remote_size(url: str) -> int | None:
    """Bytes of a file on a server, which is asked by HEAD, then for its first byte; None where neither tells."""
    for request in (Request(url, method="HEAD"), Request(url, headers={"Range": "bytes=0-0"})):
        try:
            with urlopen(request, timeout=_TIMEOUT / 4) as response:
                ranged = response.headers.get("Content-Range", "").rpartition("/")[2]
                size = _number(ranged if response.status == 206 else response.headers.get("Content-Length"))
        except (OSError, HTTPException):
            continue
        if size:
            return size
    return None


def _number(text: str | None) -> int:
    return int(text) if text and text.isascii() and text.isdigit() else 0


def obtain(archive: Archive, store: Path, delays: Sequence[float] = DELAYS) -> Path:
    """Fetch an archive and check its MD5 sum; where it differs it is fetched once more from the start.

    Raises:
        UserError: no answer, or the sum differs again.
    """
    path = store / archive.name
    for _ in range(2):
        if not path.is_file():
            part = path.with_name(f"{path.name}.part")
            fetch(archive.url, part, delays)
            part.rename(path)
        with path.open("rb") as file:
            found = hashlib.file_digest(file, "md5").hexdigest()
        if found == archive.md5:
            return path
        print(f"{path} is damaged: its MD5 sum is {found}, not {archive.md5}", flush=True)
        path.unlink()
    raise UserError(f"{archive.url} came damaged twice, by its MD5 sum, and was deleted; try again another day")


def fetch(url: str, part: Path, delays: Sequence[float] = DELAYS) -> None:
    """Fetch the rest of a partial file, however often the connection breaks.

    Raises:
        UserError: refused, or as many tries in a row as there are ``delays`` brought nothing.
    """
    failures = 0
    while True:
        have = part.stat().st_size if part.exists() else 0
        try:
            return _receive(url, part, have)
        except _BrokenError as error:
            failures = 0 if part.exists() and part.stat().st_size > have else failures + 1
            if failures > len(delays):
                raise UserError(
                    f"{url} can't be fetched ({error}); run the same command later: it goes on where it stopped"
                ) from error
            delay = delays[max(failures - 1, 0)] if delays else 0
            print(f"{error}; trying again in {delay:g} s", flush=True)
            time.sleep(delay)


def _receive(url: str, part: Path, have: int) -> None:
    request = Request(url, headers={"Range": f"bytes={have}-"} if have else {})
    try:
        response = urlopen(request, timeout=_TIMEOUT)
    except HTTPError as error:
        if error.code == 416 and error.headers.get("Content-Range", "").endswith(f"/{have}"):
            return  # the partial file is the whole
        if error.code == 416:
            part.unlink()
        elif error.code not in _TRY_AGAIN:
            raise UserError(f"{url} is refused by the server ({error.code} {error.reason}); try again later") from error
        raise _BrokenError(f"the server answered {error.code}") from error
    except (OSError, HTTPException) as error:
        raise _BrokenError(f"no connection: {error}") from error
    with response:
        if response.status == 206 and not response.headers.get("Content-Range", "").startswith(f"bytes {have}-"):
            part.unlink(missing_ok=True)
            raise _BrokenError("the server sent another range than was asked for")
        if have and response.status == 206:
            print(f"going on after the {gigabytes(have)} that are here", flush=True)
        _append(response, part, keep=response.status == 206)


def _append(response: HTTPResponse, part: Path, *, keep: bool) -> None:
    """Write what comes to the end of ``part``, or from its start where the server ignores ranges."""
    length = _number(response.headers.get("Content-Length"))
    pieces = _pieces(response)
    came = 0
    try:
        with part.open("ab") as file:
            _claim(file.fileno(), part)
            if not keep:
                file.truncate(0)
            for piece in progress(pieces, part.stem, -(-length // _PIECE), unit="megabyte"):
                file.write(piece)
                came += len(piece)
    except OSError as error:
        error.filename = error.filename or str(part)  # the sentence about a full disk names the file
        raise
    if came < length:
        raise _BrokenError(f"the connection ended after {came} of {length} bytes")


def _claim(descriptor: int, part: Path) -> None:
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError as error:
        raise UserError(f"{part} is being fetched by another process; wait for it or stop it") from error


def _pieces(response: HTTPResponse) -> Iterator[bytes]:
    while True:
        try:
            piece = response.read(_PIECE)
        except (OSError, HTTPException) as error:
            raise _BrokenError(f"the connection broke: {error}") from error
        if not piece:
            return
        yield piece
