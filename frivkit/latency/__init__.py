"""How long a model takes: timing, the widths at which kernels are fast, and predicted latency."""
