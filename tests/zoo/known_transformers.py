"""Transformers as people have them: the layouts of well-known families, small, with drawn weights.

Widths differ wherever they may, so that no axis is taken for another.
"""

import math
from typing import Literal

import torch
from torch import Tensor, nn
from torch.nn import functional as fn

from tests.zoo.transformers import WrittenRMSNorm, rotated_by

WORDS, TOKENS, PLACES, HEADS, DEEP, WIDE, INNER, CLASSES = 30, 7, 100, 3, 4, 12, 20, 5
"""Words, tokens of an example and at most, heads, the width of a head, of the stream and of the
dense part, and outputs.  Heads fill the stream, as in all these families."""


def by_heads(x: Tensor, heads: int = HEADS) -> Tensor:
    """Return (examples, tokens, units) as (examples, heads, tokens, width of a head)."""
    return x.view(x.shape[0], x.shape[1], heads, -1).transpose(1, 2)


def in_rows(x: Tensor) -> Tensor:
    """Return (examples, heads, tokens, width of a head) as (examples, tokens, units)."""
    x = x.transpose(1, 2).contiguous()
    return x.view(x.shape[0], x.shape[1], -1)


class BertLayer(nn.Module):
    """A layer of BERT (Devlin 2018) with norms behind the sums."""

    def __init__(self) -> None:
        super().__init__()
        self.query, self.key, self.value, self.output = (nn.Linear(WIDE, WIDE) for _ in range(4))
        self.up, self.down = nn.Linear(WIDE, INNER), nn.Linear(INNER, WIDE)
        self.n1, self.n2 = nn.LayerNorm(WIDE, 1e-12), nn.LayerNorm(WIDE, 1e-12)

    def forward(self, x: Tensor, hidden: Tensor) -> Tensor:
        q, k, v = (by_heads(layer(x)) for layer in (self.query, self.key, self.value))
        weights = (q @ k.transpose(-1, -2) / math.sqrt(DEEP) + hidden).softmax(-1)
        x = self.n1(self.output(in_rows(weights @ v)) + x)
        return self.n2(self.down(fn.gelu(self.up(x))) + x)


class Bert(nn.Module):
    """Words and their mask; the first token is pooled."""

    def __init__(self) -> None:
        super().__init__()
        self.words, self.places = nn.Embedding(WORDS, WIDE), nn.Embedding(PLACES, WIDE)
        self.kinds, self.norm = nn.Embedding(2, WIDE), nn.LayerNorm(WIDE, 1e-12)
        self.layers = nn.ModuleList(BertLayer() for _ in range(2))
        self.pooler, self.head = nn.Linear(WIDE, WIDE), nn.Linear(WIDE, CLASSES)

    def forward(self, ids: Tensor, mask: Tensor) -> Tensor:
        places = torch.arange(ids.shape[1], device=ids.device)[None]
        kinds = torch.zeros_like(ids)
        x = self.norm(self.words(ids) + self.kinds(kinds) + self.places(places))
        hidden = (1.0 - mask[:, None, None, :].to(x.dtype)) * torch.finfo(x.dtype).min
        for layer in self.layers:
            x = layer(x, hidden)
        return self.head(torch.tanh(self.pooler(x[:, 0])))


class ViTBlock(nn.Module):
    """A block of timm's ViT (Dosovitskiy 2020): queries, keys and values of one layer."""

    def __init__(self, fused: bool) -> None:
        super().__init__()
        self.n1, self.n2 = nn.LayerNorm(WIDE, 1e-6), nn.LayerNorm(WIDE, 1e-6)
        self.qkv, self.proj = nn.Linear(WIDE, 3 * WIDE), nn.Linear(WIDE, WIDE)
        self.fc1, self.fc2, self.fused = nn.Linear(WIDE, INNER), nn.Linear(INNER, WIDE), fused

    def forward(self, x: Tensor) -> Tensor:
        n, t, c = x.shape
        qkv = self.qkv(self.n1(x)).reshape(n, t, 3, HEADS, DEEP).permute(2, 0, 3, 1, 4)
        q, k, v = qkv.unbind(0)
        if self.fused:
            made = fn.scaled_dot_product_attention(q, k, v)
        else:
            made = ((q * DEEP**-0.5) @ k.transpose(-2, -1)).softmax(dim=-1) @ v
        x = x + self.proj(made.transpose(1, 2).reshape(n, t, c))
        return x + self.fc2(fn.gelu(self.fc1(self.n2(x))))


