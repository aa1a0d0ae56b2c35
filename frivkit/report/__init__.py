"""Reports: one JSON document, shown in the terminal or as a page."""
