"""Search in a module of your own: which kernel size, and which activation, suits handwritten digits."""

import torch
from sklearn.datasets import load_digits
from torch import nn
from torch.utils.data import DataLoader, TensorDataset, random_split

import dnas


class Net(nn.Module):
    def __init__(self):
        super().__init__()
        kernels = {f"{k}x{k}": nn.Conv2d(1, 32, k, padding=k // 2) for k in (1, 3, 5)}
        self.features = dnas.Choice("kernel", kernels)
        self.act = dnas.Choice("activation", {"relu": nn.ReLU(), "tanh": nn.Tanh(), "gelu": nn.GELU()})
        self.head = nn.Linear(32 * 64, 10)

    def forward(self, x):
        return self.head(self.act(self.features(x)).flatten(1))


x, y = (torch.tensor(array) for array in load_digits(return_X_y=True))
data = TensorDataset(x.float().reshape(-1, 1, 8, 8) / 16, y)
torch.manual_seed(0)
train, val, test = (DataLoader(part, 64, shuffle=True) for part in random_split(data, [0.4, 0.4, 0.2]))

found = dnas.search(Net(), train, val, settings=dnas.SearchSettings(epochs=10))
network = dnas.derive(found.supernet.model, found.architecture)
dnas.retrain(network, [*train, *val], settings=dnas.RetrainSettings(epochs=10))
print(dict(found.architecture.decisions), f"{dnas.evaluate(network, test).top1:.1%} of the test images")
