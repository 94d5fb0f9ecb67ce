"""Real data that arrives inside packages, so that nothing is downloaded at run time."""

from torchedge.data.digits import Digits

__all__ = ["Digits"]
