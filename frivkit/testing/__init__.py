"""The kit for plugin authors: networks whose answers can be worked out by hand."""
