"""Read cache files (``docs/file-format.md``).

Nothing in a file is trusted: it may be damaged or written by somebody else.
"""

import contextlib
import hashlib
import json
import os
import re
import stat
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, Self
from urllib.parse import quote, unquote

import numpy as np
from numpy.typing import NDArray

from frivkit.digests import digest_state
from frivkit.errors import CacheError

TYPE = "frivkit-cache"
VERSION = "2"
"""Entries of version 1 have no digest; they are read and never written."""
CHUNK_BYTES = 1 << 20


def reason(error: Exception) -> str:
    """Return one line about an error of h5py or of the operating system.

    h5py returns the operating system's error number only inside a text of several lines.
    """
    number = re.search(r"errno = (\d+)", str(error))
    code = int(number[1]) if number else getattr(error, "errno", None)
    return os.strerror(code) if code else (str(error).splitlines() or [type(error).__name__])[0]


def read_fields(path: Path) -> Mapping[str, Any]:
    """Return the fields of a file's key, an empty mapping if it is no readable cache file.

    The name of the file is the digest of the key, so a damaged key is none.
    """
    try:
        with _opened(path) as file:
            key = _text(file, "key")
        if hashlib.sha256(key.encode()).hexdigest() != path.stem:
            return {}
        fields = json.loads(key)
    except Exception:  # h5py and json raise many classes at damaged files
        return {}
    return fields if isinstance(fields, dict) else {}


class Entry:
    """A finished cache file, open for reading.  Close it, or use it as a context manager.

    Args:
        path: The file.
        key: The JSON text of the key that it must have.

    Raises:
        CacheError: a byte of the file is damaged, it is of another type, version or key, is
            unfinished, or contains links, data in other files, unknown filters or objects, which
            no cache file contains.
        Exception: any other class; h5py raises many for damaged files.
    """

    def __init__(self, path: Path, key: str) -> None:
        self.path, self._key = path, key
        _check_regular(path)
        digest = digest_state(path)
        if digest == "wrong":
            raise CacheError("damaged")
        self._file = _opened(path)
        try:
            if digest == "missing" and _text(self._file, "encoding-version") != "1":
                raise CacheError("without a digest")
            if _text(self._file, "key") != key:
                raise CacheError("stored under another key")
            self._datasets = dict(_datasets(self._file, path.stat().st_size))
            if json.loads(_text(self._file, "contents")) != contents_of(self._datasets):
                raise CacheError("not what its table of contents says")
        except BaseException:
            self._file.close()
            raise

    @property
    def names(self) -> tuple[str, ...]:
        """The names of the arrays, sorted."""
        return tuple(sorted(self._datasets))

    def shape(self, name: str) -> tuple[int, ...]:
        """Return the shape of array ``name``."""
        return tuple(self._dataset(name).shape)

    def dtype(self, name: str) -> np.dtype[Any]:
        """Return the dtype of array ``name``."""
        dtype: np.dtype[Any] = self._dataset(name).dtype
        return dtype

    def read(self, name: str, start: int = 0, stop: int | None = None) -> NDArray[Any]:
        """Read rows ``start`` to ``stop`` (exclusive, None: the end) along axis 0 of an array.

        An array without axes is read whole.

        Raises:
            CacheError: nothing has that name, or the file is damaged; a damaged file is removed.
        """
        dataset = self._dataset(name)
        try:
            rows = dataset[start:stop] if dataset.shape else dataset[()]
        except (OSError, RuntimeError) as error:
            with contextlib.suppress(OSError):
                self.path.unlink()
            raise CacheError(
                f"cache file {self.path} is damaged ({reason(error)}); it was removed, run again"
            ) from error
        return np.asarray(rows)

    def close(self) -> None:
        """Close the file; a second time does nothing."""
        self._file.close()

    def __reduce__(self) -> Any:
        """Return what opens it again in another process."""
        return Entry, (self.path.absolute(), self._key)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def _dataset(self, name: str) -> Any:
        if name not in self._datasets:
            known = ", ".join(self.names) or "nothing"
            raise CacheError(f"cache file {self.path} holds no array {name!r}; it holds {known}")
        return self._datasets[name]


def stored_name(name: str) -> str:
    """Return a name percent-encoded, so that HDF5 does not read it as a path.

    Example:
        >>> stored_name("a/b"), read_name("a%2Fb")
        ('a%2Fb', 'a/b')
    """
    stored = quote(name, safe=" :;,+=@()[]", errors="surrogatepass")
    return "%2E" if stored == "." else stored


def read_name(stored: str) -> str:
    """Return the original of a name that :func:`stored_name` returned."""
    return unquote(stored, errors="surrogatepass")


def contents_of(datasets: Mapping[str, Any]) -> dict[str, dict[str, Any]]:
    """Return the table of contents: dtype and shape of each array, by name."""
    return {
        name: {"dtype": np.dtype(item.dtype).str, "shape": list(item.shape)}
        for name, item in datasets.items()
    }


def _check_regular(path: Path) -> None:
    if not stat.S_ISREG(path.lstat().st_mode):
        raise CacheError("not a regular file")


def _opened(path: Path) -> Any:
    import h5py

    _check_regular(path)
    # The file never changes again, and some network file systems know no locks.
    file = h5py.File(path, "r", locking=False, rdcc_nbytes=8 * CHUNK_BYTES)
    try:
        if (kind := _text(file, "encoding-type")) != TYPE:
            raise CacheError(f"of type {kind!r}, not {TYPE!r}")
        if (version := _text(file, "encoding-version")) not in ("1", VERSION):
            raise CacheError(f"of version {version!r}, not {VERSION!r}")
    except BaseException:
        file.close()
        raise
    return file


def _text(file: Any, attribute: str) -> str:
    value = file.attrs.get(attribute)
    if not isinstance(value, str):
        raise CacheError(f"without the attribute {attribute!r}")
    return value


def _datasets(file: Any, file_bytes: int) -> Iterator[tuple[str, Any]]:
    """Return the datasets by name.

    A dataset may refer to another file as its storage, and h5py would read it.

    Raises:
        CacheError: a dataset takes data from elsewhere or lacks some of its data.
    """
    import h5py

    for stored in file:
        if not isinstance(file.get(stored, getlink=True), h5py.HardLink):
            raise CacheError(f"holding a link, {stored!r}")
        item = file[stored]
        if not isinstance(item, h5py.Dataset):
            raise CacheError(f"holding {stored!r}, which is no array")
        if item.external or item.is_virtual:
            raise CacheError(f"holding {stored!r}, whose data is in another file")
        created = item.id.get_create_plist()
        filters = {created.get_filter(i)[0] for i in range(created.get_nfilters())}
        if item.dtype.kind not in "biuf" or filters - {h5py.h5z.FILTER_FLETCHER32}:
            raise CacheError(f"holding {stored!r} in an encoding that no cache file has")
        if not item.nbytes <= item.id.get_storage_size() <= file_bytes:
            raise CacheError(f"holding {stored!r} without all of its data")
        yield read_name(stored), item