class ViT(nn.Module):
    """Pictures in patches, behind a class token."""

    def __init__(self, *, fused: bool) -> None:
        super().__init__()
        self.patches = nn.Conv2d(3, WIDE, 4, 4)
        self.first = nn.Parameter(torch.zeros(1, 1, WIDE))
        self.places = nn.Parameter(torch.zeros(1, 5, WIDE))
        self.blocks = nn.Sequential(*(ViTBlock(fused) for _ in range(2)))
        self.norm, self.head = nn.LayerNorm(WIDE, 1e-6), nn.Linear(WIDE, CLASSES)

    def forward(self, x: Tensor) -> Tensor:
        x = self.patches(x).flatten(2).transpose(1, 2)
        x = torch.cat([self.first.expand(x.shape[0], -1, -1), x], 1) + self.places
        return self.head(self.norm(self.blocks(x))[:, 0])


class Conv1D(nn.Module):
    """GPT-2's linear layer, with its weights transposed."""

    def __init__(self, wide: int, reads: int) -> None:
        super().__init__()
        self.weight, self.bias = (
            nn.Parameter(torch.zeros(reads, wide)),
            nn.Parameter(torch.zeros(wide)),
        )

    def forward(self, x: Tensor) -> Tensor:
        made = torch.addmm(self.bias, x.view(-1, x.shape[-1]), self.weight)
        return made.view(*x.shape[:-1], -1)


class GPT2Block(nn.Module):
    """A block of GPT-2 (Radford 2019): one layer of which parts are taken, a mask of the past."""

    def __init__(self) -> None:
        super().__init__()
        self.n1, self.n2 = nn.LayerNorm(WIDE), nn.LayerNorm(WIDE)
        self.c_attn, self.c_proj = Conv1D(3 * WIDE, WIDE), Conv1D(WIDE, WIDE)
        self.c_fc, self.c_out = Conv1D(INNER, WIDE), Conv1D(WIDE, INNER)
        past = torch.ones(PLACES, PLACES, dtype=torch.bool).tril()
        self.register_buffer("past", past[None, None])

    def forward(self, x: Tensor) -> Tensor:
        q, k, v = (by_heads(part) for part in self.c_attn(self.n1(x)).split(WIDE, 2))
        scores = q @ k.transpose(-1, -2) / DEEP**0.5
        length = x.shape[1]
        least = torch.full([], torch.finfo(x.dtype).min)
        scores = torch.where(self.past[:, :, :length, :length], scores, least)
        x = x + self.c_proj(in_rows(scores.softmax(-1) @ v))
        made = self.c_fc(self.n2(x))
        made = 0.5 * made * (1 + torch.tanh(0.7978845608 * (made + 0.044715 * made.pow(3))))
        return x + self.c_out(made)


class GPT2(nn.Module):
    """Words to the logits of the next word, by the embedding itself."""

    def __init__(self) -> None:
        super().__init__()
        self.words, self.places = nn.Embedding(WORDS, WIDE), nn.Embedding(PLACES, WIDE)
        self.blocks, self.norm = nn.Sequential(GPT2Block(), GPT2Block()), nn.LayerNorm(WIDE)

    def forward(self, ids: Tensor) -> Tensor:
        places = torch.arange(ids.shape[1], device=ids.device)[None]
        x = self.words(ids) + self.places(places)
        return self.norm(self.blocks(x)) @ self.words.weight.t()


