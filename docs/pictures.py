"""Draw the README's picture: the demo network's signal map, before and after.

python docs/pictures.py
"""

from pathlib import Path

import torch

import firstlight as fl
from firstlight.exhibits.first_light import build
from firstlight.exhibits.mnist import mnist
from firstlight.records.whole_files import write_atomically
from firstlight.reporting.signal_map import signal_chart

images = mnist()
batch, labels = (torch.from_numpy(a[:256]) for a in (images.inputs, images.targets))
torch.manual_seed(0)
model = build()
before = fl.check(model, batch, target=labels)
fl.plan(model, batch, target=labels).apply(model, seed=0)
after = fl.check(model, batch, target=labels)
for direction in ("forward", "backward"):
    svg = signal_chart(before, after, direction, before.findings).svg
    # A README is read on dark pages too; the picture brings its own ground.
    svg = svg.replace("<svg ", '<svg style="background:white" ', 1)
    path = Path(__file__).parent / f"signal-map-{direction}.svg"
    write_atomically(path, svg.encode())
    print(path.name, len(svg))
