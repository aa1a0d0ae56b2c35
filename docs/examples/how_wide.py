"""How wide need my network be? The units that networks of three widths use, and how they grow.

Trains networks with one hidden layer of 32, 64 and 128 units on the digits of scikit-learn.
"""

import matplotlib.pyplot as plt
import torch
from sklearn.datasets import load_digits
from torch import nn

import frivkit

EPOCHS, WIDTHS = 20, [32, 64, 128]

digits = load_digits()
x = torch.tensor(digits.data / 16, dtype=torch.float32)
y = torch.tensor(digits.target)

family = []
for width in WIDTHS:
    torch.manual_seed(0)
    net = nn.Sequential(nn.Linear(64, width), nn.ReLU(), nn.Linear(width, 10))
    optimiser = torch.optim.Adam(net.parameters(), 2e-3)
    for _ in range(EPOCHS):
        for batch in torch.randperm(1200).split(50):
            optimiser.zero_grad()
            nn.functional.cross_entropy(net(x[batch]), y[batch]).backward()
            optimiser.step()
    family.append(net.eval())

advice = frivkit.advise(family, data=x[1200:])
print(advice)
axes = advice.plot("redundant")
axes.figure.savefig("how_wide.svg")
plt.close(axes.figure)
