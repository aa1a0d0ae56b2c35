"""Plugin projects that work from the start: the kinds, and what is written for each."""

from frivkit.kit.kinds import KINDS, PluginKind
from frivkit.kit.names import PluginNames
from frivkit.kit.project import project_files, write_project

__all__ = ["KINDS", "PluginKind", "PluginNames", "project_files", "write_project"]
