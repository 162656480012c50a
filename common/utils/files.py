"""Reading and writing files: a file is either whole or absent."""

import csv
import glob
import gzip
import json
import os
import re
import shutil
import tempfile
import zlib
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import psutil

from common.utils.errors import UserError, join_names

ROOT = Path(__file__).resolve().parents[2]  # the project's folder

# Text that a spreadsheet would take for a formula, with or without the apostrophe that keeps it from doing so.
_FORMULA = re.compile(r"('*)[=+\-@\t\r]")


@contextmanager
def atomic_path(path: Path) -> Iterator[Path]:
    """Yield a temporary name beside ``path`` and rename it to ``path`` when the block ends well.

    Works for a file or a folder; what stood at ``path`` is replaced. On any error the temporary is removed, and what
    killed processes left behind is removed by the next one.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    for pattern in ("tmp", "old"):
        for left in path.parent.glob(f".{glob.escape(path.name)}.*.{pattern}"):
            if not _alive(left.suffixes[-2][1:]):
                _remove(left)
    temporary = path.with_name(f".{path.name}.{os.getpid()}.tmp")
    _remove(temporary)
    try:
        yield temporary
        if temporary.is_dir() and path.exists():
            # A folder can't be renamed onto another that holds files.
            old = path.with_name(f".{path.name}.{os.getpid()}.old")
            path.rename(old)
            temporary.rename(path)
            _remove(old)
        else:
            temporary.replace(path)
    except OSError as error:
        # A failed write() carries no file name and a failed rename the temporary's; the user knows neither.
        if error.errno is not None and error.filename in (None, str(temporary)):
            error.filename = str(path)
        raise
    finally:
        _remove(temporary)


def check_writable(folder: Path, remedy: str) -> None:
    """Create a folder and test that files can be written to it, before the work rather than after it.

    Raises:
        UserError: it can't be written to; ends in ``remedy``, which names the flag that takes another folder.
    """
    try:
        folder.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryFile(dir=folder):
            pass
    except OSError as error:
        raise UserError(f"{folder} can't be written to ({error.strerror}); {remedy}") from error


def _alive(process: str) -> bool:
    """Whether another process with this number is running."""
    # Not os.kill(process, 0), which ends the process on Windows.
    return process.isdecimal() and len(process) < 10 and int(process) != os.getpid() and psutil.pid_exists(int(process))


def _remove(path: Path) -> None:
    if path.is_dir() and not path.is_symlink():
        shutil.rmtree(path, ignore_errors=True)
    else:
        path.unlink(missing_ok=True)


def write_text(path: Path, text: str) -> None:
    """Write text atomically as UTF-8; what is not UTF-8 in a file's name is written as \\udcNN."""
    with atomic_path(path) as temporary:
        temporary.write_text(text, encoding="utf-8", errors="backslashreplace")


def write_json(path: Path, content: Mapping[str, Any]) -> None:
    """Write ``content`` as indented JSON, atomically; NaN is written as null."""
    write_text(path, json.dumps(_without_nan(content), indent=1) + "\n")


