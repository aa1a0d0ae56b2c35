"""Networks over tokens, vectors and pairs of inputs, written with torch's own layers."""

import math

import torch
from torch import Tensor, nn
from torch.nn import functional as fn


class Mixer(nn.Module):
    """A dense layer over places, then one over channels (Tolstikhin 2021)."""

    def __init__(self) -> None:
        super().__init__()
        self.stem = nn.Conv2d(3, 6, 4, 4)
        self.n1, self.n2, self.last = nn.LayerNorm(6), nn.LayerNorm(6), nn.LayerNorm(6)
        self.up1, self.down1 = nn.Linear(16, 8), nn.Linear(8, 16)
        self.up2, self.down2 = nn.Linear(6, 12), nn.Linear(12, 6)
        self.head = nn.Linear(6, 4)

    def forward(self, x: Tensor) -> Tensor:
        x = self.stem(x).flatten(2).transpose(1, 2)
        y = self.n1(x).transpose(1, 2)
        x = x + self.down1(fn.gelu(self.up1(y))).transpose(1, 2)
        x = x + self.down2(fn.gelu(self.up2(self.n2(x))))
        return self.head(self.last(x).mean(1))


class ViT(nn.Module):
    """PatchReader as tokens, a class token, torch's own encoder layers (Dosovitskiy 2020)."""

    def __init__(self, layers: int = 2) -> None:
        super().__init__()
        self.patch = nn.Conv2d(3, 8, 4, 4)
        self.token = nn.Parameter(torch.zeros(1, 1, 8))
        self.place = nn.Parameter(torch.zeros(1, 17, 8))
        layer = nn.TransformerEncoderLayer(
            8, 2, 16, activation="gelu", batch_first=True, norm_first=True
        )
        self.encoder = nn.TransformerEncoder(layer, layers, enable_nested_tensor=False)
        self.norm, self.head = nn.LayerNorm(8), nn.Linear(8, 4)

    def forward(self, x: Tensor) -> Tensor:
        x = self.patch(x).flatten(2).transpose(1, 2)
        x = torch.cat([self.token.expand(x.shape[0], -1, -1), x], 1) + self.place
        return self.head(self.norm(self.encoder(x))[:, 0])


class Bert(nn.Module):
    """Embedded tokens and places, encoder layers with the norm behind, a pooler (Devlin 2018)."""

    def __init__(self) -> None:
        super().__init__()
        self.words, self.places = nn.Embedding(20, 8), nn.Embedding(10, 8)
        self.norm = nn.LayerNorm(8)
        layer = nn.TransformerEncoderLayer(8, 2, 16, activation="gelu", batch_first=True)
        self.encoder = nn.TransformerEncoder(layer, 2, enable_nested_tensor=False)
        self.pooler, self.head = nn.Linear(8, 8), nn.Linear(8, 3)

    def forward(self, ids: Tensor) -> Tensor:
        places = torch.arange(ids.shape[1], device=ids.device)
        x = self.norm(self.words(ids) + self.places(places))
        return self.head(torch.tanh(self.pooler(self.encoder(x)[:, 0])))


