"""Text files that an export writes from templates."""

from collections.abc import Mapping
from importlib import resources

__all__ = ["rendered"]


def rendered(package: str, template: str, values: Mapping[str, object]) -> str:
    """A template out of a package's folder ``templates``; a name it lacks a value for is an error.

    Lines that hold only a statement of the template leave no trace.

    Args:
        package: Of the exporter.
        template: Name of the file.
        values: By the names that the template has for them.
    """
    import jinja2

    text = (resources.files(package) / "templates" / template).read_text()
    environment = jinja2.Environment(
        undefined=jinja2.StrictUndefined,
        keep_trailing_newline=True,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    return environment.from_string(text).render(values)
