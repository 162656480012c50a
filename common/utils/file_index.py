"""Which file a table's cell means: by name with or without folders and suffix or, in CT, by series or number."""

import os
import posixpath
import re
import unicodedata
from collections import defaultdict
from collections.abc import Iterable, Sequence
from pathlib import Path

from common.utils.files import file_stem

_SUFFIX = re.compile(r"\.(nii|nii\.gz|png|dcm|nrrd)$")
_NUMBER = re.compile(r"([0-9]{1,18})(\.0*)?")  # spreadsheets may add ".0"


class FileIndex:
    """Finds those of some files that a cell may mean.

    In ``ct`` a cell may also name 109.png of the folder 000001_01_01 as in DeepLesion's table, 000001_01_01_109.png;
    give another of CT's suffixes, as where a volume was compressed; or be the number that a file's name ends with.
    """

    def __init__(self, files: Iterable[Path], *, ct: bool = False) -> None:
        self._ct = ct
        self._files: dict[tuple[str, str | int], list[tuple[Path, Path]]] = defaultdict(list)  # each with its folder
        for file in files:
            folder = Path(os.path.normpath(file.absolute())).parent
            for kind, name in (("name", plain_name(file.name)), ("stem", plain_name(file_stem(file.name)))):
                self._files[kind, name].append((file, folder))
                if ct:
                    self._files[kind, f"{plain_name(folder.name)}_{name}"].append((file, folder.parent))
            number = _last_number(file)
            if ct and number is not None:
                self._files["number", number].append((file, folder))

    def find(self, cell: str) -> list[Path]:
        """The files that a cell may mean; folders in it must be the file's last ones."""
        *folders, name = _split(cell)
        keys: list[tuple[str, str | int]] = [("name", name), ("stem", name)]
        if self._ct:
            keys.append(("stem", _SUFFIX.sub("", name)))
            if number := _NUMBER.fullmatch(name):
                keys.append(("number", int(number[1])))
        for key in keys:
            if found := [file for file, folder in self._files.get(key, ()) if _ends_in(folder, folders)]:
                return found
        return []

    def may_mean(self, cell: str, file: Path) -> bool:
        """Whether a cell may mean a file of which another cell says so; a number can't contradict a name without."""
        return file in self.find(cell) or bool(_NUMBER.fullmatch(cell) and _last_number(file) is None)

    def namesakes(self, cell: str) -> list[Path]:
        """The files that a cell may mean but for its folders."""
        return self.find(_split(cell)[-1])


def plain_name(name: str) -> str:
    """A name in lower case and composed Unicode (NFC), as macOS may store a typed name in decomposed form."""
    return unicodedata.normalize("NFC", name.strip()).casefold()


def _last_number(file: Path) -> int | None:
    digits = re.search(r"[0-9]{1,18}$", file_stem(file.name))
    return int(digits[0]) if digits else None


def _split(path: str) -> list[str]:
    return plain_name(path).replace("\\", "/").split("/")


def _ends_in(folder: Path, folders: Sequence[str]) -> bool:
    """Whether a folder's path ends with these folders."""
    wanted = [name for name in posixpath.normpath("/".join(folders)).split("/") if name not in ("", ".", "..")]
    own = plain_name(str(folder)).replace("\\", "/").strip("/").split("/")
    return not wanted or own[-len(wanted) :] == wanted
