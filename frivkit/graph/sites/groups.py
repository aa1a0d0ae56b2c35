"""The pruning groups of a model, and the reasons why some of them cannot be removed."""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from frivkit.graph.components import connected_components
from frivkit.graph.layout import NO_GROUP, IntArray
from frivkit.graph.model import Model
from frivkit.graph.names import node_label
from frivkit.graph.operators.edits import Edit, KeepStatistics, Locked, SelectOperand, SliceOperand
from frivkit.graph.operators.table import edits, operators_of
from frivkit.graph.sites.group_ids import GroupAssignment, assign_groups
from frivkit.graph.sites.heads import Heads
from frivkit.graph.sites.shared_weights import merged_groups, unequal_uses
from frivkit.graph.sites.site_map import SiteMap


@dataclass(frozen=True, slots=True)
class Groups:
    """The pruning groups of a model: units that can only be removed together.

    Attributes:
        of: By the name of a site, the group of each of its units, shape (units,).
        count: The number of groups; they are numbered from 0.
        locked: By group, the reason why it cannot be removed, for each that cannot.
        layer_groups: Sets of sites that share groups or heads, each site in one of them, in the
            order of the graph.
        rows: Sets of groups that fill an axis of some tensor, so that one of each must stay: those
            of a site, of a part of a split, of a head.
        heads: The heads of attentions, which keep equally many groups each.
    """

    of: Mapping[str, IntArray]
    count: int
    locked: Mapping[int, str]
    layer_groups: tuple[tuple[str, ...], ...]
    rows: tuple[IntArray, ...] = ()
    heads: tuple[Heads, ...] = ()

    @property
    def free(self) -> NDArray[np.bool_]:
        """Whether each group can be removed, shape (groups,)."""
        free = np.ones(self.count, dtype=np.bool_)
        free[list(self.locked)] = False
        return free

    def reason(self, site: str) -> str | None:
        """Return why no unit of a site can be removed, None if one can be."""
        reasons = [self.locked.get(int(group)) for group in self.of[site]]
        return None if None in reasons else reasons[0]

    def flags(self, stays: NDArray[np.bool_]) -> dict[str, NDArray[np.bool_]]:
        """Return whether each unit stays.

        Args:
            stays: Whether each group stays, shape (groups,).

        Returns:
            Flags by the name of a site, shape (units,).
        """
        return {site: stays[groups] for site, groups in self.of.items()}


@dataclass(frozen=True, slots=True)
class PruningGraph:
    """The groups of a model, and the edits that remove them.

    Attributes:
        groups: The groups.
        assignment: Their positions in all tensors.
        edits: By the position of a node in the graph, the edits that it needs.
    """

    groups: Groups
    assignment: GroupAssignment
    edits: Mapping[int, tuple[Edit, ...]]


def find_groups(model: Model, site_map: SiteMap) -> Groups:
    """Return the pruning groups of a model.

    1. Units that meet in a sum, a product, a depthwise convolution or in shared weights are one
       group, as are all units that one group of a grouped convolution consumes and produces.  The
       parts of a concatenation are not.  The rows of a shared weight are one axis of units wherever
       they are read or written, and so are its columns.
    2. A group is locked if one of its units is an output of the model, is not followed to all its
       consumers, is consumed by an operator that cannot be narrowed exactly (a normalization over
       units, say) or that has no narrowing rule, or lies on an axis of a shared weight of which
       another node needs all.

    Args:
        model: The model, with known shapes.
        site_map: Its sites.

    Example:
        The outputs of two layers are added, so unit *i* of one and unit *i* of the other are one
        group:

        >>> from pathlib import Path
        >>> import onnx_ir as ir
        >>> from onnx import parser
        >>> from frivkit.graph.shapes import infer_shapes
        >>> from frivkit.graph.sites.site_map import find_sites
        >>> text = '<ir_version: 8, opset_import: ["": 17]> net (float[N, 1] x) => (float[N, 1] y)'
        >>> text += "<float[1, 2] u = {1, 2}, float[1, 2] v = {3, 4}, float[2, 1] w = {5, 6}>"
        >>> text += "{ a = MatMul(x, u) r = Relu(a) b = MatMul(x, v) s = Tanh(b)"
        >>> text += "  t = Add(r, s) y = MatMul(t, w) }"
        >>> network = ir.from_proto(parser.parse_model(text))
        >>> infer_shapes(network)
        >>> model = Model(network, Path("net.onnx"), "onnx", "", (), None)
        >>> groups = find_groups(model, find_sites(model))
        >>> {site: ids.tolist() for site, ids in groups.of.items()}, groups.layer_groups
        ({'r': [0, 1], 's': [0, 1]}, (('r', 's'),))
    """
    return analyze_groups(model, site_map).groups


