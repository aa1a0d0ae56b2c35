"""The original's predictions of every task, with which networks are compared many times."""

from collections.abc import Callable, Iterable, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from frivkit.tasks.choose import OutputTask
from frivkit.tasks.constant import ConstantNetwork, constant_warning
from frivkit.tasks.doubt import guess_warning
from frivkit.tasks.memory import check_room
from frivkit.tasks.task import Comparer

OutputArrays = Sequence[NDArray[Any]]
"""The outputs of a run, in the order of ``Reference.outputs``, each of shape (n, ...)."""
OutputSource = Callable[[Sequence[str]], Iterable[OutputArrays]]
"""From names of outputs to these outputs, batch by batch."""


class Reference:
    """What the original says of a set of examples.

    Args:
        tasks: The tasks that count.
        runs: Called with names of outputs, gives those of the original, batch by batch; called
            again if a task must see them all before it can read them.
        examples: How many examples there are.
        memory: Bytes that the predictions of all examples may take.

    Attributes:
        tasks: The tasks.
        outputs: The names of all their outputs.
        comparers: By task, what compares predictions.
        predictions: By task, what the original says, shape (n, ...).
        constants: By task, the agreement of a network that gives the same for every input.

    Raises:
        DataError: the predictions take more memory.
    """

    def __init__(
        self, tasks: Sequence[OutputTask], runs: OutputSource, examples: int, memory: int
    ) -> None:
        self.tasks = tuple(tasks)
        self.outputs = [name for task in tasks for name in task.outputs]
        self._places = [[self.outputs.index(name) for name in task.outputs] for task in tasks]
        self.comparers = tuple(
            self._fitted(task.comparer, runs, place)
            for task, place in zip(tasks, self._places, strict=True)
        )
        parts: list[list[NDArray[Any]]] = [[] for _ in tasks]
        constants = [ConstantNetwork(each, memory // 4) for each in self.comparers]
        for run in runs(self.outputs):
            read = self.read(run)
            for i, predictions in enumerate(read):
                check_room(predictions, examples, memory)
                parts[i].append(predictions)
                constants[i].add([run[at] for at in self._places[i]], predictions)
        self.predictions = tuple(np.concatenate(part) for part in parts)
        self.constants = tuple(each.agreement() for each in constants)

    def warnings(self, most: float) -> list[str]:
        """Return what a user should know of the tasks: that one was guessed, or can tell little.

        Args:
            most: The agreement of the constant network beyond which it is named.
        """
        guesses = [
            guess_warning(task.outputs, task.name, task.reason) for task in self.tasks if task.guess
        ]
        return guesses + [
            constant_warning(task, constant)
            for task, constant in zip(self.tasks, self.constants, strict=True)
            if constant > most
        ]

    def read(self, run: OutputArrays) -> list[NDArray[Any]]:
        """Return what each task reads from a run."""
        return [
            comparer.read([run[at] for at in place])
            for comparer, place in zip(self.comparers, self._places, strict=True)
        ]

    def compared(self, run: OutputArrays, first: int) -> list[NDArray[Any]]:
        """Return for each task the agreement of each example of a run, shape (n,).

        Where an example is compared by all others, its predictions instead, for :meth:`sums`.

        Args:
            run: The outputs for consecutive examples.
            first: The number of the first of them.
        """
        found = []
        for comparer, predictions, original in zip(
            self.comparers, self.read(run), self.predictions, strict=True
        ):
            if comparer.of_set:
                found.append(predictions)
            else:
                found.append(
                    comparer.agreement(original[first : first + len(predictions)], predictions)
                )
        return found

    def sums(self, compared: Iterable[Sequence[NDArray[Any]]]) -> list[float]:
        """Return for each task the sum of the agreements of all examples.

        Args:
            compared: What :meth:`compared` gave, batch by batch in order.
        """
        columns = [np.concatenate(column) for column in zip(*compared, strict=True)]
        return [
            float((comparer.agreement(original, column) if comparer.of_set else column).sum())
            for comparer, original, column in zip(
                self.comparers, self.predictions, columns, strict=True
            )
        ]

    def _fitted(self, comparer: Comparer, runs: OutputSource, place: Sequence[int]) -> Comparer:
        if not comparer.spread_needed:
            return comparer
        return comparer.fitted([run[at] for at in place] for run in runs(self.outputs))
