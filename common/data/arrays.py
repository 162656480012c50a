"""Writing .npy files row by row."""

import hashlib
from collections.abc import Mapping
from contextlib import ExitStack
from pathlib import Path
from typing import IO, Self

import numpy as np

from common.utils.errors import UserError


class ArrayWriter:
    """Appends rows to .npy files whose length is not known beforehand, holding none of them in memory."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._files: dict[str, IO[bytes]] = {}
        self._layouts: dict[str, tuple[tuple[int, ...], np.dtype]] = {}
        self._rows = 0
        self.digest = hashlib.blake2b(digest_size=16)  # of all that was appended

    def __enter__(self) -> Self:
        return self

    def append(self, arrays: Mapping[str, np.ndarray]) -> None:
        """Write one row of each array; the first row decides names, shapes and types.

        Raises:
            UserError: names, shapes or types are others.
        """
        if not self._files:
            for name, row in arrays.items():
                self._layouts[name] = (row.shape, row.dtype)
                self._files[name] = (self._folder / f"{name}.npy").open("wb")
                self._write_header(name)
        if odd := sorted(arrays.keys() ^ self._layouts.keys()):
            raise UserError(
                f"some lesions have {', '.join(odd)} and others have not; give all the same arrays, an empty mask "
                "where none is known"
            )
        for name, (shape, dtype) in self._layouts.items():
            row = arrays[name]
            if (row.shape, row.dtype) != (shape, dtype):
                raise UserError(f"some lesions have {name} of {row.dtype}, others of {dtype}; give all the same")
            content = np.ascontiguousarray(row).tobytes()
            self._files[name].write(content)
            self.digest.update(content)
        self._rows += 1

    def _write_header(self, name: str) -> None:
        # NumPy pads the header so that the first axis can grow without moving the data.
        shape, dtype = self._layouts[name]
        descr = np.lib.format.dtype_to_descr(dtype)
        self._files[name].seek(0)
        np.lib.format.write_array_header_1_0(
            self._files[name], {"descr": descr, "fortran_order": False, "shape": (self._rows, *shape)}
        )

    def __exit__(self, kind: type[BaseException] | None, *_: object) -> None:
        with ExitStack() as files:  # closes each of them, whatever another one's last bytes run into
            for name, file in self._files.items():
                files.enter_context(file)
                if kind is None:
                    self._write_header(name)
