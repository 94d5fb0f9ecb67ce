"""Which names are names: of models, of files inside an artefact, of tensors and classes."""

import re
import unicodedata

from torchedge.errors import ArtifactError, UsageError

__all__ = [
    "one_line",
    "require_file_name",
    "require_model_name",
    "require_text",
    "what_is_wrong_with_text",
]

_LONGEST_NAME, _LONGEST_PATH, _LONGEST_TEXT = 100, 240, 2_000
_DEEPEST = 8
_NOT_IN_NAMES = re.compile(r"""[/\\:*?"<>|$`;&'{}!~]""")  # of paths, and of shells
_RESERVED = re.compile(r"(con|prn|aux|nul|clock\$|com[0-9¹²³]|lpt[0-9¹²³])(\..*)?", re.IGNORECASE)
# Control characters, halves of characters, line and paragraph separators.
_NEVER = frozenset({"Cc", "Cs", "Zl", "Zp"})
_BIDIRECTIONAL = frozenset(
    "\u061c\u200e\u200f\u202a\u202b\u202c\u202d\u202e\u2066\u2067\u2068\u2069"
)


def require_model_name(name: object) -> str:
    """Return a model's name, which becomes part of paths, and so must never be one.

    Raises:
        UsageError: It is empty, longer than 100 bytes, has separators, control characters or a
            leading dot or dash, ends with a dot or space, or is reserved by Windows.

    Example:
        >>> require_model_name("keyword spotter 2")
        'keyword spotter 2'
        >>> require_model_name("../up")
        Traceback (most recent call last):
        torchedge.errors.UsageError: the name '../up' has '/'; give a plain name, as 'digits-2'.
    """
    wrong = _wrong_with_name(name, _LONGEST_NAME)
    if wrong or not isinstance(name, str):
        raise UsageError(f"the name {_shown(name)} {wrong}; give a plain name, as 'digits-2'.")
    return name


def require_file_name(name: str) -> str:
    """Return the path of a file inside an artefact: relative, with forward slashes.

    Raises:
        ArtifactError: It leads outside the folder, or a part of it is no plain name.

    Example:
        >>> require_file_name("src/model.cpp")
        'src/model.cpp'
    """
    parts = name.split("/")
    if ".." in parts or name.startswith("/") or "\\" in name or re.match(r"[A-Za-z]:", name):
        raise ArtifactError(f"the manifest lists {_shown(name)}, outside the folder.")
    wrong = next(filter(None, (_wrong_with_name(part, _LONGEST_PATH) for part in parts)), "")
    wrong = wrong or ("" if len(parts) <= _DEEPEST else f"lies {len(parts)} folders deep")
    if wrong or len(name.encode()) > _LONGEST_PATH:
        raise ArtifactError(
            f"the manifest lists the file {_shown(name)}, which {wrong or 'is too long'}; "
            "export the model again."
        )
    return name


def require_text(what: str, text: object) -> str:
    """Return a word that is printed as it is: of a class, a tensor, a step.

    Args:
        what: Whose it is, for the text.
        text: What was given or read.

    Raises:
        UsageError: It is no text, longer than 2,000 characters, or has characters that a terminal
            would obey or reorder.

    Example:
        >>> require_text("a class", "chat noir")
        'chat noir'
    """
    wrong = what_is_wrong_with_text(text)
    if wrong or not isinstance(text, str):
        raise UsageError(f"the name of {what}, {_shown(text)}, {wrong}; give a plain one.")
    return text


def what_is_wrong_with_text(text: object, *, longest: int = _LONGEST_TEXT, also: str = "") -> str:
    r"""Why a text is not to be printed, for the end of a sentence; empty where it may be.

    Args:
        text: Anything.
        longest: In characters.
        also: Control characters that may be in it.

    Example:
        >>> what_is_wrong_with_text("a\tb"), what_is_wrong_with_text("a\tb", also="\t")
        ('has the character U+0009', '')
    """
    if not isinstance(text, str):
        return f"is no text but {type(text).__name__}"
    if len(text) > longest:
        return f"has {len(text):,} characters, more than {longest:,}"
    if text.isascii() and text.isprintable():
        return ""
    bad = next((c for c in text if c not in also and _is_obeyed(c)), None)
    return "" if bad is None else f"has the character U+{ord(bad):04X}"


def _is_obeyed(character: str) -> bool:
    return unicodedata.category(character) in _NEVER or character in _BIDIRECTIONAL


def _wrong_with_name(name: object, most_bytes: int) -> str:
    wrong = what_is_wrong_with_text(name, longest=most_bytes)
    if wrong or not isinstance(name, str):
        return wrong
    if not name or len(name.encode()) > most_bytes:
        return f"takes {len(name.encode())} bytes, not 1 to {most_bytes}"
    if found := _NOT_IN_NAMES.search(name):
        return f"has {found[0]!r}"
    if name[0] in ".- " or name[-1] in ". ":
        return "begins with a dot, dash or space, or ends with a dot or space"
    if _RESERVED.fullmatch(name):
        return "is reserved by Windows"
    return ""


def _shown(name: object) -> str:
    return ascii(name if len(str(name)) <= 60 else f"{str(name)[:60]}…")


def one_line(error: Exception) -> str:
    r"""What an error says, as far as it can be part of a line: a file may have chosen its words.

    Example:
        >>> one_line(ValueError("a\x1b[2Jb\nand more"))
        'a\\x1b[2Jb'
    """
    first = (str(error).split("\n") or [""])[0][:300] or type(error).__name__
    return "".join(c if c.isprintable() else ascii(c)[1:-1] for c in first)
