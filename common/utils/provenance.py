"""What a result was made from: digests of files and the versions of packages."""

import hashlib
import os
import sys
from collections.abc import Iterable
from importlib.metadata import distributions, version
from pathlib import Path


def sha256(path: Path) -> str:
    """Hex digest of a file's content."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def digest(parts: Iterable[bytes]) -> str:
    """Short hex digest of some content, in its order."""
    return hashlib.blake2b(b"\0".join(parts), digest_size=8).hexdigest()


def fingerprint(files: Iterable[Path], root: Path) -> str:
    """Digest of the names, sizes and times of ``files``: changes when an input is added, removed or rewritten."""
    digest = hashlib.sha256()
    for path in sorted(files):
        try:
            status = path.stat()
        except OSError:  # such as a link to itself; whoever reads it will tell
            status = path.lstat()
        name = os.fsencode(path.relative_to(root))
        digest.update(b"%b\0%d\0%d\n" % (name, status.st_size, status.st_mtime_ns))
    return digest.hexdigest()


def package_versions(*packages: str) -> dict[str, str]:
    """The version of Python and of each package, by its name; those that are not installed are left out."""
    installed = {name: version(name) for name in packages if any(distributions(name=name))}
    return {"python": sys.version.split()[0], **installed}
