"""The table of README.md: agreement and time of some of the files of the part ``latency``."""

from statistics import mean

from benchmarks.report.markdown import Json, table

BEGIN, END = "<!-- times: written by the benchmarks -->", "<!-- end of times -->"

ROWS = {
    "MNIST net": ("MNIST, 2 convolutions", 0.1),
    "VGG": ("VGG with batch norm", 0.25),
    "ResNet": ("ResNet", 0.5),
    "six convolutions": ("six convolutions, dense layers", 0.25),
    "inverted residuals": ("inverted residuals (MobileNetV2)", 0.75),
}
"""By the beginning of a network's name, its name in the table and the share of MACs left."""

COLUMNS = {
    "frivkit": ("frivkit",),
    "onnxsim": ("onnxsim L2 + finetune",),
    "Torch-Pruning": ("Torch-Pruning magnitude", "Torch-Pruning magnitude, round_to 16"),
    "SVD of the weights (our implementation)": ("SVD of the weights (ours)",),
    "BALF (our implementation)": ("BALF (ours)",),
    "interpolative decomposition (our implementation)": ("interpolative decomposition (ours)",),
}
"""The competitors of each column, of which a row shows the one that keeps more labels."""

INTRODUCTION = (
    "Each cell shows label agreement with the original network, and in parentheses the measured "
    "time of one example as a share of the original's, for frivkit and for other methods that do "
    "not train:"
)

BATCH = "1"


def readme_table(results: list[Json]) -> str:
    """Return the table with the sentence that introduces it."""
    rows = []
    for start, (name, level) in ROWS.items():
        for net in results:
            if net["net"].startswith(start):
                cells = _cells(net, level)
                rows.append((f"{name}; {level:.0%} of the MACs kept", *cells))
    return f"{INTRODUCTION}\n\n{table(('network, budget', *COLUMNS), rows)}"


def in_readme(readme: str, made: str) -> str:
    """Return README.md with a table between its two comments for times.

    Raises:
        ValueError: it lacks a comment.
    """
    before, begin, rest = readme.partition(BEGIN)
    _, end, after = rest.partition(END)
    if not begin or not end:
        raise ValueError(f"README.md lacks {BEGIN!r} or {END!r}")
    return f"{before}{BEGIN}\n{made}\n{END}{after}"


def _cells(net: Json, level: float) -> list[str]:
    """Return agreement and time of each column, the best agreement in bold."""
    budgets = [each for each in net["budgets"] if each["kind"] == "macs"]
    sides = next(each["sides"] for each in budgets if each["level"] == level)
    shown: list[tuple[float, float] | None] = []
    for names in COLUMNS.values():
        files = [sides[name] for name in names if "agreement" in sides.get(name, {})]
        pairs = [
            (mean(file["agreement"]), mean(one[BATCH]["median"] for one in file["time"]))
            for file in files
        ]
        shown.append(max(pairs, default=None))
    best = max(round(pair[0], 3) for pair in shown if pair)
    return [_cell(pair, best) for pair in shown]


def _cell(pair: tuple[float, float] | None, best: float) -> str:
    if pair is None:
        return "–"
    agreement, time = pair
    text = f"{agreement:.3f} ({time:.2f})"
    return f"**{text}**" if round(agreement, 3) == best else text
