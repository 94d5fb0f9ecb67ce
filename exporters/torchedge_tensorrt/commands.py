"""``torchedge check-tensorrt``; found by an entry point."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import cyclopts

from torchedge.text import say

if TYPE_CHECKING:
    from torchedge_tensorrt.platforms import Platform
    from torchedge_tensorrt.rules import Violation

__all__ = ["check_tensorrt", "platform_of"]


def check_tensorrt(
    model: Path,
    /,
    *,
    target: str = "jetson",
    jetpack: str | None = None,
    dla: bool = False,
    as_json: Annotated[bool, cyclopts.Parameter(name=["--json"], negative=())] = False,
) -> None:
    """Check any ONNX file against TensorRT's rules for explicit quantisation.

    Ends with 0 when all rules hold, 1 when one is broken, 2 when the file cannot be read.

    Args:
        model: An ONNX file, of this package or any other.
        target: The board that will read it, for example jetson-orin-nano.
        jetpack: JetPack on the board; default the target's own.
        dla: Also what the deep learning accelerator asks for.
        as_json: Print JSON instead of text.
    """
    from torchedge.errors import ArtifactError, VerificationError
    from torchedge_onnx.census import read_model
    from torchedge_tensorrt.rules import RULES, broken_rules

    platform = platform_of(target, jetpack)
    if dla and not platform.dla_cores:
        from torchedge.errors import SchemeError

        raise SchemeError(
            f"{platform.device.name} has no deep learning accelerator; leave --dla out."
        )
    if not model.is_file():
        raise ArtifactError(f"'{model}' is no file; name an ONNX file.")
    violations = broken_rules(read_model(model), platform.tensorrt, dla=dla)
    if as_json:
        print(_json(model, platform, violations))  # noqa: T201
    else:
        for line in _lines(model, platform, violations):
            say(line)
    if violations:
        broken = sorted({v.rule for v in violations}, key=lambda rule: int(rule[1:]))
        raise VerificationError(
            f"'{model}' breaks {len(broken)} of {len(RULES)} rules ({', '.join(broken)}) at "
            f"{len(violations)} nodes; see above."
        )


def platform_of(target: str, jetpack: str | None) -> "Platform":
    """The board behind a target's name, with the JetPack that is asked for.

    Raises:
        UnknownNameError: The target is no TensorRT target, or never had that JetPack.

    Example:
        >>> platform_of("jetson", None).tensorrt
        (10, 3, 0)
    """
    from torchedge.errors import UnknownNameError
    from torchedge.exporting.plugins import target as target_named
    from torchedge_tensorrt.platforms import PLATFORMS, with_jetpack

    name = target_named(target).name
    if name not in PLATFORMS:
        raise UnknownNameError(
            f"'{target}' is no TensorRT target; there are {', '.join(sorted(PLATFORMS))}."
        )
    platform = PLATFORMS[name]
    return platform if jetpack is None else with_jetpack(platform, jetpack)


def _json(model: Path, platform: "Platform", violations: tuple["Violation", ...]) -> str:
    import json
    from dataclasses import asdict

    found = {
        "model": str(model),
        "device": platform.device.name,
        "tensorrt": ".".join(map(str, platform.tensorrt)),
        "clean": not violations,
        "violations": [asdict(violation) for violation in violations],
    }
    return json.dumps(found, indent=2)


def _lines(model: Path, platform: "Platform", violations: tuple["Violation", ...]) -> list[str]:
    from torchedge_tensorrt.rules import RULES

    tensorrt = ".".join(map(str, platform.tensorrt))
    if not violations:
        return [f"{model}: all {len(RULES)} rules hold for TensorRT {tensorrt}; nothing was run."]
    lines = []
    for violation in violations:
        lines.append(
            f"{violation.rule} {violation.operation} '{violation.node}': {violation.text}."
        )
    return lines + [
        f"  {rule}: {RULES[rule]}" for rule in RULES if any(v.rule == rule for v in violations)
    ]