def _without_nan(value: Any) -> Any:
    if isinstance(value, Mapping):
        return {key: _without_nan(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [_without_nan(item) for item in value]
    if isinstance(value, float | np.floating):
        return None if not np.isfinite(value) else float(value)
    return value.item() if isinstance(value, np.generic) else value


def read_json(path: Path) -> dict[str, Any]:
    """Read a JSON object; UserError names the file when it is damaged, or no file."""
    if not path.is_file():
        raise UserError(f"{path} is not a file; remove it and make it again")
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
    except (ValueError, RecursionError) as error:  # not UTF-8, not JSON, a number of 5000 digits, 1000 brackets deep
        raise UserError(f"{path} is damaged ({error}); delete it and make it again") from error
    if not isinstance(content, dict):
        raise UserError(f"{path} does not hold a JSON object; delete it and make it again")
    return content


def write_csv(path: Path, rows: Iterable[Mapping[str, Any]], columns: Sequence[str]) -> None:
    """Write rows of named cells under the header ``columns``, atomically; a missing cell stays empty.

    Text that a spreadsheet would run as a formula gets an apostrophe in front, which `read_csv` takes off again.
    """
    # A file's name need not be UTF-8; what is not is written as \udcNN.
    with (
        atomic_path(path) as temporary,
        temporary.open("w", newline="", encoding="utf-8", errors="backslashreplace") as file,
    ):
        writer = csv.DictWriter(file, columns, restval="", lineterminator="\n")
        writer.writeheader()
        writer.writerows({name: _without_formula(cell) for name, cell in row.items()} for row in rows)


def _without_formula(cell: Any) -> Any:
    if not isinstance(cell, str) or not _FORMULA.match(cell):
        return cell
    try:
        float(cell)
    except ValueError:
        return f"'{cell}"
    return cell  # a number may begin with a sign


def read_csv(path: Path) -> list[dict[str, str]]:
    """All rows, as text cells, of a table whose header has commas, semicolons or tabs between its names.

    A path that ends in .gz is that of a table compressed by gzip.
    """
    opened = gzip.open if path.suffix == ".gz" else open
    with opened(path, "rt", newline="", encoding="utf-8-sig") as file:
        try:
            lines = list(file)
            delimiter = next((sign for sign in ",;\t" if sign in "".join(lines[:1])), ",")
            reader = csv.DictReader(lines, delimiter=delimiter)
            reader.fieldnames = [name.strip() for name in reader.fieldnames or ()]
            rows = [row for row in reader if any(row.values())]  # spreadsheets leave rows of empty cells
        except (UnicodeDecodeError, csv.Error, gzip.BadGzipFile, EOFError, zlib.error) as error:
            raise UserError(f"{path} is not a readable CSV file ({error}); save it as CSV UTF-8") from error
    header = list(filter(None, reader.fieldnames))
    if twice := next((name for name in header if header.count(name) > 1), None):
        raise UserError(f"{path} has two columns named {twice}; rename or remove one")
    for row in rows:
        for name, cell in row.items():
            # Missing cells are None, too many cells a list.
            if isinstance(cell, str) and (formula := _FORMULA.match(cell)) and formula[1]:
                row[name] = cell[1:]
    return rows


def read_rows(path: Path) -> list[dict[str, str]]:
    """The rows of a table that a person wrote: `read_csv` with names in lower case, and no spaces around cells.

    Columns without a name, such as the index that pandas writes, are left out.

    Raises:
        UserError: as `read_csv`, or a row has more cells than the header, as decimal commas give it.
    """
    rows = []
    for number, cells in enumerate(read_csv(path), 1):
        if any(cells.pop(None, ())):  # type: ignore[call-overload]  # where DictReader puts them
            where = f"{path}, row {number} after the header,"
            raise UserError(f"{where} has more cells than the header; write decimals with a point")
        row = {column.lower(): str(cell or "").strip() for column, cell in cells.items() if column}
        if len(row) < len([column for column in cells if column]):
            raise UserError(f"{path} has two columns whose names differ in capitals alone; rename or remove one")
        rows.append(row)
    return rows


_SYSTEM_FOLDERS = ("__MACOSX", "$RECYCLE.BIN", "System Volume Information")


def find_files(folder: Path, *suffixes: str) -> list[Path]:
    """The files below a folder, however deep, whose names end in one of ``suffixes`` in upper or lower case, sorted.

    Hidden files and folders, what operating systems leave behind, and prepared folders are passed over. A folder that
    is missing holds none.

    Raises:
        OSError: the folder, or one below it, may not be read.
    """

    def refuse(error: OSError) -> None:
        raise error

    found: list[Path] = []
    visited: set[str] = set()  # a link may lead to a folder above it
    for name, folders, files in os.walk(folder, onerror=refuse, followlinks=True) if folder.is_dir() else ():
        if "prepared.json" in files or os.path.realpath(name) in visited:
            folders.clear()
            continue
        visited.add(os.path.realpath(name))
        folders[:] = [child for child in folders if not child.startswith(".") and child not in _SYSTEM_FOLDERS]
        matches = (file for file in files if not file.startswith(".") and file.lower().endswith(suffixes))
        found.extend(Path(name, file) for file in matches)
    return sorted(found)


def file_stem(name: str) -> str:
    """A file's name without its suffix, two of them where the second is .gz."""
    return re.sub(r"\.gz$", "", name, flags=re.IGNORECASE).rpartition(".")[0] or name


def describe_folder(folder: Path) -> str:
    """What is in a folder, for a message: "it holds archive/, notes.txt and 3 more"."""
    if not folder.is_dir():
        return "there is no such folder"
    names = sorted(f"{path.name}/" if path.is_dir() else path.name for path in folder.iterdir())
    return f"it holds {join_names(names, 6)}" if names else "it is empty"
