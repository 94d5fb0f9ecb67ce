import inspect

import pytest

from torchedge import errors


def test_the_docstring_draws_every_error():
    classes = [name for name, _ in inspect.getmembers(errors, inspect.isclass)]
    errors_here = [name for name in classes if issubclass(getattr(errors, name), Exception)]
    assert all(name in errors.__doc__ for name in errors_here)
    assert sorted(errors_here) == errors.__all__


@pytest.mark.parametrize(
    ("error", "code"), [(errors.ArtifactError, 2), (errors.TraceError, 2), (errors.StorageError, 1)]
)
def test_a_users_mistake_ends_with_2_and_a_failure_with_1(error, code):
    assert error("x").exit_code == code


def test_the_text_of_an_error_is_one_line_whatever_names_are_in_it():
    assert str(errors.UsageError("'a\nb\x1b[2J\u202e' is odd")) == r"'a\nb\x1b[2J\u202e' is odd"
