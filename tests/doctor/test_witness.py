"""During training the doctor warns without reading a file a second time."""

from pathlib import Path
from typing import Any

import pytest
from faults import cut, images, mask_copied, not_in_train, same_in_val, sound_set

from atrous.datasets import Pair, open_dataset, pairs
from atrous.doctor import Witness
from atrous.sample import Sample


def test_the_warnings_are_those_of_check_and_no_file_is_read_twice(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    root = sound_set(tmp_path / "data")
    same_in_val(root)
    not_in_train(root)
    mask_copied(root)
    data = open_dataset(root)
    witness, read = Witness(data.labels, data.root), list[Pair]()
    whole = pairs.Pairs._checked

    def counted(self: pairs.Pairs, pair: Pair, *others: Any) -> Sample:
        read.append(pair)
        return whole(self, pair, *others)

    monkeypatch.setattr(pairs.Pairs, "_checked", counted)
    data.verify(visit=witness.see)
    kinds = [finding.kind for finding in witness.warnings()]
    assert sorted(set(kinds)) == ["absent_class", "leak", "suspicious"]
    assert len(read) == len(set(read)) == 27


def test_a_sound_set_has_no_warning(tmp_path: Path) -> None:
    data = open_dataset(sound_set(tmp_path / "data"))
    witness = Witness(data.labels, data.root)
    data.verify(visit=witness.see)
    assert witness.warnings() == []


def test_only_sound_samples_are_seen(tmp_path: Path) -> None:
    root = sound_set(tmp_path / "data")
    mask_copied(root)
    data = open_dataset(root)
    cut(images(root)[3], 0.5)
    seen = []
    with pytest.raises(ValueError, match="damaged or incomplete"):
        data.verify(visit=lambda split, pair, sample: seen.append(pair.image))
    assert len(seen) == 25
    assert images(root)[3] not in seen
