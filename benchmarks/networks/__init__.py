"""Networks and examples of the benchmarks."""
