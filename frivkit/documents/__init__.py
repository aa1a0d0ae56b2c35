"""Types of the JSON documents that commands write: what each key is, its range and its unit.

The reference of the documents and their JSON Schemas are made of these types, so that a docstring
here is Markdown, its links as in ``docs/``.
"""
