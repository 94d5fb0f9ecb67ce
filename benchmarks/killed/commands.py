"""What is killed: every kind of command that writes a folder, with its inputs made once."""

import os
import subprocess
import sys
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import final

__all__ = ["COMMANDS", "Command", "Inputs", "make_inputs"]

_ROOT = Path(__file__).parents[2]
_RECIPE = Path(__file__).with_name("tiny_recipe.py")
# The recipes of the repository train for a minute; their place is taken by one of a second.
_WITHOUT_SOURCE = (
    "import sys; from torchedge.stopping import stop_in_one_line; stop_in_one_line(); "
    "from pathlib import Path; import torchedge.cli.export as command; recipe = sys.argv.pop(1); "
    "command._script = lambda name: Path(recipe); from torchedge.cli import main; "
    "sys.exit(main())"
)
# A folder of three files, so that many kills fall into the swap.
_PLAIN = (
    "import sys; from pathlib import Path; "
    "from torchedge.stopping import stop_in_one_line; stop_in_one_line(); "
    "from torchedge.exporting import Artifact, Format, write_artifact; "
    "from torchedge.writing import staged_folder, temporary_folder\n"
    "with staged_folder(Path(sys.argv[1]), overwrite='--overwrite' in sys.argv) as staging:\n"
    "  with temporary_folder('plain') as other:\n"
    "    (other / 'half').write_text('half', encoding='utf-8')\n"
    "    for name in 'abc': (staging / name).write_bytes(sys.argv[2].encode() * 2**18)\n"
    "  write_artifact(Artifact(path=staging, format=Format('plain'), inputs=(), outputs=(),"
    " made_by=('kills',)))\n"
)
# The same where the system cannot exchange two names.
_JOURNAL = _PLAIN.replace(
    "import staged_folder, temporary_folder\n",
    "import staged_folder, swap, temporary_folder\nswap._renamed = lambda *_: False\n",
)


@final
@dataclass(frozen=True, kw_only=True)
class Inputs:
    """What commands read, in two kinds, so that an old folder differs from a new one.

    Args:
        folder: Holds everything.
        kind: 0 or 1.
    """

    folder: Path
    kind: int

    def trained(self, target: str) -> Path:
        """What the tiny recipe saved for a target."""
        return self.folder / f"{target}-{self.kind}"

    @property
    def model(self) -> Path:
        """A float ONNX file."""
        return self.folder / f"model-{self.kind}.onnx"

    @property
    def data(self) -> Path:
        """A folder of arrays."""
        return self.folder / f"data-{self.kind}"


@final
@dataclass(frozen=True, kw_only=True)
class Command:
    """One command.

    Args:
        words: The command line from its inputs and the folder that it writes.
        replaces: Whether it takes ``--overwrite``.
    """

    words: Callable[[Inputs, Path], list[str]]
    replaces: bool = True


def _torchedge(*words: object) -> list[str]:
    return [sys.executable, "-m", "torchedge", *map(str, words)]


def _export(target: str) -> Command:
    return Command(
        words=lambda inputs, out: _torchedge(
            *("export", inputs.trained(target), "--target", target, "--out", out)
        )
    )


COMMANDS: Mapping[str, Command] = {
    "plain": Command(words=lambda i, out: [sys.executable, "-c", _PLAIN, str(out), str(i.kind)]),
    "journal": Command(
        words=lambda i, out: [sys.executable, "-c", _JOURNAL, str(out), str(i.kind)]
    ),
    "onnx-cpu": _export("onnx-cpu"),
    "jetson": _export("jetson"),
    "android": _export("android"),
    "import-onnx": Command(
        words=lambda inputs, out: _torchedge("import-onnx", inputs.model, inputs.data, out)
    ),
    "calibration": Command(
        words=lambda inputs, out: _torchedge(
            "calibration", "create", inputs.model, inputs.data, out
        ),
        replaces=False,
    ),
    "recipe": Command(
        words=lambda inputs, out: [
            *(sys.executable, str(_RECIPE), "--out", str(out), "--seed", str(inputs.kind))
        ]
    ),
    "no-source": Command(
        words=lambda inputs, out: [
            *(sys.executable, "-c", _WITHOUT_SOURCE, str(_RECIPE)),
            *("export", "--target", "onnx-cpu", "--out", str(out)),
        ]
    ),
}


def make_inputs(folder: Path, names: list[str]) -> tuple[Inputs, Inputs]:
    """Train, and write files, for the commands of these names.

    Raises:
        subprocess.CalledProcessError: It does not work even undisturbed.
    """
    kinds = Inputs(folder=folder, kind=0), Inputs(folder=folder, kind=1)
    targets = [name for name in names if name in {"onnx-cpu", "jetson", "android"}]
    for inputs in kinds:
        for target in targets:
            _train(inputs, target)
        if {"import-onnx", "calibration"} & {*names}:
            _write_model(inputs)
    return kinds


def _train(inputs: Inputs, target: str) -> None:
    out = inputs.trained(target)
    words = [sys.executable, str(_RECIPE), "--target", target, "--out", str(out)]
    environment = {**os.environ, "PYTHONPATH": f"{_ROOT}:{_ROOT / 'exporters'}"}
    subprocess.run([*words, "--seed", str(inputs.kind)], check=True, env=environment)


def _write_model(inputs: Inputs) -> None:
    import numpy as np
    import torch
    from torch import nn

    torch.manual_seed(inputs.kind)
    network = nn.Sequential(nn.Conv2d(3, 8, 3, padding=1), nn.ReLU(), nn.Conv2d(8, 4, 3)).eval()
    torch.onnx.export(network, (torch.rand(1, 3, 16, 16),), str(inputs.model), dynamo=False)
    inputs.data.mkdir(parents=True)
    random = np.random.default_rng(inputs.kind)
    for number in range(32):
        np.save(inputs.data / f"{number}.npy", random.random((3, 16, 16), dtype=np.float32))
