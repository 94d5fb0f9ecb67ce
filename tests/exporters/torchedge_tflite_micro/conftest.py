"""Artefacts of one operator each, made without a converter, and projects written from them."""

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from torchedge.errors import MissingDependencyError
from torchedge.exporting import Artifact, Format, TensorSpec, write_artifact
from torchedge.exporting.samples import SAMPLES_FILE, Samples, save_samples
from torchedge_tflite.flatbuffer import parse, schema
from torchedge_tflite_micro.runtime import tflite_micro
from torchedge_tflite_micro.step import MODEL_FILE


@pytest.fixture(scope="session")
def runtimes():
    """What opens TFLite files, and what runs them like a microcontroller; else nothing to test."""
    try:
        schema()
        tflite_micro()
    except MissingDependencyError as error:
        pytest.skip(str(error))


@pytest.fixture
def tflite_artifact(runtimes, tmp_path) -> Callable[..., Artifact]:
    """Makes the artefact of a .tflite file; inputs and outputs keep TFLite's layout."""

    def make(data: bytes, *, name: str = "net", **fields) -> Artifact:
        folder = tmp_path / f"{name.replace('/', '-')}-tflite"
        folder.mkdir()
        (folder / MODEL_FILE).write_bytes(data)
        flat = parse(data)
        inputs = _specs(flat, flat.inputs, "input")
        random = np.random.default_rng(0)
        samples = tuple(
            random.uniform(-1, 1, (16, *spec.shape[1:])).astype(np.float32) for spec in inputs
        )
        save_samples(Samples(inputs=samples, expected=()), folder / SAMPLES_FILE)
        draft = Artifact(
            path=folder,
            format=Format("tflite"),
            inputs=inputs,
            outputs=_specs(flat, flat.outputs, "output"),
            made_by=("a test",),
            name=name,
            **fields,
        )
        return write_artifact(draft)

    return make


def _specs(flat, places, kind):
    return tuple(
        TensorSpec(f"{kind}_{i}", flat.tensors[place].shape, "float32")
        for i, place in enumerate(places)
    )


@pytest.fixture
def out(tmp_path) -> Path:
    """An empty folder for a step."""
    folder = tmp_path / "out"
    folder.mkdir()
    return folder
