"""Training, sweeps and figures: repeating the experiments of the paper."""
