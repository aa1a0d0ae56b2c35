"""Which units matter? One point for each unit: how it depends on others, and what it prefers.

Trains a network with two hidden layers on the digits of scikit-learn.
"""

import matplotlib.pyplot as plt
import torch
from sklearn.datasets import load_digits
from torch import nn

import frivkit

EPOCHS = 20

digits = load_digits()
x = torch.tensor(digits.data / 16, dtype=torch.float32)
y = torch.tensor(digits.target)

torch.manual_seed(0)
net = nn.Sequential(nn.Linear(64, 64), nn.ReLU(), nn.Linear(64, 64), nn.ReLU(), nn.Linear(64, 10))
optimiser = torch.optim.Adam(net.parameters(), 2e-3)
for _ in range(EPOCHS):
    for batch in torch.randperm(1200).split(50):
        optimiser.zero_grad()
        nn.functional.cross_entropy(net(x[batch]), y[batch]).backward()
        optimiser.step()

metrics = ["dead-units", "predictability", "selectivity"]
result = frivkit.analyze(net.eval(), metrics, data=(x[1200:], y[1200:]))
units = result.to_pandas(per_unit=True)
print(units.head())

figure, axes = plt.subplots(figsize=(6, 4), layout="constrained")
for layer, rows in units[units["dead-units"] == 0].groupby("layer"):
    axes.scatter(1 - rows["predictability"], rows["selectivity"], label=f"layer {layer}")
axes.set(xscale="log", ylabel="selectivity for one class")
axes.set_xlabel("share of the unit's variance that the others leave unexplained")
axes.legend()
figure.savefig("units.svg")
plt.close(figure)
