"""The results of the check of a GPU, as lines and tables."""

from benchmarks.gpu.correctness import Bound
from benchmarks.measuring.rounds import Json
from benchmarks.report.markdown import spread, table

BEGIN, END = "<!-- results: written by make gpu-check -->", "<!-- end of results -->"
NOT_RUN = "**It has not been run yet**: no GPU was there."


def bound_row(bound: Bound) -> Json:
    """Return a comparison for JSON, which has no NaN."""
    finite = bound.found == bound.found  # NaN differs from itself
    return {
        "what": bound.what,
        "found": bound.found if finite else None,
        "most": bound.most,
        "kept": bound.kept,
        "absent": bound.absent,
    }


def bound_line(row: Json) -> str:
    """Return a comparison in one line."""
    return f"{_verdict(row)}: {row['what']}: {_found(row)}, at most {row['most']:.1g}"


def markdown(found: Json) -> str:
    """Return the tables of a check."""
    setting = found["setting"]
    packages = ", ".join(f"{name} {number}" for name, number in setting["packages"].items())
    names = ", ".join(found["gpus"]) or "a GPU whose name is not known"
    parts = [
        f"*{setting['date']}: {names}, beside {setting['processor']} ({setting['cores']} cores); "
        f"{setting['system']}, Python {setting['python']}, {packages}.*",
        table(
            ("compared with the CPU", "found", "at most", ""),
            [
                (row["what"], _found(row), f"{row['most']:.1g}", _verdict(row))
                for row in found["bounds"]
            ],
        ),
    ]
    if found["ratios"]:
        rows = [
            (one["what"], f"{one['of'][0]} to {one['of'][1]}", spread(one), len(_first(one)))
            for one in found["ratios"]
        ]
        parts.append(table(("time of", "ratio of", "median (least–most)", "rounds"), rows))
    else:
        parts.append("A bound is not kept, so no times were compared.")
    return "\n\n".join(parts)


def in_page(page: str, found: Json | None) -> str:
    """Return the page with the results of a check; with None, that there are none.

    Raises:
        ValueError: the page lacks a comment.
    """
    before, begin, rest = page.partition(BEGIN)
    _, end, after = rest.partition(END)
    if not begin or not end:
        raise ValueError(f"the page lacks {BEGIN!r} or {END!r}")
    text = NOT_RUN if found is None else markdown(found)
    return f"{before}{BEGIN}\n\n{text}\n\n{END}{after}"


def _verdict(row: Json) -> str:
    if row["absent"]:
        return "not run"
    return "kept" if row["kept"] else "**not kept**"


def _found(row: Json) -> str:
    if row["absent"]:
        return str(row["absent"])
    return "not a number" if row["found"] is None else f"{row['found']:.2g}"


def _first(one: Json) -> list[float]:
    times: list[float] = one["seconds"][one["of"][0]]
    return times
