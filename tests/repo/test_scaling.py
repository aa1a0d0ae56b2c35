"""The simulation of schedules obeys laws, and its page is what was stored."""

import json
from itertools import pairwise
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

page = pytest.importorskip("benchmarks.scaling.page", reason="the checkout is not on the path")
picture = pytest.importorskip("benchmarks.scaling.picture")
work = pytest.importorskip("benchmarks.scaling.work")

from benchmarks.scaling.schedule import Costs, TaskMap, floors, simulate  # noqa: E402

ROOT = Path(__file__).parents[2]
STORED = ROOT / "benchmarks/results/scaling.json"

seconds = st.floats(0.0, 100.0).map(lambda number: round(number, 3))
maps = st.lists(
    st.builds(
        TaskMap,
        st.lists(seconds, min_size=1, max_size=30),
        write=seconds,
        begin=seconds,
        read_bytes=st.sampled_from([0.0, 10.0]),
        result_bytes=st.sampled_from([0.0, 5.0]),
        ordered=st.booleans(),
    ),
    min_size=1,
    max_size=3,
)
costs = st.builds(
    Costs, seconds, seconds, seconds, st.sampled_from([1.0, 1e9]), st.sampled_from([1.0, 1e9])
)
free = maps.map(lambda each: [TaskMap(one.seconds, ordered=one.ordered) for one in each])


@settings(deadline=None, max_examples=60)
@given(free)
def test_one_worker_takes_the_sum_of_all_items(each):
    assert simulate(each, 1).seconds == pytest.approx(sum(sum(one.seconds) for one in each))


@settings(deadline=None, max_examples=100)
@given(maps, st.integers(1, 9), costs)
def test_no_schedule_is_faster_than_its_floors(each, workers, of_engine):
    found = simulate(each, workers, of_engine)
    least = floors(each, workers, of_engine)
    slack = 1 + 1e-9
    for floor in (least.work, least.longest, least.client, least.store):
        assert found.seconds * slack >= floor
    busy = found.computing + found.fetching + found.beginning
    assert busy <= workers * found.seconds * slack
    assert found.client <= found.seconds * slack


@settings(deadline=None, max_examples=60)
@given(st.lists(seconds, min_size=1, max_size=30), st.integers(1, 6))
def test_list_schedules_keep_the_bound_of_graham(items, workers):
    """Graham 1966: at most 2 - 1/m times the best, so of the larger of two floors of it."""
    made = TaskMap(items, ordered=False)
    least = floors([made], workers)
    bound = least.work + (1 - 1 / workers) * least.longest
    assert simulate([made], workers).seconds <= bound + 1e-6


@settings(deadline=None, max_examples=60)
@given(free)
def test_more_workers_are_never_slower_without_overhead(each):
    times = [simulate(each, workers).seconds for workers in range(1, 12)]
    assert all(after <= before + 1e-6 for before, after in pairwise(times))


def test_a_schedule_by_hand():
    """Two workers, a client of 1 s an item and workers that start for 2 s, drawn on paper.

    Handed over at 0.5 and 1.0, begun behind the start at 2.5 and 3.0, done at 6.5 and 7.0; taken
    until 7.0 and 7.5; the third waits at the first worker from 1.5 on, and is done at 10.5.
    """
    found = simulate([TaskMap([4.0, 4.0, 4.0])], 2, Costs(hand_over=1.0, start=2.0))
    assert found.seconds == 11.0
    assert (found.computing, found.beginning, found.client) == (12.0, 4.0, 3.0)


def test_results_in_order_wait_for_the_oldest_item():
    """Behind an item of 10 s, no more than two items a worker are handed over."""
    items = [10.0, *[1.0] * 8]
    assert simulate([TaskMap(items, ordered=False)], 2).seconds == 10.0
    assert simulate([TaskMap(items, ordered=True)], 2).seconds == 13.0


def test_one_store_serves_one_worker_at_a_time():
    made = TaskMap([1.0] * 8, read_bytes=10.0)
    assert simulate([made], 8, Costs(store_rate=10.0)).seconds == 9.0


@pytest.fixture(scope="module")
def stored():
    return json.loads(STORED.read_text())


def test_page_and_picture_are_those_of_the_stored_results(stored):
    text = (ROOT / "docs/scaling.md").read_text()
    assert page.in_page(text, page.blocks(stored)) == text
    made = picture.picture(stored["simulated"])
    assert (ROOT / "docs/scaling.svg").read_text() == made
    with pytest.raises(ValueError, match="lacks"):
        page.in_page("no comments", {"limits": "new"})


def test_the_stored_simulation_is_that_of_the_stored_measurements(stored):
    """For one number of workers, to save time; the parts are those that frivkit makes now."""
    network, decoding = stored["ResNet-50"]["found"], stored["decoding"]["found"]
    maps = work.analysis_maps(network, decoding, 32)
    costs = work.costs_of(stored["overheads"]["found"])
    found = simulate(maps, 32, costs).seconds
    assert found == pytest.approx(stored["simulated"]["analysis"]["ResNet-50"]["32"]["seconds"])
    jobs = work.sweep_maps(stored["steps"]["found"]["jobs"])
    sweep = stored["simulated"]["sweep"]["narrowest first"]["32"]["seconds"]
    assert simulate(jobs, 32, costs).seconds == pytest.approx(sweep)


def test_every_part_tells_when_and_where_it_was_measured(stored):
    for name, part in stored.items():
        if name != "simulated":
            assert {"date", "processor", "packages"} <= part["setting"].keys(), name
            assert part["load"] >= 0
