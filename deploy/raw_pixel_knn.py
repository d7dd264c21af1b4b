"""What nearest neighbours by raw pixels say of a data set: the line that learnt features have to pass.

The pictures at 32 pixels a side, the votes those of `lockstep eval` for the job dino. Prints one JSON line.
"""

import json
import sys
from pathlib import Path

import numpy as np
from PIL import Image

SIDE, NEIGHBOURS, TEMPERATURE = 32, 10, 0.07


def load(folder):
    pictures, labels = [], []
    for label, kind in enumerate(sorted(path for path in folder.iterdir() if path.is_dir())):
        for file in sorted(kind.iterdir()):
            image = Image.open(file).convert("RGB").resize((SIDE, SIDE), Image.BICUBIC)
            pictures.append(np.asarray(image, dtype=np.float32).ravel() / 255 - 0.45)
            labels.append(label)
    rows = np.array(pictures)
    return rows / np.linalg.norm(rows, axis=1, keepdims=True), np.array(labels)


bank, named = load(Path(sys.argv[1]) / "train")
asked, truth = load(Path(sys.argv[1]) / "val")
cosines = asked @ bank.T
scores = np.zeros((len(asked), named.max() + 1))
for row in range(len(asked)):
    for neighbour in np.argsort(-cosines[row])[:NEIGHBOURS]:
        scores[row, named[neighbour]] += np.exp(cosines[row, neighbour] / TEMPERATURE)
print(json.dumps({"knn_10_top1": 100 * float((scores.argmax(1) == truth).mean())}))
