"""The function ``frivkit.compress``, with the options of the command."""

from collections.abc import Iterable, Mapping
from typing import Unpack

from frivkit.api.arguments import (
    Arguments,
    PathLike,
    cache_of,
    constraints_of,
    file_path,
    method_of,
    request_of,
)
from frivkit.api.models import ModelLike
from frivkit.api.results import CompressionResult
from frivkit.api.values import above_zero, texts, whole
from frivkit.data import Data
from frivkit.errors import UsageError
from frivkit.interrupts import interruptible
from frivkit.provenance import Clock
from frivkit.report.compression import compression_document


@interruptible
def compress(
    model: ModelLike,
    output: PathLike | None = None,
    *,
    data: Data | None = None,
    verify_data: Data | None = None,
    latency: float | None = None,
    macs: float | None = None,
    params: float | None = None,
    units_kept: float | None = None,
    agreement: float | None = None,
    tolerance: float | None = None,
    plan: PathLike | None = None,
    basis: str | None = None,
    ranking: str | None = None,
    refit: str | None = None,
    recover: float | None = None,
    augment: str | Iterable[str] = (),
    allocation: str | None = None,
    round_to: int | str = "auto",
    target: str | None = None,
    keep_layer: str | Iterable[str] = (),
    least: int = 1,
    ratio: Mapping[str, float] | None = None,
    batch: int = 1,
    int8: bool = False,
    save_plan: PathLike | None = None,
    cache: PathLike | bool = False,
    **arguments: Unpack[Arguments],
) -> CompressionResult:
    """Make a model smaller until a budget is met, write it, and verify it.

    Args:
        model: A model in any form that :func:`load` takes.
        output: The ONNX file to write; None plans and writes nothing.
        data: The examples to calibrate on, as in :func:`analyze`; labels are not looked at.
        verify_data: The examples to verify on; None keeps one in four of ``data`` for it.
        latency: The share of the latency that may be left, measured on this machine; exactly one
            budget or a plan is given.
        macs: The share of multiply-accumulates that may be left.
        params: The share of parameters that may be left.
        units_kept: The share of units that may be left.
        agreement: The least label agreement, at the lower end of its interval.
        tolerance: The share of variance that each layer's consumers may lose.
        plan: A plan to apply, a JSON file that ``save_plan`` wrote.
        basis: An offer of ``bases``; None takes the default, as do the next three.
        ranking: An offer of ``rankings``.
        refit: An offer of ``refits``.
        recover: Minutes that gradients towards what the original computes may take after the refit,
            above 0; None takes none, or 10 with the refit ``"distil"``.
        augment: How images may be changed meanwhile, ``"flip"`` or ``"crop"`` or both.
        allocation: ``"global"`` or ``"uniform"``.
        round_to: Widths that layers may keep: ``"auto"``, at which the kernels are fast;
            ``"none"``, any; or multiples of a number.
        target: The machine whose kernels count, such as ``"avx2"``; None for this one.
        keep_layer: Patterns of layers that are left whole.
        least: Units that each layer keeps at least.
        ratio: Shares of units that layers keep whatever the budget, by patterns of their names.
        batch: Examples of one run, for ``latency``.
        int8: Whether to write an int8 file beside the other, such as ``thin-int8.onnx``.
        save_plan: The JSON file to write the plan to.
        cache: Where the calibration is kept and reused: a folder, True for the usual one, or False.
        arguments: See :class:`frivkit.api.arguments.Arguments`.

    Raises:
        UsageError: no budget is given or several are, or the method names what no plugin offers.
        FrivkitError: gradients are requested, and the extra ``to-torch`` is not installed.
        ModelError: the model cannot be read or compressed, or the budget cannot be met.
        DataError: the data cannot be read, do not fit, or are too few.
    """
    from frivkit.compression.budget import Budget, Kind, one_budget
    from frivkit.compression.compress import Compressor
    from frivkit.compression.latency_search import Timing
    from frivkit.compression.plan_file import plan_document, write_plan

    clock = Clock.start()
    names: dict[Kind, str] = {
        "latency": "latency",
        "macs": "macs",
        "params": "params",
        "units": "units_kept",
        "agreement": "agreement",
        "tolerance": "tolerance",
    }
    values = (latency, macs, params, units_kept, agreement, tolerance)
    shares = {
        kind: None if share is None else above_zero(names[kind], share, most=1)
        for kind, share in zip(names, values, strict=True)
    }
    if plan is not None and not any(shares.values()):
        budget = Budget("plan", 1.0)
    else:
        budget = one_budget(shares, names, plan="plan" if plan is not None else None)
    target_file = None if output is None else file_path("output", output)
    if target_file is not None and target_file.suffix != ".onnx":
        raise UsageError(
            f"an ONNX file cannot be named {target_file.name}; name it {target_file.stem}.onnx"
        )
    compressor = Compressor(
        request_of("compress", model, data, arguments),
        verify_data=verify_data,
        method=method_of(basis, ranking, refit, allocation),
        constraints=constraints_of(round_to, target, keep_layer, least, ratio),
        searches=budget.kind == "agreement",
        cache=cache_of(cache),
        recover=None if recover is None else above_zero("recover", recover),
        augment=texts("augment", augment),
    )
    given = None if plan is None else compressor.read_plan(file_path("plan", plan))
    timing = Timing(whole("batch", batch, 1), arguments.get("threads"))
    made = compressor.compress(budget, target_file, plan=given, timing=timing, int8=int8)
    if save_plan is not None:
        write_plan(plan_document(made.calibration, made.plan), file_path("save_plan", save_plan))
    return CompressionResult(compression_document(made, compressor.request, clock), target_file)
