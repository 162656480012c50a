"""Folders in which the fault harness makes faults, and mends them."""

import json
import os
import resource
import shutil
import stat
import subprocess
from collections.abc import Callable
from contextlib import ExitStack
from itertools import count
from pathlib import Path

import cv2
import nibabel as nib
import numpy as np

Fault = Callable[["World"], None]
_LARGE = 1_000_000  # bytes; larger files, which no fault changes in place, are linked instead of copied


class World:
    """The folder a case runs in. Every fault is made here, with what mends it noted beside."""

    def __init__(self, root: Path, base: Path | None = None) -> None:
        self.root = root
        self._numbers = count()
        self._aside = root.with_name(f"{root.name}.aside")
        self._mending = ExitStack()
        if base:
            copy(base, root)

    def path(self, name: str) -> Path:
        return self.root / name

    def make(self, name: str, create: Callable[[Path], object]) -> None:
        """Put what ``create`` makes where ``name`` stands, or stood."""
        path, kept = self.path(name), self._aside / str(next(self._numbers))
        self._aside.mkdir(exist_ok=True)
        path.parent.mkdir(parents=True, exist_ok=True)
        there = os.path.lexists(path)
        if there:
            path.rename(kept)

        def mend() -> None:
            remove(path)
            if there:
                kept.rename(path)

        self._mending.callback(mend)
        create(path)

    def change_mode(self, name: str, mode: int) -> None:
        path = self.path(name)
        path.mkdir(parents=True, exist_ok=True) if not path.exists() else None
        before = path.stat().st_mode
        self._mending.callback(lambda: path.chmod(before))
        path.chmod(mode)

    def stamps(self) -> dict[str, tuple[int, ...]]:
        """What tells whether anything in the folder was touched: inodes, times and sizes of files, modes of folders."""
        found = {}
        for path in self.root.rglob("*"):
            at = path.lstat()
            about = (at.st_mode,) if stat.S_ISDIR(at.st_mode) else (at.st_mode, at.st_ino, at.st_mtime_ns, at.st_size)
            found[str(path.relative_to(self.root))] = about
        return found

    def later(self, mend: Callable[[], object]) -> None:
        """Note what else mends the fault."""
        self._mending.callback(mend)

    def mend(self) -> None:
        """Undo all faults; what a script has made stays."""
        self._mending.close()


def copy(source: Path, target: Path) -> None:
    """Copy a file or a folder, with its times."""
    if source.is_dir():
        shutil.copytree(source, target, copy_function=lambda *names: copy(*map(Path, names)))
    elif source.stat().st_size > _LARGE:
        target.hardlink_to(source)
    else:
        shutil.copy2(source, target)


def remove(path: Path) -> None:
    """Remove a file, a link or a folder, if there is one."""
    if path.is_dir() and not path.is_symlink():
        shutil.rmtree(path)
    else:
        path.unlink(missing_ok=True)


def put(name: str, content: bytes | str) -> Fault:
    """These bytes in place of a file."""
    data = content.encode() if isinstance(content, str) else content
    return lambda world: world.make(name, lambda path: path.write_bytes(data))


def cut(name: str, share: float = 0.5) -> Fault:
    """Only the first ``share`` of a file."""

    def fault(world: World) -> None:
        data = world.path(name).read_bytes()
        world.make(name, lambda path: path.write_bytes(data[: int(len(data) * share)]))

    return fault


def edit(name: str, old: str, new: str) -> Fault:
    """``new`` in place of the first ``old`` in a text file."""

    def fault(world: World) -> None:
        text = world.path(name).read_text()
        assert old in text, f"{name} does not hold {old!r}"
        world.make(name, lambda path: path.write_text(text.replace(old, new, 1)))

    return fault


def folder(name: str) -> Fault:
    """A folder with a file in it where a file should be."""
    return lambda world: world.make(name, lambda path: (path.mkdir(), (path / "in the way").touch()))


def loop(name: str) -> Fault:
    """A symbolic link to itself."""
    return lambda world: world.make(name, lambda path: path.symlink_to(path.name))


def gone(name: str) -> Fault:
    return lambda world: world.make(name, lambda path: None)


def closed(name: str) -> Fault:
    """A file or folder that nobody may read."""
    return lambda world: world.change_mode(name, 0o000)


def read_only(name: str) -> Fault:
    return lambda world: world.change_mode(name, 0o555)


def image(name: str, pixels: np.ndarray, kind: str = ".png") -> Fault:
    """These pixels in place of an image, encoded as ``kind`` whatever the file's name says."""
    return put(name, cv2.imencode(kind, pixels)[1].tobytes())


def array(name: str, change: Callable[[np.ndarray], np.ndarray | None]) -> Fault:
    """A .npy file changed by a function, which may work in place."""

    def fault(world: World) -> None:
        values = np.load(world.path(name))
        changed = change(values)
        world.make(name, lambda path: np.save(path, values if changed is None else changed))

    return fault


def volume(name: str, change: Callable[[np.ndarray], np.ndarray | None]) -> Fault:
    """A NIfTI file's voxels changed by a function, which may work in place."""

    def fault(world: World) -> None:
        values = np.asarray(nib.load(world.path(name)).dataobj).copy()
        changed = change(values)
        new = values if changed is None else changed
        world.make(name, lambda path: nib.save(nib.Nifti1Image(new, np.diag([0.8, 0.8, 2.5, 1])), path))

    return fault


def json_cell(name: str, *keys: str, value: object) -> Fault:
    """A JSON file in which one value, found by its keys, is another."""

    def fault(world: World) -> None:
        content = json.loads(world.path(name).read_text())
        inner = content
        for key in keys[:-1]:
            inner = inner[key]
        inner[keys[-1]] = value
        world.make(name, lambda path: path.write_text(json.dumps(content)))

    return fault


def overwrite(name: str, at: int, content: bytes) -> Fault:
    """Other bytes from place ``at`` of a file."""

    def fault(world: World) -> None:
        data = bytearray(world.path(name).read_bytes())
        data[at : at + len(content)] = content
        world.make(name, lambda path: path.write_bytes(data))

    return fault


def moved(old: str, new: str) -> Fault:
    """A file under another name."""

    def fault(world: World) -> None:
        content = world.path(old).read_bytes()
        world.make(old, lambda path: None)
        world.make(new, lambda path: path.write_bytes(content))

    return fault


def small_disk(name: str, size: int) -> Fault:
    """A folder whose disk holds ``size`` bytes: a file system in memory, or a limit where none can be mounted."""

    def fault(world: World) -> None:
        world.path(name).mkdir(exist_ok=True)
        mount = ["mount", "-t", "tmpfs", "-o", f"size={size}", "tmpfs", str(world.path(name))]
        if shutil.which("mount") and subprocess.run(mount, capture_output=True).returncode == 0:
            world.later(lambda: subprocess.run(["umount", str(world.path(name))], check=True))
        else:
            before = resource.getrlimit(resource.RLIMIT_FSIZE)
            resource.setrlimit(resource.RLIMIT_FSIZE, (size, before[1]))
            world.later(lambda: resource.setrlimit(resource.RLIMIT_FSIZE, before))

    return fault


def several(*faults: Fault) -> Fault:
    return lambda world: [fault(world) for fault in faults] and None


def nothing(world: World) -> None:
    """The fault is in the flags."""
