"""Models as ONNX graphs: their sites and pruning groups, and copies that are run or saved."""
