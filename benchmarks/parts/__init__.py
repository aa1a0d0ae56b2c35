"""Parts of the benchmarks: each measures one subject and returns JSON."""
