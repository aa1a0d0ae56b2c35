"""The smaller model lost too much: train it towards the original, without labels.

Compresses a network for the digits of scikit-learn to a twentieth of its operations, trains the
compressed model on the outputs of the original, and draws how often both agree, before and after.
"""

import matplotlib.pyplot as plt
import torch
from sklearn.datasets import load_digits
from torch import nn

import frivkit

EPOCHS, MORE_EPOCHS = 20, 30

digits = load_digits()
x = torch.tensor(digits.data / 16, dtype=torch.float32)
y = torch.tensor(digits.target)

torch.manual_seed(0)
net = nn.Sequential(
    nn.Linear(64, 128), nn.ReLU(), nn.Linear(128, 128), nn.ReLU(), nn.Linear(128, 10)
)


def train(network: nn.Module, epochs: int, loss_of, rate: float) -> None:
    """Train a network on the first 1,200 digits."""
    optimiser = torch.optim.Adam(network.parameters(), rate)
    for _ in range(epochs):
        for batch in torch.randperm(1200).split(50):
            optimiser.zero_grad()
            loss_of(network(x[batch]), batch).backward()
            optimiser.step()


train(net, EPOCHS, lambda out, batch: nn.functional.cross_entropy(out, y[batch]), 2e-3)
net.eval()
compressed = frivkit.compress(net, "compressed.onnx", data=x[:1200], macs=0.05)

with torch.no_grad():
    wanted = net(x[:1200])
module = compressed.module
train(
    module,
    MORE_EPOCHS,
    lambda out, batch: nn.functional.mse_loss(out, wanted[batch]) / wanted.var(),
    1e-3,
)
frivkit.save(module, "finetuned.onnx")

figure, axes = plt.subplots(figsize=(5, 3), layout="constrained")
for name in ("compressed", "finetuned"):
    found = frivkit.verify(net, f"{name}.onnx", data=x[1200:], time_batches=())
    low, high = found.interval
    print(f"{name}: agreement {found.agreement:.3f} ({low:.3f} to {high:.3f})")
    error = [[found.agreement - low], [high - found.agreement]]
    axes.bar(name, found.agreement, yerr=error, capsize=4)
axes.set(ylim=(0.8, 1), ylabel="labels that agree")
figure.savefig("finetune.svg")
plt.close(figure)
