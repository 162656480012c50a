"""Unpack an archive of slices, after every member has been checked."""

import shutil
import stat
import zipfile
import zlib
from pathlib import Path, PurePosixPath

from common.utils.errors import UserError
from common.utils.files import atomic_path
from common.utils.progress import progress

_MOST_EXPANSION = 10  # slices are compressed already: an archive that expands more than this is a bomb
_SMALL = 100e6  # bytes; below this nothing is a bomb


def gigabytes(size: float) -> str:
    """Format a number of bytes for messages."""
    return f"about {size / 1e9:.1f} GB" if size < 99e9 else f"about {size / 1e9:.0f} GB"


def unpack(path: Path, folder: Path) -> None:
    """Check every member of a ZIP file, then unpack it into ``folder``, each file whole or not at all.

    Raises:
        UserError: a member would land outside the folder or is a link, the archive is a bomb or damaged, or the disk
            is too small.
    """
    try:
        with zipfile.ZipFile(path) as archive:
            members = archive.infolist()
            for member in members:
                _check_member(member, path)
            size, free = sum(member.file_size for member in members), shutil.disk_usage(folder).free
            if size > max(_MOST_EXPANSION * path.stat().st_size, _SMALL):
                raise UserError(
                    f"{path} is refused: it would swell to {gigabytes(size)}; nothing was unpacked, delete the archive"
                )
            if size > free:
                raise UserError(
                    f"{path} unpacks to {gigabytes(size)}, but {folder} has {gigabytes(free)} free; free some and run "
                    "it again"
                )
            files = [member for member in members if not member.is_dir()]
            for member in progress(files, f"unpacking {path.name}", len(files), unit="file"):
                target = atomic_path(folder / member.filename)
                with archive.open(member) as source, target as temporary, temporary.open("wb") as file:
                    shutil.copyfileobj(source, file)  # zipfile never yields more than the declared size
    except (zipfile.BadZipFile, zlib.error, EOFError, RuntimeError, NotImplementedError) as error:
        raise UserError(f"{path} can't be unpacked ({error}); delete it and run the same command again") from error


def _check_member(member: zipfile.ZipInfo, path: Path) -> None:
    name = PurePosixPath(member.filename)
    outside = name.is_absolute() or ".." in name.parts or any(sign in member.filename for sign in "\\:\0")
    kind = stat.S_IFMT(member.external_attr >> 16)
    if outside or kind not in (0, stat.S_IFREG, stat.S_IFDIR):
        raise UserError(
            f"{path} is refused: its member {member.filename!r} is a link or would land outside the data folder; "
            "nothing was unpacked, delete the archive"
        )
