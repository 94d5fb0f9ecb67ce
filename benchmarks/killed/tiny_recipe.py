"""A recipe like those in recipes/, that trains a network of a few hundred weights for a second."""

if __name__ == "__main__":
    from torchedge.stopping import stop_in_one_line

    stop_in_one_line()

from pathlib import Path

import pytorch_lightning as pl
import torch
from torch import nn
from torch.utils.data import DataLoader, TensorDataset

from torchedge import exporting
from torchedge.cli import run_recipe
from torchedge.compressed import CompressedModel
from torchedge.models import Classifier
from torchedge.quantization import calibrate, minmax, prepare_qat


def main(
    *,
    target: str = "onnx-cpu",
    out: Path = Path("runs/tiny"),
    seed: int = 0,
    overwrite: bool = False,
) -> None:
    """Train and save.

    Args:
        target: Where it will run.
        out: New folder.
        seed: Of weights and data.
        overwrite: Replace the folder if it is ours.
    """
    exporting.require_free(out, overwrite=overwrite)
    pl.seed_everything(seed, verbose=False)
    scheme = exporting.target(target).scheme
    images, labels = torch.rand(64, 1, 8, 8), torch.arange(64) % 3
    network = nn.Sequential(
        *(nn.Conv2d(1, 8, 3, padding=1), nn.ReLU(), nn.AdaptiveAvgPool2d(1)),
        *(nn.Flatten(), nn.Linear(8, 3)),
    )
    trainer = pl.Trainer(
        accelerator="cpu",
        max_epochs=20,
        logger=False,
        enable_checkpointing=False,
        enable_model_summary=False,
        enable_progress_bar=False,
    )
    loader = DataLoader(TensorDataset(images, labels), 16)
    trainer.fit(Classifier(network), loader)
    network.eval()
    prepared = prepare_qat(network, scheme, (images[:1],))
    CompressedModel(
        module=calibrate(prepared, images.split(16), minmax),
        float_module=network,
        example_inputs=(images[:1],),
        samples=(images,),
        labels=labels,
        calibration=(images,),
        scheme=scheme,
        name="tiny",
    ).save(out, overwrite=overwrite)


if __name__ == "__main__":
    run_recipe(main)
