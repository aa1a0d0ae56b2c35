"""Small transformers of many layouts: how heads are cut out, where norms stand, what tells places.

Each is a stem, one or two blocks, a norm and a head on the mean of the tokens.  Widths differ
wherever they may (tokens, stream, heads, width of a head of queries and keys, of values, of the
gated layer), so that no axis is taken for another.
"""

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor, nn
from torch.nn import functional as fn

TOKENS, READS, WIDE, CLASSES = 7, 5, 20, 4
"""Tokens of an example, numbers of a token, the width of the stream, outputs."""


@dataclass(frozen=True, slots=True)
class Shape:
    """How a block is built.

    Attributes:
        heads: Heads of queries.
        shared: Heads of keys and values; fewer than ``heads`` share them.
        deep: The width of a head of queries and keys.
        valued: The width of a head of values; None as ``deep``.
        projected: ``apart``: a layer each for queries, keys and values; ``parts``: one layer for
            all, its outputs in three parts of heads; ``by head``: each head's three parts together;
            ``axes``: as timm, with an axis for the three parts; ``einsum``: weights with an axis
            for heads.
        repeated: How shared keys and values meet their queries: ``interleave``, ``expand``,
            or ``queries``: the queries get an axis for those that share.
        places: What tells places: nothing, ``halves`` or ``pairs`` (RoPE), ``bias`` (a number for
            each head and distance).
        core: ``written``: products and a Softmax; ``sdpa``: torch's function.
        causal: Whether a token attends to those before it only.
        norm: ``layer``, ``rms`` (torch's), ``layer written`` or ``rms written`` in pieces.
        before: Whether norms stand in front of the two parts, else behind the sums.
        gated: Whether the dense part is gated (SwiGLU), else with GELU.
        normed_heads: Whether queries and keys are normed head by head.
        biased: Whether projections have biases.
        shift: Whether queries and keys are scaled each by a fourth root, as torch's export does.
    """

    heads: int = 3
    shared: int = 3
    deep: int = 4
    valued: int | None = None
    projected: Literal["apart", "parts", "by head", "axes", "einsum"] = "apart"
    repeated: Literal["interleave", "expand", "queries"] = "interleave"
    places: Literal["", "halves", "pairs", "bias"] = ""
    core: Literal["written", "sdpa"] = "written"
    causal: bool = False
    norm: Literal["layer", "rms", "layer written", "rms written"] = "layer"
    before: bool = True
    gated: bool = False
    normed_heads: bool = False
    biased: bool = True
    shift: bool = False


class WrittenLayerNorm(nn.Module):
    """Layer norm in pieces, as older exporters write it."""

    def __init__(self, wide: int) -> None:
        super().__init__()
        self.weight, self.bias = nn.Parameter(torch.ones(wide)), nn.Parameter(torch.zeros(wide))

    def forward(self, x: Tensor) -> Tensor:
        centred = x - x.mean(-1, keepdim=True)
        spread = torch.sqrt(centred.pow(2).mean(-1, keepdim=True) + 1e-5)
        return centred / spread * self.weight + self.bias


class WrittenRMSNorm(nn.Module):
    """Root-mean-square norm in pieces (Zhang 2019), as in Llama."""

    def __init__(self, wide: int) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.ones(wide))

    def forward(self, x: Tensor) -> Tensor:
        return self.weight * (x * torch.rsqrt(x.pow(2).mean(-1, keepdim=True) + 1e-6))


def norm(kind: str, wide: int = WIDE) -> nn.Module:
    kinds: dict[str, Callable[[int], nn.Module]] = {
        "layer": nn.LayerNorm,
        "rms": lambda wide: nn.RMSNorm(wide, eps=1e-6),
        "layer written": WrittenLayerNorm,
        "rms written": WrittenRMSNorm,
    }
    return kinds[kind](wide)


