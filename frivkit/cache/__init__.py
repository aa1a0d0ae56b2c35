"""The cache: results in HDF5 files, each under a key of all that it depends on.

The cache never stops an analysis.  A result that cannot be read is computed again, one that cannot
be written is not stored, and a warning is given once for each.
"""

from frivkit.cache.entry import Entry
from frivkit.cache.folder import Removed
from frivkit.cache.key import Key
from frivkit.cache.size import format_size, parse_size
from frivkit.cache.store import Cache, StoredEntry
from frivkit.cache.writer import Writer

__all__ = ["Cache", "Entry", "Key", "Removed", "StoredEntry", "Writer", "format_size", "parse_size"]
