"""The task keeps the rules of tasks, and reads the predictions that it should."""

import numpy as np
from frivkit.testing.conformance import check_task

from frivkit_mine.task import BEST_THREE, BestThree


def test_task_conforms():
    check_task(BEST_THREE)


def test_task_reads_the_best_three_in_the_order_of_their_numbers():
    outputs = np.array([[5.0, 1.0, 4.0, 3.0], [0.0, 1.0, 2.0, np.nan]])
    assert BestThree().read([outputs]).tolist() == [[0, 2, 3], [-1, -1, -1]]
