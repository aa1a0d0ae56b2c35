"""Parts of the benchmarks: each measures one subject and returns JSON.

``imagenet_steps`` is a command of its own, which writes a table into a page.
"""
