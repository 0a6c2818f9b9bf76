"""A training command for `evaluate.command`: logistic regression or a small MLP of scikit-learn on the pictures.

    python train_command.py MANIFEST OUTPUT SEED [logistic | mlp]

It shows all that a command has to do: read the manifest, train with weights, predict every test row, write JSON.
Logistic regression is convex, so the seed changes nothing there. The MLP needs scikit-learn 1.7 for its weights.
"""

import json
import sys
from pathlib import Path

import numpy as np
import pandas as pd
from PIL import Image
from sklearn.linear_model import LogisticRegression
from sklearn.neural_network import MLPClassifier
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

_NUM_EPOCHS = 40


def main(manifest: Path, output: Path, seed: int, kind: str = "logistic") -> None:
    """Train on the rows of split `train`, predict those of split `test`."""
    rows = pd.read_parquet(manifest)
    train, test = rows[rows["split"] == "train"], rows[rows["split"] == "test"]
    x, x_test = pictures(train, manifest.parent), pictures(test, manifest.parent)
    if kind == "logistic":
        classifier = LogisticRegression(C=0.01, max_iter=200)
    else:
        classifier = MLPClassifier((64,), max_iter=_NUM_EPOCHS, n_iter_no_change=_NUM_EPOCHS, random_state=seed)
    name = type(classifier).__name__.lower()
    model = make_pipeline(StandardScaler(), classifier)
    model.fit(x, train["class_name"], **{f"{name}__sample_weight": train["weight"].to_numpy()})
    predictions = dict(zip(test["sample_id"], model.predict(x_test).tolist(), strict=True))
    output.write_text(json.dumps({"predictions": predictions}))


def pictures(rows: pd.DataFrame, folder: Path) -> np.ndarray:
    """Return the pictures as rows of float32 in [0, 1], `[n, h * w * channels]`."""
    return np.stack([np.asarray(Image.open(folder / name), np.float32).ravel() / 255 for name in rows["file_name"]])


if __name__ == "__main__":
    main(Path(sys.argv[1]), Path(sys.argv[2]), int(sys.argv[3]), *sys.argv[4:])