def analyze_groups(model: Model, site_map: SiteMap) -> PruningGraph:
    """Return the groups of a model and the edits that remove them (see ``find_groups``)."""
    assignment = assign_groups(model.graph, site_map, operators_of(model))
    by_node = _edits(model, assignment)
    numbers = merged_groups(
        model.graph, _without_lines(by_node, assignment.count), assignment.count
    )
    if numbers.max(initial=-1) + 1 < assignment.count:
        assignment = assignment.renumbered(numbers)
        by_node = _edits(model, assignment)
    locked: dict[int, str] = {}
    of_lines: dict[int, str] = {}
    for reason, group_ids in _locks(model, site_map, assignment, by_node):
        for group in np.unique(group_ids[group_ids != NO_GROUP]).tolist():
            (locked if group < assignment.count else of_lines).setdefault(group, reason)
    uneven = _uneven_lines((e for several in by_node.values() for e in several), assignment.heads)
    heads = tuple(_restricted(each, of_lines, uneven) for each in assignment.heads)
    groups = Groups(
        assignment.of, assignment.count, {}, _layer_groups(assignment), _rows(assignment), heads
    )
    groups = with_locks(groups, locked)
    return PruningGraph(groups, assignment, {i: each for i, each in by_node.items() if each})


def with_locks(groups: Groups, locked: Mapping[int, str]) -> Groups:
    """Return groups of which some more are locked.

    A locked group holds its dimension in all heads, and its head.  If neither a dimension nor a
    head can leave, all are locked.

    Args:
        groups: The groups.
        locked: Reasons by group; those that are locked already keep theirs.
    """
    reasons = {**locked, **groups.locked}
    heads = []
    for each in groups.heads:
        why = [reasons[group] for group in each.groups.tolist() if group in reasons]
        fixed = each.fixed or (why[0] if why else None)
        blocks = []
        for block in each.blocks:
            own = [reasons[group] for group in block.groups.ravel().tolist() if group in reasons]
            held = block.fixed or (own[0] if own else None)
            if fixed is not None and held is not None:
                for group in block.groups.ravel().tolist():
                    reasons.setdefault(group, held)
            blocks.append(replace(block, fixed=held))
        heads.append(replace(each, fixed=fixed, blocks=tuple(blocks)))
    return replace(groups, locked=reasons, heads=tuple(heads))


def _uneven_lines(edits: Iterable[Edit], heads: Sequence[Heads]) -> set[int]:
    """Return the first lines of blocks of whose dimensions a node needs to know which stay.

    It slices a constant, or it takes some dimensions and not others.
    """
    blocks = sorted((b for each in heads for b in each.blocks), key=lambda b: b.first_line)
    firsts = np.array([block.first_line for block in blocks], np.intp)
    uneven: set[int] = set()
    for edit in edits:
        if isinstance(edit, Locked):
            continue
        reached = np.unique(np.searchsorted(firsts, edit.group_ids, side="right")) - 1
        for block in (blocks[i] for i in reached.tolist() if i >= 0):
            lines = edit.group_ids - block.first_line
            lines = lines[(lines >= 0) & (lines < block.groups.shape[1])]
            counts = np.bincount(lines, minlength=block.groups.shape[1])
            if len(lines) and (
                isinstance(edit, SliceOperand | SelectOperand | KeepStatistics)
                or len(set(counts.tolist())) > 1
            ):
                uneven.add(block.first_line)
    return uneven


