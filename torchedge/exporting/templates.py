"""Text files that an export writes from templates."""

from collections.abc import Mapping
from importlib import resources

from torchedge.text import for_code, for_comment, for_file_name, for_markdown, for_shell

__all__ = ["rendered"]


def rendered(package: str, template: str, values: Mapping[str, object]) -> str:
    """A template out of a package's folder ``templates``; a name it lacks a value for is an error.

    Lines that hold only a statement of the template leave no trace. A template says for each value
    what it becomes a part of: ``{{ name | markdown }}``, or ``code``, ``shell``, ``comment``,
    ``file_name``; see :mod:`torchedge.text`.

    Args:
        package: Of the exporter.
        template: Name of the file.
        values: By the names that the template has for them.
    """
    import jinja2

    text = (resources.files(package) / "templates" / template).read_text(encoding="utf-8")
    environment = jinja2.Environment(
        undefined=jinja2.StrictUndefined,
        keep_trailing_newline=True,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters |= {
        "code": for_code,
        "comment": for_comment,
        "file_name": for_file_name,
        "markdown": for_markdown,
        "shell": for_shell,
    }
    return environment.from_string(text).render(values)
