import errno
from dataclasses import dataclass, replace
from pathlib import Path

import pytest

from torchedge.delivery import deliver
from torchedge.devices import HOST
from torchedge.errors import BudgetError, OutputExistsError, SchemeError, StorageError
from torchedge.exporting import (
    Artifact,
    Budget,
    Format,
    Target,
    load_artifact,
    remaining_steps,
    write_artifact,
)
from torchedge.exporting.pipeline import require_scheme
from torchedge.scheme import QuantScheme, QuantSpec

SCHEME = QuantScheme()


@dataclass(frozen=True, kw_only=True)
class Copying:
    """A step that writes one file of a given size."""

    consumes: Format
    produces: Format
    size: int = 10
    error: Exception | None = None

    def export(self, source: Artifact, folder: Path) -> Artifact:
        (folder / "file").write_bytes(b"x" * self.size)
        if self.error:
            raise self.error
        made_by = (*source.made_by, self.produces)
        return write_artifact(replace(source, path=folder, format=self.produces, made_by=made_by))


@pytest.fixture
def source(tmp_path):
    folder = tmp_path / "source"
    folder.mkdir()
    draft = Artifact(
        path=folder, format=Format("a"), inputs=(), outputs=(), made_by=("train",), scheme=SCHEME
    )
    return write_artifact(draft)


def exported(*arguments, **options):
    """No package runs these formats."""
    return deliver(*arguments, verified=False, **options).artifact


def target(*steps, **changes):
    steps = steps or (
        Copying(consumes=Format("a"), produces=Format("b")),
        Copying(consumes=Format("b"), produces=Format("c")),
    )
    return replace(Target(name="there", device=HOST, scheme=SCHEME, steps=steps), **changes)


def test_every_step_runs_in_order_and_leaves_its_own_folder(source, tmp_path):
    last = exported(source, target(), tmp_path / "out")
    assert last.made_by == ("train", "b", "c")
    assert load_artifact(tmp_path / "out/c") == last
    assert load_artifact(tmp_path / "out/b").format == "b"


def test_an_export_goes_on_from_where_the_source_is(source):
    halfway = replace(source, format=Format("b"))
    assert [step.produces for step in remaining_steps(halfway, target())] == ["c"]


def test_a_format_off_the_way_is_refused_with_the_way(source):
    with pytest.raises(SchemeError, match="a → b → c"):
        remaining_steps(replace(source, format=Format("z")), target())


def test_a_float_source_is_refused_where_integers_run(source, tmp_path):
    with pytest.raises(SchemeError, match="float model"):
        exported(replace(source, scheme=None), target(), tmp_path / "out")


def test_a_float_source_is_taken_where_a_step_calibrates_but_no_other_scheme(source):
    calibrating = target(calibrates=True)
    require_scheme(replace(source, scheme=None), calibrating)
    other = QuantScheme(activation=QuantSpec(symmetric=False, signed=False))
    with pytest.raises(SchemeError, match="other numbers"):
        require_scheme(replace(source, scheme=other), calibrating)


def test_a_source_trained_with_other_numbers_is_refused_with_both(source, tmp_path):
    other = QuantScheme(activation=QuantSpec(symmetric=False, signed=False))
    with pytest.raises(SchemeError, match="trained int8, symmetric; device uint8, asymmetric"):
        exported(source, target(scheme=other), tmp_path / "out")


def test_weights_of_fewer_bits_run_where_wider_ones_do_and_not_the_reverse(source, tmp_path):
    narrow = replace(SCHEME, weight=replace(SCHEME.weight, bits=4))
    require_scheme(replace(source, scheme=narrow), target())
    with pytest.raises(SchemeError, match=r"weights: trained int8.*device int4"):
        require_scheme(source, target(scheme=narrow))


def test_a_failing_step_leaves_nothing(source, tmp_path):
    failing = Copying(consumes=Format("a"), produces=Format("b"), error=ValueError("broken"))
    with pytest.raises(ValueError, match="broken"):
        exported(source, target(failing), tmp_path / "out")
    assert sorted(path.name for path in tmp_path.iterdir()) == ["source"]


def test_a_full_disk_is_one_line_with_the_free_bytes_and_leaves_nothing(source, tmp_path):
    full = OSError(errno.ENOSPC, "No space left on device")
    failing = Copying(consumes=Format("a"), produces=Format("b"), error=full)
    with pytest.raises(StorageError, match=r"No space left on device; [\d,]+ bytes are free"):
        exported(source, target(failing), tmp_path / "out")
    assert sorted(path.name for path in tmp_path.iterdir()) == ["source"]


def test_an_existing_folder_is_kept_unless_overwriting_is_asked_for(source, tmp_path):
    first = exported(source, target(), tmp_path / "out")
    other = target(Copying(consumes=Format("a"), produces=Format("d")))
    with pytest.raises(OutputExistsError, match="--overwrite"):
        exported(source, other, tmp_path / "out")
    assert load_artifact(tmp_path / "out/c") == first
    exported(source, other, tmp_path / "out", overwrite=True)
    assert sorted(path.name for path in (tmp_path / "out").iterdir()) == [
        "d",
        "report.json",
        "report.md",
    ]


def test_a_failed_overwrite_keeps_the_old_folder(source, tmp_path):
    first = exported(source, target(), tmp_path / "out")
    failing = Copying(consumes=Format("a"), produces=Format("b"), error=ValueError("broken"))
    with pytest.raises(ValueError, match="broken"):
        exported(source, target(failing), tmp_path / "out", overwrite=True)
    assert load_artifact(tmp_path / "out/c") == first


def test_an_export_does_not_replace_the_folder_that_it_reads(source, tmp_path):
    exported(source, target(), tmp_path / "out")
    halfway = load_artifact(tmp_path / "out/b")
    with pytest.raises(OutputExistsError, match="which is read"):
        exported(halfway, target(), tmp_path / "out", overwrite=True)
    assert load_artifact(tmp_path / "out/b") == halfway


def test_an_artefact_over_budget_is_refused_with_the_numbers(source, tmp_path):
    big = Copying(consumes=Format("a"), produces=Format("b"), size=1500)
    with pytest.raises(BudgetError, match="takes 1,500 bytes of flash, 500 more than the budget"):
        exported(source, target(big, budget=Budget(flash_bytes=1000)), tmp_path / "out")
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize(
    ("limit", "measured"),
    [({"ram_bytes": 10}, {"ram_bytes": 11}), ({"p90_latency_ms": 1.0}, {"p90_latency_ms": 1.5})],
)
def test_measured_memory_and_time_are_held_against_the_budget(source, limit, measured):
    Budget(**limit).check(source)
    with pytest.raises(BudgetError, match="more than the budget"):
        Budget(**limit).check(source, **measured)