class CausalAttention(nn.Module):
    """Attention written out: one layer for queries, keys and values, heads, a causal mask."""

    def __init__(self, wide: int, heads: int) -> None:
        super().__init__()
        self.heads, self.qkv, self.out = heads, nn.Linear(wide, 3 * wide), nn.Linear(wide, wide)
        self.register_buffer("mask", torch.ones(6, 6, dtype=torch.bool).tril())

    def forward(self, x: Tensor) -> Tensor:
        n, t, c = x.shape
        q, k, v = (
            part.view(n, t, self.heads, c // self.heads).transpose(1, 2)
            for part in self.qkv(x).split(c, 2)
        )
        scores = q @ k.transpose(-2, -1) / math.sqrt(c // self.heads)
        weights = scores.masked_fill(~self.mask, float("-inf")).softmax(-1)
        return self.out((weights @ v).transpose(1, 2).reshape(n, t, c))


class GPTBlock(nn.Module):
    """A pre-norm block (Radford 2019) with the tanh form of GELU."""

    def __init__(self, wide: int) -> None:
        super().__init__()
        self.n1, self.attend = nn.LayerNorm(wide), CausalAttention(wide, 2)
        self.n2, self.up, self.down = nn.LayerNorm(wide), nn.Linear(wide, 16), nn.Linear(16, wide)

    def forward(self, x: Tensor) -> Tensor:
        x = x + self.attend(self.n1(x))
        return x + self.down(fn.gelu(self.up(self.n2(x)), approximate="tanh"))


class GPT(nn.Module):
    """Two blocks, a norm, and a label for each token."""

    def __init__(self) -> None:
        super().__init__()
        self.words, self.place = nn.Embedding(20, 8), nn.Parameter(torch.zeros(6, 8))
        self.blocks = nn.Sequential(GPTBlock(8), GPTBlock(8))
        self.norm, self.head = nn.LayerNorm(8), nn.Linear(8, 20, bias=False)

    def forward(self, ids: Tensor) -> Tensor:
        x = self.blocks(self.words(ids) + self.place)
        return self.head(self.norm(x)).transpose(1, 2)


class RMSNorm(nn.Module):
    """Root-mean-square norm in pieces (Zhang 2019)."""

    def __init__(self, wide: int) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.ones(wide))

    def forward(self, x: Tensor) -> Tensor:
        return x * torch.rsqrt(x.pow(2).mean(-1, keepdim=True) + 1e-6) * self.weight


class LlamaBlock(nn.Module):
    """Separate queries, keys and values, and a gated dense layer (SwiGLU, Shazeer 2020)."""

    def __init__(self, wide: int = 8, heads: int = 2) -> None:
        super().__init__()
        self.heads = heads
        self.n1, self.n2 = RMSNorm(wide), RMSNorm(wide)
        self.q, self.k, self.v, self.o = (nn.Linear(wide, wide, bias=False) for _ in range(4))
        self.gate, self.up = nn.Linear(wide, 12, bias=False), nn.Linear(wide, 12, bias=False)
        self.down = nn.Linear(12, wide, bias=False)

    def forward(self, x: Tensor) -> Tensor:
        n, t, c = x.shape
        y = self.n1(x)
        q, k, v = (
            layer(y).view(n, t, self.heads, c // self.heads).transpose(1, 2)
            for layer in (self.q, self.k, self.v)
        )
        scores = (q @ k.transpose(-2, -1)) * (c // self.heads) ** -0.5
        x = x + self.o((scores.softmax(-1) @ v).transpose(1, 2).reshape(n, t, c))
        y = self.n2(x)
        return x + self.down(fn.silu(self.gate(y)) * self.up(y))


class Llama(nn.Module):
    """Vectors as tokens, a block, a norm and a head on the mean."""

    def __init__(self) -> None:
        super().__init__()
        self.stem, self.block = nn.Linear(5, 8), LlamaBlock()
        self.norm, self.head = RMSNorm(8), nn.Linear(8, 4)

    def forward(self, x: Tensor) -> Tensor:
        return self.head(self.norm(self.block(self.stem(x))).mean(1))


class LSTMClassifier(nn.Module):
    """A dense layer on each step, an LSTM, a dense layer on its last state."""

    def __init__(self) -> None:
        super().__init__()
        self.stem, self.cell = nn.Linear(5, 6), nn.LSTM(6, 7, batch_first=True)
        self.fc, self.head = nn.Linear(7, 8), nn.Linear(8, 3)

    def forward(self, x: Tensor) -> Tensor:
        made, _ = self.cell(fn.relu(self.stem(x)))
        return self.head(fn.relu(self.fc(made[:, -1])))


class Siamese(nn.Module):
    """Two inputs through the same layers, told apart by the difference."""

    def __init__(self) -> None:
        super().__init__()
        self.a, self.b, self.head = nn.Linear(6, 8), nn.Linear(8, 5), nn.Linear(5, 2)

    def arm(self, x: Tensor) -> Tensor:
        return fn.relu(self.b(fn.relu(self.a(x))))

    def forward(self, left: Tensor, right: Tensor) -> Tensor:
        return self.head((self.arm(left) - self.arm(right)).abs())


class TwoInputs(nn.Module):
    """An image and a row of numbers."""

    def __init__(self) -> None:
        super().__init__()
        self.image, self.row = nn.Conv2d(3, 4, 3), nn.Linear(5, 6)
        self.join, self.head = nn.Linear(10, 8), nn.Linear(8, 3)

    def forward(self, image: Tensor, row: Tensor) -> Tensor:
        seen = fn.relu(self.image(image)).mean((2, 3))
        return self.head(fn.relu(self.join(torch.cat([seen, torch.tanh(self.row(row))], 1))))


class GatedMLP(nn.Module):
    """A dense layer whose halves open each other."""

    def __init__(self) -> None:
        super().__init__()
        self.a, self.b = nn.Linear(6, 16), nn.Linear(8, 3)

    def forward(self, x: Tensor) -> Tensor:
        return self.b(fn.glu(self.a(x), 1))


def mlp() -> nn.Module:
    return nn.Sequential(
        nn.Linear(6, 12), nn.ReLU(), nn.Linear(12, 8), nn.Tanh(), nn.Dropout(), nn.Linear(8, 3)
    )
