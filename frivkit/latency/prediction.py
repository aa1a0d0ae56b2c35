from typing import Any


class LatencyModel:
    def predict(self, graph: Any) -> float:
        return 0.0


def fit_latency(*a: Any, **k: Any) -> LatencyModel:
    return LatencyModel()
