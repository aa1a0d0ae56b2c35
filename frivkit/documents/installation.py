"""The documents of ``frivkit plugins``, ``frivkit doctor`` and ``frivkit cache ls``."""

from typing import Literal, NotRequired, TypedDict

from frivkit.documents.fields import Bytes, Moment, OfferName, Some


class OptionPart(TypedDict):
    """An option of an offer.

    Attributes:
        name: What users write in front of `=`.
        type: `int`, `float`, `bool` or `str`, or the texts that it may be.
        default: Its default as a text; null if it must be given.
        meaning: What it is; empty if its author does not say.
    """

    name: str
    type: str
    default: str | None
    meaning: str


class OfferPart(TypedDict):
    """Something that a plugin adds.

    Attributes:
        name: What users write.
        summary: What it is, in one line.
        target: The object that is offered, `package.module:attribute`; only under `frivkit
            plugins NAME`, as the next three.
        description: What its docstring says; empty for targets that are neither functions
            nor classes.
        options: Its options; empty if it has none.
        error: Why the target could not be loaded; null if it could.
    """

    name: OfferName
    summary: str
    target: NotRequired[str]
    description: NotRequired[str]
    options: NotRequired[list[OptionPart]]
    error: NotRequired[str | None]


class PluginPart(TypedDict):
    """A plugin.

    Attributes:
        name: The name of the entry point.
        distribution: The installed distribution that contains it.
        version: The version of that distribution.
        offers: By hook what it offers; empty for a plugin that failed to load.
        error: Why it could not be loaded; null if it could.
    """

    name: str
    distribution: str
    version: str
    offers: dict[str, Some[OfferPart]]
    error: str | None


class PluginsDocument(TypedDict):
    """What `frivkit plugins` lists.

    Attributes:
        schema: The kind and the version of the document.
        plugins: Every entry point of the group `frivkit`, in alphabetical order; with
            `frivkit plugins NAME` only that plugin, or those that offer the name, without
            their other offers.
    """

    schema: Literal["frivkit.plugins/1"]
    plugins: list[PluginPart]


class CheckPart(TypedDict):
    """A check of the installation.

    Attributes:
        state: Whether it works; `note` if something optional is missing.
        what: What was looked at, and what is wrong with it.
    """

    state: Literal["ok", "note", "bad"]
    what: str


class DoctorDocument(TypedDict):
    """What `frivkit doctor` found.

    Attributes:
        schema: The kind and the version of the document.
        checks: The checks, in the order in which they were made.
    """

    schema: Literal["frivkit.doctor/1"]
    checks: Some[CheckPart]


class StoredResultPart(TypedDict):
    """A file of the cache.

    Attributes:
        file: Its name.
        bytes: Its size.
        last_used: When it was last read or written.
        what: The kind of result; null if the file cannot be read, as the next six.
        model: Digest of the model.
        data: Digest of the examples.
        site: The hook point; empty if the result is of the whole network.
        selector: The unit selector; empty if units play no part.
        extra: What else the result depends on.
        frivkit: The version of frivkit that wrote it.
    """

    file: str
    bytes: Bytes
    last_used: Moment
    what: str | None
    model: str | None
    data: str | None
    site: str | None
    selector: str | None
    extra: dict[str, str] | None
    frivkit: str | None


class CacheDocument(TypedDict):
    """What `frivkit cache ls` lists.

    Attributes:
        schema: The kind and the version of the document.
        directory: The folder.
        bytes: The size of all files together.
        limit: The largest size of all files together.
        entries: The files.
    """

    schema: Literal["frivkit.cache/1"]
    directory: str
    bytes: Bytes
    limit: Bytes
    entries: list[StoredResultPart]
