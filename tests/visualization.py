"""A folder as ``frivkit visualize`` writes it, with images that are drawn and not found."""

import io
import json
from pathlib import Path

import numpy as np

from frivkit.digests import with_checksum, with_digest
from frivkit_featurevis.measures import comparison_rows, layer_measures
from frivkit_featurevis.render import LayerImages


def write_visualization(folder: Path) -> None:
    """Write the results and images of two layers of two networks, two units each."""
    (folder / "pieces").mkdir()
    measures, rows = [], []
    for model, spread in enumerate((0.05, 0.2)):
        measures.append([])
        for layer in ("first", "last"):
            generator = np.random.default_rng(len(layer) + model)
            images = np.clip(0.5 + spread * generator.normal(size=(2, 3, 8, 8)), 0, 1)
            file = f"{layer}{model}.npz"
            stream = io.BytesIO()
            np.savez(stream, images=images.astype(np.float32), before=np.zeros(2), after=np.ones(2))
            (folder / "pieces" / file).write_bytes(with_digest(stream.getvalue()))
            found = LayerImages(layer, 4, (0, 3), images, (0.0, 0.0), (1.0, 1.0), (file,))
            measures[model].append(layer_measures(found))
            values = {name: list(each) for name, each in measures[model][-1].values.items()}
            row = {"model": model, "layer": layer, "width": 4, "pieces": [file]}
            rows.append(row | {"total_variation": values})
    comparisons = comparison_rows(measures[0], measures[1], seed=0)
    document = {"schema": "frivkit.visualization/1", "layers": rows, "comparisons": comparisons}
    (folder / "results.json").write_text(json.dumps(with_checksum(document)))