def _restricted(heads: Heads, of_lines: Mapping[int, str], uneven: set[int]) -> Heads:
    """Return heads with what holds their lines, and whether they lose the same dimensions."""

    def held(first: int, count: int) -> str | None:
        return next((of_lines[i] for i in range(first, first + count) if i in of_lines), None)

    blocks = tuple(
        replace(
            block,
            uniform=block.uniform or block.first_line in uneven,
            fixed=block.fixed or held(block.first_line, block.groups.shape[1]),
        )
        for block in heads.blocks
    )
    fixed = heads.fixed or held(heads.first_line, heads.count)
    return replace(heads, blocks=blocks, fixed=fixed)


def _without_lines(
    by_node: Mapping[int, tuple[Edit, ...]], count: int
) -> dict[int, tuple[Edit, ...]]:
    """Return edits with ``NO_GROUP`` in place of lines, which are numbered behind the groups."""
    return {
        i: tuple(
            replace(edit, group_ids=np.where(edit.group_ids < count, edit.group_ids, NO_GROUP))
            for edit in several
        )
        for i, several in by_node.items()
    }


def _edits(model: Model, assignment: GroupAssignment) -> dict[int, tuple[Edit, ...]]:
    """Return the edits of each node, by its position in the graph."""
    return {i: tuple(edits(node, assignment.at, model)) for i, node in enumerate(model.graph)}


def _rows(assignment: GroupAssignment) -> tuple[IntArray, ...]:
    every = [
        *assignment.of.values(),
        *(ids for by_axis in assignment.group_ids.values() for ids in by_axis.values()),
    ]
    full = [
        np.unique(group_ids)
        for group_ids in every
        if (group_ids != NO_GROUP).all() and len(group_ids) and group_ids.max() < assignment.count
    ]
    return tuple({row.tobytes(): row for row in full}.values())


def _locks(
    model: Model,
    site_map: SiteMap,
    assignment: GroupAssignment,
    by_node: Mapping[int, tuple[Edit, ...]],
) -> Iterator[tuple[str, IntArray]]:
    """Return reasons and the groups that they lock; the first reason of a group counts."""
    for site in site_map.sites:
        if site.not_followed:
            yield site.not_followed[0], assignment.of[site.name]
    for output in model.graph.outputs:
        for group_ids in assignment.at(output).values():
            yield f"units of the model's output {output.name!r}", group_ids
    for index, node in enumerate(model.graph):
        for edit in by_node[index]:
            if isinstance(edit, Locked):
                yield f"{node_label(node)}: {edit.reason}", edit.group_ids
    yield from unequal_uses(model.graph, by_node)
    yield "units that lie on each other in one tensor only", assignment.conflicting


def _layer_groups(assignment: GroupAssignment) -> tuple[tuple[str, ...], ...]:
    """Return the sets of sites that share groups, each in the order of the graph."""
    sites = list(assignment.of)
    owner: dict[int, int] = {}  # by group, the first site that has it
    edges = [
        (owner.setdefault(group, number), number)
        for number, site in enumerate(sites)
        for group in np.unique(assignment.of[site]).tolist()
    ]
    pairs = np.array(edges, np.intp).reshape(-1, 2)
    together = [
        (np.full(len(numbers), numbers[0]), np.array(numbers))
        for heads in assignment.heads
        if (numbers := sorted({owner[group] for group in heads.groups.tolist()}))
    ]
    component = connected_components(len(sites), [(pairs[:, 0], pairs[:, 1]), *together])
    gathered: dict[int, list[str]] = {}
    for site, number in zip(sites, component.tolist(), strict=True):
        gathered.setdefault(number, []).append(site)
    return tuple(tuple(names) for names in gathered.values())