class LlamaBlock(nn.Module):
    """A block of Llama 2 (Touvron 2023): shared keys, rotations, RMS norms, a gated dense part."""

    def __init__(self) -> None:
        super().__init__()
        self.n1, self.n2 = WrittenRMSNorm(24), WrittenRMSNorm(24)
        self.q, self.k, self.v = (nn.Linear(24, size, bias=False) for size in (24, 8, 8))
        self.o = nn.Linear(24, 24, bias=False)
        self.gate, self.up, self.down = (
            nn.Linear(a, b, bias=False) for a, b in ((24, 20), (24, 20), (20, 24))
        )

    def forward(self, x: Tensor, cos: Tensor, sin: Tensor) -> Tensor:
        n, t, _ = x.shape
        y = self.n1(x)
        q, k, v = by_heads(self.q(y), 6), by_heads(self.k(y), 2), by_heads(self.v(y), 2)
        q, k = (rotated_by(each, cos[:, None], sin[:, None]) for each in (q, k))
        k, v = (each[:, :, None].expand(n, 2, 3, t, DEEP).reshape(n, 6, t, DEEP) for each in (k, v))
        made = fn.scaled_dot_product_attention(q, k, v, is_causal=True)
        x = x + self.o(in_rows(made))
        y = self.n2(x)
        return x + self.down(fn.silu(self.gate(y)) * self.up(y))


class Llama(nn.Module):
    """Words to the logits of the next word, angles computed from places."""

    def __init__(self) -> None:
        super().__init__()
        self.words, self.norm = nn.Embedding(WORDS, 24), WrittenRMSNorm(24)
        self.blocks = nn.ModuleList(LlamaBlock() for _ in range(2))
        self.head = nn.Linear(24, WORDS, bias=False)
        self.register_buffer("slow", 100.0 ** (-torch.arange(0, DEEP, 2) / DEEP))

    def forward(self, ids: Tensor) -> Tensor:
        x = self.words(ids)
        places = torch.arange(ids.shape[1], device=ids.device)[None]
        angles = (self.slow[None, :, None] @ places[:, None, :].float()).transpose(1, 2)
        angles = torch.cat([angles, angles], -1)
        for block in self.blocks:
            x = block(x, angles.cos(), angles.sin())
        return self.head(self.norm(x))


class T5Block(nn.Module):
    """A block of T5's encoder (Raffel 2019): scores without a scale, with biases of distances."""

    def __init__(self) -> None:
        super().__init__()
        self.n1, self.n2 = WrittenRMSNorm(WIDE), WrittenRMSNorm(WIDE)
        self.q, self.k, self.v = (nn.Linear(WIDE, 15, bias=False) for _ in range(3))
        self.o = nn.Linear(15, WIDE, bias=False)
        self.wi, self.wo = nn.Linear(WIDE, INNER, bias=False), nn.Linear(INNER, WIDE, bias=False)

    def forward(self, x: Tensor, bias: Tensor) -> Tensor:
        y = self.n1(x)
        q, k, v = (by_heads(layer(y)) for layer in (self.q, self.k, self.v))
        weights = (q @ k.transpose(3, 2) + bias).softmax(-1)
        x = x + self.o(in_rows(weights @ v))
        return x + self.wo(fn.relu(self.wi(self.n2(x))))


class T5(nn.Module):
    """Words to vectors, the biases of distances shared by all blocks."""

    def __init__(self) -> None:
        super().__init__()
        self.words, self.distances = nn.Embedding(WORDS, WIDE), nn.Embedding(8, HEADS)
        self.blocks, self.norm = nn.ModuleList(T5Block() for _ in range(2)), WrittenRMSNorm(WIDE)
        self.head = nn.Linear(WIDE, CLASSES)

    def forward(self, ids: Tensor) -> Tensor:
        places = torch.arange(ids.shape[1], device=ids.device)
        apart = (places[None, :] - places[:, None]).clamp(-4, 3) + 4
        bias = self.distances(apart).permute(2, 0, 1)[None]
        x = self.words(ids)
        for block in self.blocks:
            x = block(x, bias)
        return self.head(self.norm(x).mean(1))


