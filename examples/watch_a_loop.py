"""A loop of your own, watched: the steps are far too large, and the alarm says so."""

import torch
from torch import nn

import firstlight as fl

if __name__ == "__main__":
    torch.manual_seed(0)
    model = nn.Sequential(nn.Linear(8, 32), nn.ReLU(), nn.Linear(32, 2))
    x = torch.randn(128, 8)
    y = (x.sum(1) > 0).long()
    optimizer = torch.optim.SGD(model.parameters(), lr=20.0)
    watch = fl.Watch(model, x, target=y, every=5, alarm="none")
    for _ in range(20):
        watch.step()
        optimizer.zero_grad()
        nn.functional.cross_entropy(model(x), y).backward()
        optimizer.step()
    print(watch.history)
