"""Calls are timed in turn; what was measured is kept until what it depends on changes."""

import json
import statistics
from hashlib import sha256
from pathlib import Path
from typing import Any

import pytest
from platformdirs import user_cache_path

from atrous.errors import ModelError
from atrous.ops import timing
from atrous.ops.timing import interleaved, remembered, this_machine


class Clock:
    """A clock that moves when a call says so; `order` holds the calls."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.now, self.order = 0.0, list[str]()
        monkeypatch.setattr(timing, "perf_counter", lambda: self.now)

    def call(self, name: str, seconds: list[float]) -> Any:
        left = iter(seconds)

        def run() -> None:
            self.order.append(name)
            self.now += next(left)

        return run


def test_calls_take_turns_and_the_median_counts(monkeypatch: pytest.MonkeyPatch) -> None:
    clock = Clock(monkeypatch)
    calls = {"a": clock.call("a", [1, 9, 2]), "b": clock.call("b", [5, 3, 4])}
    assert interleaved(calls, 3) == {"a": 2, "b": 4}
    assert "".join(clock.order) == "ababab"


def test_rounds_of_warming_up_do_not_count(monkeypatch: pytest.MonkeyPatch) -> None:
    clock = Clock(monkeypatch)
    calls = {1: clock.call("a", [100, 90, 2, 4, 3]), 2: clock.call("b", [0, 0, 6, 5, 7])}
    assert interleaved(calls, 3, warm_up=2, summary=min) == {1: 2, 2: 5}
    assert len(clock.order) == 10
    with pytest.raises(statistics.StatisticsError):
        interleaved({"a": lambda: None}, 0)


def test_a_gpu_is_waited_for(monkeypatch: pytest.MonkeyPatch) -> None:
    clock = Clock(monkeypatch)
    monkeypatch.setattr(timing.torch.cuda, "is_initialized", lambda: True)
    monkeypatch.setattr(timing.torch.cuda, "synchronize", clock.call("wait", [7, 7]))
    assert interleaved({"sent": clock.call("sent", [1, 1])}, 2) == {"sent": 8}


def test_what_calls_raise_is_not_hidden() -> None:
    def fail() -> None:
        raise ModelError("no")

    with pytest.raises(ModelError):
        interleaved({"a": fail}, 1)


def test_it_is_measured_once() -> None:
    found = iter([{"best": "a", "seconds": {"a": 0.1}}, {"best": "b", "seconds": {}}])
    first = remembered("choices", ["host", "net"], lambda: next(found))
    assert first == remembered("choices", ["host", "net"], lambda: next(found))
    assert remembered("choices", ["host", "other net"], lambda: next(found))["best"] == "b"
    assert remembered("backends", ["host", "net"], lambda: {"best": "c"}) == {"best": "c"}  # another kind


def place(kind: str = "choices") -> Path:
    """Where the file for ["host", "net"] lies: files that older versions kept are found there too."""
    return Path(user_cache_path("atrous")) / kind / f"{sha256(b'host|net').hexdigest()[:16]}.json"


def test_the_file_says_what_it_is_about() -> None:
    remembered("choices", ["host", "net"], lambda: {"best": "a"})
    assert json.loads(place().read_text()) == {"best": "a", "what": ["host", "net"]}
    assert [path.name for path in place().parent.iterdir()] == [place().name]  # no temporary file stays


@pytest.mark.parametrize("content", [b"", b'{"best": ', b"\xff\xfe", b"[]", b"null", b'{"other": 1}', None])
def test_what_cannot_be_read_is_measured_anew_and_replaced(content: bytes | None) -> None:
    place().parent.mkdir(parents=True)
    if content is None:
        place().mkdir()  # cannot be read, nor replaced by a file
        assert remembered("choices", ["host", "net"], lambda: {"best": "a"}) == {"best": "a"}
        return
    place().write_bytes(content)
    for _ in range(2):
        assert remembered("choices", ["host", "net"], lambda: {"best": "a"}, lambda kept: bool(kept["best"])) == {
            "best": "a"
        }
    assert json.loads(place().read_text())["best"] == "a"


@pytest.mark.parametrize("error", [ModelError("gone"), KeyError("x"), TypeError(), ValueError()])
def test_what_is_no_longer_usable_is_measured_anew(error: Exception) -> None:
    def refuse(kept: dict[str, Any]) -> bool:
        raise error

    remembered("choices", ["host", "net"], lambda: {"best": "a"})
    assert (
        remembered("choices", ["host", "net"], lambda: {"best": "b"}, lambda kept: kept["best"] != "a")["best"] == "b"
    )
    assert remembered("choices", ["host", "net"], lambda: {"best": "c"}, refuse)["best"] == "c"
    assert remembered("choices", ["host", "net"], lambda: {"best": "d"})["best"] == "c"


@pytest.mark.parametrize("content", ["[]", "null", "3"])
def test_a_file_without_a_result_is_not_one(content: str) -> None:
    remembered("choices", ["host", "net"], lambda: {"best": "a"})
    place().write_text(content)
    assert remembered("choices", ["host", "net"], lambda: {"best": "b"}) == {"best": "b"}


def test_a_defect_of_the_check_is_not_hidden() -> None:
    remembered("choices", ["host", "net"], lambda: {"best": "a"})
    with pytest.raises(ZeroDivisionError):
        remembered("choices", ["host", "net"], lambda: {"best": "b"}, lambda kept: bool(1 / 0))


def test_devices_and_threads_tell_machines_apart(monkeypatch: pytest.MonkeyPatch) -> None:
    one = this_machine("cpu")
    monkeypatch.setattr(timing.torch, "get_num_threads", lambda: 77)
    assert this_machine("cpu") != one
    assert this_machine("cuda") != this_machine("cpu")
