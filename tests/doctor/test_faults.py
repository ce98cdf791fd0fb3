"""Every planted fault is named with its file and its remedy, and nothing else is; what is sound stays sound."""

from pathlib import Path

import pytest
from faults import FAULTS, SOUND, Fault, sound_set

from atrous.doctor import KINDS, examine_dataset


def test_the_sound_set_has_no_finding(tmp_path: Path) -> None:
    assert examine_dataset(sound_set(tmp_path / "data")).findings == []


@pytest.mark.parametrize("fault", FAULTS, ids=lambda fault: fault.name)
def test_a_planted_fault_is_named_with_file_and_remedy(tmp_path: Path, fault: Fault) -> None:
    root = sound_set(tmp_path / "data")
    files = fault.plant(root)
    found = examine_dataset(root)
    named = [one for one in found.findings if one.kind == fault.kind and one.severity == fault.severity]
    missing = set(files) - {file for one in named for file in one.files}
    assert not missing, f"{missing} not named; found: {[one.summary() for one in found.findings]}"
    assert all(one.remedy and one.detail for one in named)
    others = [one for one in found.errors if one.kind != fault.kind and not set(one.files) & set(files)]
    assert not others or fault.name == "misspelt_mask", [one.summary() for one in others]


@pytest.mark.parametrize("plant", SOUND, ids=lambda plant: plant.__name__)
def test_oddities_that_are_sound_are_no_errors(tmp_path: Path, plant) -> None:  # type: ignore[no-untyped-def]
    root = sound_set(tmp_path / "data")
    plant(root)
    assert [one.summary() for one in examine_dataset(root).findings if one.severity != "note"] == []


def test_there_are_forty_faults_and_more_and_every_kind_is_planted() -> None:
    assert len(FAULTS) >= 40
    assert {fault.kind for fault in FAULTS} == set(KINDS)
