"""The cache: what was computed once, kept in HDF5 files by what it depends on.

Nothing here may stop the work.  What cannot be read is computed again, what cannot be written is
not kept, and either is said once.
"""

from frivkit.cache.entry import Entry
from frivkit.cache.folder import Removed
from frivkit.cache.key import Key
from frivkit.cache.size import format_size, parse_size
from frivkit.cache.store import Cache, StoredEntry
from frivkit.cache.writer import Writer

__all__ = ["Cache", "Entry", "Key", "Removed", "StoredEntry", "Writer", "format_size", "parse_size"]
