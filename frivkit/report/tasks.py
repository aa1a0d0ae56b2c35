"""Tasks in documents and in text: what was compared, and how well."""

from collections.abc import Mapping, Sequence
from typing import Any

from frivkit.documents.parts import TaskPart
from frivkit.report.format import number, percent
from frivkit.tasks.choose import OutputTask


def task_document(task: OutputTask) -> TaskPart:
    """Return the part of a document that says how outputs are compared."""
    return {
        "name": task.name,
        "outputs": list(task.outputs),
        "compares": task.compares,
        "reason": task.reason,
        "axis": task.axis,
        "tolerance": task.tolerance,
    }


def task_line(task: Mapping[str, Any]) -> str:
    """Return in a sentence how outputs are compared.

    Args:
        task: As :func:`task_document` gives it.
    """
    outputs = ", ".join(repr(name) for name in task["outputs"])
    return (
        f"task {task['name']} for {outputs}: {task['compares']} are compared, since "
        f"{task['reason']}; another one by --task"
    )


def figures_text(figures: Mapping[str, Any]) -> str:
    """Return the figures of a task in words, empty if there are none."""
    shown = [
        f"{name.replace('_', ' ')} {value if isinstance(value, int) else number(value)}"
        for name, value in figures.items()
        if value is not None
    ]
    return ", ".join(shown)


def output_lines(outputs: Sequence[Mapping[str, Any]]) -> list[str]:
    """Return a sentence for each task: how far a constant output would agree, and its figures.

    Where there are several tasks, each sentence begins with its own agreement.

    Args:
        outputs: The key ``outputs.each`` of a verification.
    """
    lines = []
    for each in outputs:
        figures = figures_text(each["figures"])
        named = ", ".join(repr(name) for name in each["outputs"])
        own = f"{percent(each['agreement'])} of the {each['compares']} agree; "
        lines.append(
            f"Task {each['task']}{f' of {named}' if len(outputs) > 1 else ''}: "
            f"{own if len(outputs) > 1 else ''}a constant output would agree on "
            f"{percent(each['constant'])}{f'; {figures}' if figures else ''}."
        )
    return lines
