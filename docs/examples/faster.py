"""I have a model and want it faster: which sizes are there, and what does each one keep?

Trains a small convolutional network on the digits of scikit-learn, compresses it to several sizes,
and draws how often each agrees with the original against its time.
"""

import matplotlib.pyplot as plt
import torch
from sklearn.datasets import load_digits
from torch import nn

import frivkit

EPOCHS, SHARES = 8, [0.75, 0.5, 0.25, 0.1, 0.05]

digits = load_digits()
x = torch.tensor(digits.images[:, None] / 16, dtype=torch.float32)
y = torch.tensor(digits.target)

torch.manual_seed(0)
net = nn.Sequential(
    nn.Conv2d(1, 32, 3, padding=1),
    nn.ReLU(),
    nn.Conv2d(32, 64, 3, padding=1),
    nn.ReLU(),
    nn.MaxPool2d(2),
    nn.Conv2d(64, 128, 3, padding=1),
    nn.ReLU(),
    nn.AdaptiveAvgPool2d(1),
    nn.Flatten(),
    nn.Linear(128, 10),
)
optimiser = torch.optim.Adam(net.parameters(), 2e-3)
for _ in range(EPOCHS):
    for batch in torch.randperm(1200).split(50):
        optimiser.zero_grad()
        nn.functional.cross_entropy(net(x[batch]), y[batch]).backward()
        optimiser.step()

net.eval()
sizes = frivkit.frontier(
    net, "digits-{budget}.onnx", data=x[:1200], verify_data=x[1200:], macs=SHARES
)
print(sizes)
axes = sizes.plot("latency")
axes.figure.savefig("faster.svg")
plt.close(axes.figure)
