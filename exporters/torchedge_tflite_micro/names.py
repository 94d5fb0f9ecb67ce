"""Names and texts that a C++ compiler takes, whatever the model is called."""

import re
import unicodedata
from collections.abc import Sequence

from torchedge.errors import ExportError

__all__ = ["c_identifier", "c_string", "class_constants"]

# Keywords of C++, and names that TensorFlow Lite Micro, Arduino, or a compiler's macros hold.
_WORDS = """
alignas alignof and and_eq asm auto bitand bitor bool break case catch char char8_t char16_t
char32_t class compl concept const const_cast consteval constexpr constinit continue co_await
co_return co_yield decltype default delete do double dynamic_cast else enum explicit export
extern false float for friend goto if inline int long mutable namespace new noexcept not not_eq
nullptr operator or or_eq private protected public register reinterpret_cast requires return
short signed sizeof static static_assert static_cast struct switch template this thread_local
throw true try typedef typeid typename union unsigned using virtual void volatile wchar_t while
xor xor_eq
std tflite arduino main setup loop linux unix errno assert stdin stdout stderr app_main micros
delay byte word boolean
"""
_TAKEN = frozenset(_WORDS.split())
_LONGEST = 60


def c_identifier(name: str) -> str:
    """A lower-case identifier that is no keyword and begins with a letter.

    Args:
        name: Anything.

    Example:
        >>> [c_identifier(name) for name in ("Keyword spotter", "3d", "class", "größe", "")]
        ['keyword_spotter', 'model_3d', 'class_model', 'grosse', 'model']
    """
    words = _words(name).lower()[:_LONGEST].strip("_")
    if not words:
        return "model"
    if words[0].isdigit():
        return f"model_{words}"
    return f"{words}_model" if words in _TAKEN else words


def c_string(text: str) -> str:
    r"""A string literal that keeps every byte of UTF-8.

    Example:
        >>> print(c_string('say "ja" 5° ?'))
        "say \"ja\" 5\302\260 \?"
    """
    escaped = {ord('"'): '\\"', ord("\\"): "\\\\", ord("?"): "\\?"}  # ?? would begin a trigraph
    parts = [
        escaped.get(byte, chr(byte) if 32 <= byte < 127 else f"\\{byte:03o}")
        for byte in text.encode()
    ]
    return f'"{"".join(parts)}"'


def class_constants(names: Sequence[str]) -> tuple[str, ...]:
    """A constant for each class.

    Raises:
        ExportError: Two names become the same constant.

    Example:
        >>> class_constants(["yes", "go left"])
        ('CLASS_YES', 'CLASS_GO_LEFT')
    """
    found: dict[str, str] = {}
    for name in names:
        constant = f"CLASS_{_words(name).upper() or 'UNNAMED'}"
        if constant in found:
            raise ExportError(
                f"the classes '{found[constant]}' and '{name}' would both be {constant} in C++; "
                "give one of them another name."
            )
        found[constant] = name
    return tuple(found)


def _words(text: str) -> str:
    """Letters and digits, without accents, joined by single underscores."""
    spelt = unicodedata.normalize("NFKD", text.replace("ß", "ss"))
    plain = spelt.encode("ascii", "ignore").decode()
    return re.sub(r"[^A-Za-z0-9]+", "_", plain).strip("_")
