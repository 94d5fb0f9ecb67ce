"""Schemes and range rules by the names that people know them by."""

from collections.abc import Mapping

from torchedge.errors import SchemeError, UnknownNameError
from torchedge.quantization.calibration import entropy, minmax
from torchedge.quantization.histogram import RangeRule
from torchedge.quantization.range_rules import mse, percentile
from torchedge.scheme import QuantScheme

__all__ = ["rule_of", "scheme_of"]

_PERCENTILE = 99.99
_RULES: Mapping[str, RangeRule] = {
    "entropy": entropy,
    "minmax": minmax,
    "mse": mse,
    "percentile": percentile(_PERCENTILE),
}
_ALIASES = {"kl": "entropy", "max": "minmax", "squarederror": "mse"}


def scheme_of(scheme: object) -> QuantScheme:
    """A scheme, the one of a target, or that of a target's name.

    Args:
        scheme: What was given for a scheme.

    Raises:
        SchemeError: It is something else; the text says what to pass.
        UnknownNameError: There is no target of that name.

    Example:
        >>> from torchedge.exporting import target
        >>> scheme_of("jetson") == target("jetson").scheme
        True
    """
    if isinstance(scheme, QuantScheme):
        return scheme
    from torchedge.exporting.plugins import target_of
    from torchedge.exporting.target import Target

    if isinstance(scheme, Target | str):
        return target_of(scheme).scheme
    raise SchemeError(
        f"the scheme is a {type(scheme).__name__} ({_shown(scheme)}); pass the name of a target, "
        "torchedge.exporting.target('jetson').scheme, or a QuantScheme of your own."
    )


def rule_of(rule: object) -> RangeRule:
    """A range rule, or that of a name; ``percentile`` keeps 99.99 percent.

    Raises:
        UnknownNameError: There is no rule of that name.
        SchemeError: It is neither a name nor a function.

    Example:
        >>> rule_of("MinMax") is minmax
        True
    """
    if isinstance(rule, str):
        plain = "".join(letter for letter in rule.lower() if letter.isalpha())
        found = _RULES.get(_ALIASES.get(plain, plain))
        if found is None:
            raise UnknownNameError(
                f"there is no rule '{rule}'; use one of {', '.join(_RULES)}, or a function of a "
                "histogram and a spec."
            )
        return found
    if not callable(rule):
        raise SchemeError(
            f"the rule is a {type(rule).__name__} ({_shown(rule)}); give one of "
            f"{', '.join(_RULES)}, or a function of a histogram and a spec."
        )
    known: RangeRule = rule
    return known


def _shown(value: object) -> str:
    lines = repr(value).splitlines() or [""]
    return lines[0][:60]
