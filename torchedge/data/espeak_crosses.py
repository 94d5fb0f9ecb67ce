"""Voices that eSpeak NG does not have: each lies between two, or near one, that it has."""

import random
from collections.abc import Mapping, Sequence

__all__ = ["crossed_voices"]

_FORMANT = "formant"
_MIXED = (
    *("flutter", "roughness", "voicing", "consonants", "breath", "breathw", "stressAmp"),
    *("stressAdd", "echo", "intonation", "tone", "pitch"),
)
_MOST_MOVED = 0.08  # of a formant's frequency, up or down


def crossed_voices(
    files: Mapping[str, str], names: Sequence[str], count: int, draw: random.Random
) -> dict[str, str]:
    r"""Texts of new voice files, by new names.

    Formants, roughness and all else that both parents state lie at a random place between theirs,
    and every formant is moved a little; what only one states is taken over by chance. Parents are
    drawn one by one, so they may be the same voice twice.

    Args:
        files: Texts of eSpeak NG's voice files, by name.
        names: Of the voices that may be parents.
        count: How many there are to be.
        draw: Makes every choice.

    Example:
        >>> files = {"a": "formant 1 80 100 100", "b": "formant 1 120 100 100"}
        >>> crossed_voices(files, ["a", "b"], 1, random.Random(4))
        {'crossed0': 'language variant\nname crossed0\nformant 1 114 100 100\n'}
    """
    lines = {name: _settings(files[name]) for name in sorted(names)}
    parents = sorted(lines)
    return {
        f"crossed{number}": _child(
            f"crossed{number}", lines[draw.choice(parents)], lines[draw.choice(parents)], draw
        )
        for number in range(count)
    }


def _settings(text: str) -> dict[str, list[int]]:
    """Numbers of the lines that can be mixed; a formant's key has its number."""
    found: dict[str, list[int]] = {}
    for line in text.splitlines():
        key, *values = line.split("//")[0].split() or [""]
        if not values or not all(value.lstrip("+-").isdigit() for value in values):
            continue
        if key == _FORMANT and len(values) > 1:
            found[f"{key} {values[0]}"] = [int(value) for value in values[1:]]
        elif key in (*_MIXED, "klatt"):
            found[key] = [int(value) for value in values]
    return found


def _child(
    name: str, first: dict[str, list[int]], second: dict[str, list[int]], draw: random.Random
) -> str:
    share = draw.random()
    lines = ["language variant", f"name {name}"]
    for key in sorted({*first, *second}):
        values = _values(first.get(key), second.get(key), share, draw)
        if key.startswith(_FORMANT) and values:
            values[0] = round(values[0] * draw.uniform(1 - _MOST_MOVED, 1 + _MOST_MOVED))
        if values:
            lines.append(f"{key} {' '.join(map(str, values))}")
    return "\n".join(lines) + "\n"


def _values(
    first: list[int] | None, second: list[int] | None, share: float, draw: random.Random
) -> list[int]:
    """Between both where they have as many numbers; else those of either, or none, by chance."""
    if first and second and len(first) == len(second) > 0 and first != second:
        if len(first) == 1 and max(*first, *second) <= 10:  # a level, or a kind of synthesis
            return list(draw.choice((first, second)))
        return [round(share * a + (1 - share) * b) for a, b in zip(first, second, strict=True)]
    return list(draw.choices((first, second), (share, 1 - share))[0] or [])