class NeoXBlock(nn.Module):
    """Attention whose queries, keys and values lie together head by head (BLOOM, GPT-NeoX)."""

    def __init__(self, cut: Literal["select", "chunk", "split"]) -> None:
        super().__init__()
        self.norm, self.qkv, self.dense = (
            nn.LayerNorm(WIDE), nn.Linear(WIDE, 3 * WIDE), nn.Linear(WIDE, WIDE)
        )  # fmt: skip
        self.up, self.down, self.cut = nn.Linear(WIDE, INNER), nn.Linear(INNER, WIDE), cut

    def forward(self, x: Tensor) -> Tensor:
        n, t, _ = x.shape
        y = self.norm(x)
        qkv = self.qkv(y)
        if self.cut == "chunk":
            parts = qkv.view(n, t, HEADS, 3 * DEEP).transpose(1, 2).chunk(3, -1)
        elif self.cut == "select":
            fused = qkv.view(n, t, HEADS, 3, DEEP)
            parts = [fused[..., i, :].transpose(1, 2) for i in range(3)]
        else:
            fused = qkv.view(n, t, 3, HEADS, DEEP)
            parts = [each.squeeze(2).transpose(1, 2) for each in fused.split(1, 2)]
        q, k, v = parts
        made = (q @ k.transpose(2, 3) * DEEP**-0.5).softmax(-1) @ v
        return x + self.dense(in_rows(made)) + self.down(fn.gelu(self.up(y)))


class NeoX(nn.Module):
    """Words to the logits of the next word."""

    def __init__(self, cut: Literal["select", "chunk", "split"]) -> None:
        super().__init__()
        self.words, self.norm = nn.Embedding(WORDS, WIDE), nn.LayerNorm(WIDE)
        self.blocks = nn.Sequential(NeoXBlock(cut), NeoXBlock(cut))
        self.head = nn.Linear(WIDE, WORDS, bias=False)

    def forward(self, ids: Tensor) -> Tensor:
        return self.head(self.norm(self.blocks(self.words(ids))))


class MultiQuery(nn.Module):
    """One head of keys and values for all queries (Shazeer 2019), broadcast."""

    def __init__(self) -> None:
        super().__init__()
        self.words, self.norm = nn.Embedding(WORDS, WIDE), nn.LayerNorm(WIDE)
        self.q, self.kv, self.o = nn.Linear(WIDE, 12), nn.Linear(WIDE, 9), nn.Linear(15, WIDE)
        self.head = nn.Linear(WIDE, CLASSES)

    def forward(self, ids: Tensor) -> Tensor:
        x = self.words(ids)
        y = self.norm(x)
        q, (k, v) = by_heads(self.q(y)), self.kv(y).split([4, 5], 2)
        weights = (q @ k[:, None].transpose(2, 3) * 0.5).softmax(-1)
        return self.head((x + self.o(in_rows(weights @ v[:, None]))).mean(1))


class TimeMajor(nn.Module):
    """torch's encoder layers and attention, tokens in front of examples."""

    def __init__(self, kind: Literal["layer", "attention", "crossed"]) -> None:
        super().__init__()
        self.words = nn.Embedding(WORDS, WIDE)
        if kind == "layer":
            self.layer: nn.Module = nn.TransformerEncoderLayer(WIDE, HEADS, INNER)
        else:
            self.layer = nn.MultiheadAttention(WIDE, HEADS)
            self.norm = nn.LayerNorm(WIDE)
        self.head, self.kind = nn.Linear(WIDE, CLASSES), kind

    def forward(self, ids: Tensor) -> Tensor:
        x = self.words(ids).transpose(0, 1)
        if self.kind == "layer":
            x = self.layer(x)
        else:
            y = self.norm(x)
            x = x + self.layer(y, y, y, need_weights=self.kind == "crossed")[0]
        return self.head(x.mean(0))


class BatchFirst(nn.Module):
    """torch's encoder layers, examples in front of tokens."""

    def __init__(self, *, before: bool) -> None:
        super().__init__()
        self.words = nn.Embedding(WORDS, WIDE)
        layer = nn.TransformerEncoderLayer(
            WIDE, HEADS, INNER, activation="gelu", batch_first=True, norm_first=before
        )
        self.encoder = nn.TransformerEncoder(layer, 2, enable_nested_tensor=False)
        self.head = nn.Linear(WIDE, CLASSES)

    def forward(self, ids: Tensor) -> Tensor:
        return self.head(self.encoder(self.words(ids)).mean(1))