def rotated(x: Tensor, places: str) -> Tensor:
    """Turn pairs of numbers of each head by angles that grow with the token (RoPE, Su 2021).

    Args:
        x: Shape (examples, heads, tokens, width of a head).
        places: ``halves``: number *i* is paired with that half a head behind it; ``pairs``: with
            its neighbour.
    """
    deep = x.shape[-1]
    angles = torch.arange(TOKENS)[:, None] * 100.0 ** (-torch.arange(0, deep, 2) / deep)
    if places == "halves":
        angles = torch.cat([angles, angles], -1)
        return rotated_by(x, angles.cos(), angles.sin())
    cos, sin = angles.cos(), angles.sin()
    even, odd = x[..., ::2], x[..., 1::2]
    return torch.stack([even * cos - odd * sin, even * sin + odd * cos], -1).flatten(-2)


def rotated_by(x: Tensor, cos: Tensor, sin: Tensor) -> Tensor:
    """Turn each number of a head with that half a head behind it, by angles for each of them."""
    half = x.shape[-1] // 2
    return x * cos + torch.cat([-x[..., half:], x[..., :half]], -1) * sin


class Attention(nn.Module):
    """Attention by heads (Vaswani 2017), written out in the layout that a shape asks for."""

    def __init__(self, shape: Shape) -> None:
        super().__init__()
        self.shape = shape
        heads, deep = shape.heads, shape.deep
        self.valued = shape.valued or deep
        sizes = (heads * deep, shape.shared * deep, shape.shared * self.valued)
        if shape.projected == "apart":
            self.q, self.k, self.v = (nn.Linear(WIDE, size, bias=shape.biased) for size in sizes)
        elif shape.projected == "einsum":
            self.wq, self.wk, self.wv = (
                nn.Parameter(torch.zeros(WIDE, heads, size // heads)) for size in sizes
            )
            self.wo = nn.Parameter(torch.zeros(heads, self.valued, WIDE))
        else:
            self.qkv = nn.Linear(WIDE, sum(sizes), bias=shape.biased)
        if shape.normed_heads:
            self.nq, self.nk = norm("rms written", deep), norm("rms written", deep)
        if shape.places == "bias":
            self.bias = nn.Parameter(torch.zeros(1, heads, TOKENS, TOKENS))
        if shape.projected != "einsum":
            self.out = nn.Linear(heads * self.valued, WIDE, bias=shape.biased)

    def projections(self, x: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Return queries, keys and values, each (examples, heads, tokens, width of a head)."""
        n, t, _ = x.shape
        shape, heads, deep = self.shape, self.shape.heads, self.shape.deep
        if shape.projected == "apart":
            return (
                self.q(x).view(n, t, heads, deep).transpose(1, 2),
                self.k(x).view(n, t, shape.shared, deep).transpose(1, 2),
                self.v(x).view(n, t, shape.shared, self.valued).transpose(1, 2),
            )
        if shape.projected == "einsum":
            q, k, v = (torch.einsum("ntc,chd->nhtd", x, w) for w in (self.wq, self.wk, self.wv))
            return q, k, v
        if shape.projected == "axes":
            q, k, v = self.qkv(x).view(n, t, 3, heads, deep).permute(2, 0, 3, 1, 4).unbind(0)
            return q, k, v
        if shape.projected == "by head":
            parts = self.qkv(x).view(n, t, heads, 3 * deep).transpose(1, 2).chunk(3, -1)
            return parts[0], parts[1], parts[2]
        sizes = [heads * deep, shape.shared * deep, shape.shared * self.valued]
        q, k, v = self.qkv(x).split(sizes, -1)
        return (
            q.view(n, t, heads, deep).transpose(1, 2),
            k.view(n, t, shape.shared, deep).transpose(1, 2),
            v.view(n, t, shape.shared, self.valued).transpose(1, 2),
        )

    def repeated(self, x: Tensor) -> Tensor:
        """Repeat shared heads, one for each head of queries."""
        times = self.shape.heads // self.shape.shared
        if times == 1 or self.shape.repeated == "queries":
            return x
        if self.shape.repeated == "interleave":
            return x.repeat_interleave(times, dim=1)
        n, heads, t, deep = x.shape
        return x[:, :, None].expand(n, heads, times, t, deep).reshape(n, heads * times, t, deep)

    def attended(self, q: Tensor, k: Tensor, v: Tensor) -> Tensor:
        """Return the values by their scores, (examples, heads, tokens, width of a head)."""
        shape = self.shape
        if shape.core == "sdpa":
            return fn.scaled_dot_product_attention(q, k, v, is_causal=shape.causal)
        if shape.repeated == "queries" and shape.heads > shape.shared:
            n, _, t, _ = q.shape
            q = q.reshape(n, shape.shared, -1, t, shape.deep)
            k, v = k[:, :, None], v[:, :, None]
        if shape.shift:
            scores = (q * shape.deep**-0.25) @ (k.transpose(-2, -1) * shape.deep**-0.25)
        else:
            scores = q @ k.transpose(-2, -1) / math.sqrt(shape.deep)
        if shape.places == "bias":
            scores = scores + self.bias
        if shape.causal:
            scores = scores + torch.full((TOKENS, TOKENS), -1e9).triu(1)
        values = scores.softmax(-1) @ v
        return values.flatten(1, 2) if values.ndim == 5 else values

    def forward(self, x: Tensor) -> Tensor:
        n, t, _ = x.shape
        q, k, v = self.projections(x)
        if self.shape.normed_heads:
            q, k = self.nq(q), self.nk(k)
        if self.shape.places in {"halves", "pairs"}:
            q, k = rotated(q, self.shape.places), rotated(k, self.shape.places)
        made = self.attended(q, self.repeated(k), self.repeated(v))
        if self.shape.projected == "einsum":
            return torch.einsum("nhtd,hdc->ntc", made, self.wo)
        return self.out(made.transpose(1, 2).reshape(n, t, -1))


class Block(nn.Module):
    """Attention and a dense part, each added to the stream."""

    def __init__(self, shape: Shape) -> None:
        super().__init__()
        self.shape, self.attend = shape, Attention(shape)
        self.n1, self.n2 = norm(shape.norm), norm(shape.norm)
        self.up, self.down = (
            nn.Linear(WIDE, 24, bias=shape.biased),
            nn.Linear(24, WIDE, bias=shape.biased),
        )
        if shape.gated:
            self.gate = nn.Linear(WIDE, 24, bias=shape.biased)

    def dense(self, x: Tensor) -> Tensor:
        if self.shape.gated:
            return self.down(fn.silu(self.gate(x)) * self.up(x))
        return self.down(fn.gelu(self.up(x)))

    def forward(self, x: Tensor) -> Tensor:
        if self.shape.before:
            x = x + self.attend(self.n1(x))
            return x + self.dense(self.n2(x))
        x = self.n1(x + self.attend(x))
        return self.n2(x + self.dense(x))


class Transformer(nn.Module):
    """Vectors as tokens, blocks, a norm and a head on the mean of the tokens."""

    def __init__(self, shape: Shape, blocks: int = 1) -> None:
        super().__init__()
        self.stem = nn.Linear(READS, WIDE)
        self.blocks = nn.Sequential(*(Block(shape) for _ in range(blocks)))
        self.norm, self.head = norm(shape.norm), nn.Linear(WIDE, CLASSES)

    def forward(self, x: Tensor) -> Tensor:
        return self.head(self.norm(self.blocks(self.stem(x))).mean(1))


class TorchEncoder(nn.Module):
    """torch's own encoder layers."""

    def __init__(self, *, before: bool) -> None:
        super().__init__()
        self.stem = nn.Linear(READS, WIDE)
        layer = nn.TransformerEncoderLayer(
            WIDE, 4, 24, activation="gelu", batch_first=True, norm_first=before
        )
        self.encoder = nn.TransformerEncoder(layer, 2, enable_nested_tensor=False)
        self.head = nn.Linear(WIDE, CLASSES)

    def forward(self, x: Tensor) -> Tensor:
        return self.head(self.encoder(self.stem(x)).mean(1))


class Masked(nn.Module):
    """A BERT-like encoder with a mask beside the words: 1 where there is one (Devlin 2018)."""

    def __init__(self, words: int = 30) -> None:
        super().__init__()
        self.words, self.places = nn.Embedding(words, WIDE), nn.Embedding(TOKENS, WIDE)
        self.norm = nn.LayerNorm(WIDE)
        self.block, self.head = Block(Shape(before=False)), nn.Linear(WIDE, CLASSES)

    def forward(self, ids: Tensor, mask: Tensor) -> Tensor:
        shown = mask.to(torch.float32)
        x = self.norm(self.words(ids) + self.places(torch.arange(TOKENS)))
        attend, block = self.block.attend, self.block
        q, k, v = attend.projections(x)
        hidden = (1.0 - shown)[:, None, None, :] * -1e4
        scores = q @ k.transpose(-2, -1) / math.sqrt(q.shape[-1]) + hidden
        made = scores.softmax(-1) @ v
        x = block.n1(x + attend.out(made.transpose(1, 2).reshape(*x.shape[:2], -1)))
        x = block.n2(x + block.dense(x))
        shown = shown[:, :, None]
        return self.head((x * shown).sum(1) / shown.sum(1).clamp(min=1.0))


class Crossed(nn.Module):
    """Queries of one sequence, keys and values of another, as in a decoder."""

    def __init__(self) -> None:
        super().__init__()
        self.stem, self.other = nn.Linear(READS, WIDE), nn.Linear(READS + 1, 18)
        self.q, self.k, self.v = nn.Linear(WIDE, 12), nn.Linear(18, 12), nn.Linear(18, 15)
        self.out, self.norm = nn.Linear(15, WIDE), nn.LayerNorm(WIDE)
        self.head = nn.Linear(WIDE, CLASSES)

    def forward(self, x: Tensor, memory: Tensor) -> Tensor:
        x, memory = self.stem(x), fn.gelu(self.other(memory))
        q, k, v = (
            part.view(*part.shape[:2], 3, -1).transpose(1, 2)
            for part in (self.q(x), self.k(memory), self.v(memory))
        )
        made = (q @ k.transpose(-2, -1) * 0.5).softmax(-1) @ v
        x = x + self.out(made.transpose(1, 2).flatten(2))
        return self.head(self.norm(x).mean(1))


SHAPES = {
    "apart": Shape(valued=5),
    "apart, behind": Shape(valued=5, before=False),
    "in parts": Shape(projected="parts", valued=5, causal=True),
    "by head": Shape(projected="by head"),
    "axes (timm)": Shape(projected="axes", core="sdpa"),
    "einsum": Shape(projected="einsum", valued=5),
    "sdpa": Shape(core="sdpa", valued=5),
    "sdpa, causal": Shape(core="sdpa", causal=True),
    "fourth roots": Shape(shift=True),
    "biases of heads": Shape(places="bias", valued=5),
    "groups, interleaved": Shape(heads=6, shared=2, valued=5),
    "groups, expanded": Shape(heads=6, shared=2, repeated="expand", valued=5),
    "groups of queries": Shape(heads=6, shared=2, repeated="queries", valued=5),
    "groups, fused": Shape(heads=6, shared=2, projected="parts", repeated="expand"),
    "one head of keys": Shape(heads=3, shared=1, repeated="expand", valued=5),
    "RoPE, halves": Shape(places="halves", valued=5),
    "RoPE, pairs": Shape(places="pairs", valued=5),
    "normed heads": Shape(normed_heads=True, valued=5),
    "Llama": Shape(
        heads=6, shared=2, repeated="expand", places="halves", causal=True,
        norm="rms written", gated=True, biased=False, core="sdpa",
    ),
    "RMSNorm": Shape(norm="rms", gated=True, biased=False),
    "LayerNorm in pieces": Shape(norm="layer written"),
    "RMSNorm in pieces": Shape(norm="rms written", valued=5),
}  # fmt: skip
"""Transformers of one kind, by how their attention is laid out."""
