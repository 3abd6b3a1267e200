"""Rules: defaults, TOML, and what is refused."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from ketacast.errors import InputError
from ketacast.history import CountingRules


def test_rules_are_read_from_toml(tmp_path: Path) -> None:
    path = tmp_path / "rules.toml"
    path.write_text(
        "strict_weeks = 6\n[doses]\nsertraline = [50, 100]\nreboxetine = 8\n", encoding="utf-8"
    )
    rules = CountingRules.from_toml(path)
    assert rules.strict_weeks == 6
    assert rules.minimum_doses("sertraline") == (50, 100)
    assert rules.minimum_doses("reboxetine") == (8, 8)
    assert rules.minimum_doses("citalopram") == (20, 20)
    assert rules.minimum_doses("tianeptine") == (None, None)
    assert rules == CountingRules.from_dict(rules.to_dict())


def test_rules_are_hashable_and_ordered() -> None:
    one = CountingRules(doses=(("sertraline", 50, 50), ("citalopram", 20, 20)))
    two = CountingRules(doses=(("citalopram", 20, 20), ("sertraline", 50, 50)))
    assert hash(one) == hash(two)
    assert one == two


@pytest.mark.parametrize(
    ("content", "named"),
    [
        ({"strict_weeks": 0}, "strict_weeks is 0"),
        ({"strict_weeks": 8.0}, "strict_weeks is 8.0"),
        ({"strict_weeks": True}, "strict_weeks is True"),
        ({"strict_weeks": 5}, "ascending"),
        ({"join_gap_days": -1}, "join_gap_days"),
        ({"episode_gap_days": "long"}, "episode_gap_days"),
        ({"other_indication": "maybe"}, "'exclude' or 'lenient'"),
        ({"augmentation": None}, "'report' or 'count'"),
        ({"addition_is_failure": 1}, "true or false"),
        ({"open_order_days": 10}, "ascending"),
        ({"weeks": 6}, "'weeks' is unknown"),
        ({"doses": {"sertralin": [50, 50]}}, "'sertralin'"),
        ({"doses": {"sertraline": [100, 50]}}, "lower one first"),
        ({"doses": {"sertraline": ["a", "b"]}}, "mg a day"),
        ({"doses": {"sertraline": [None, 50]}}, "lower one first"),
        ({"doses": {"sertraline": -5}}, "above 0"),
        ({"doses": 7}, "doses is 7"),
        ({"doses": [["sertraline", 50]]}, "lenient mg"),
        ({"doses": [["sertraline", 50, 50], ["sertraline", 50, 50]]}, "twice"),
    ],
)
def test_rules_that_make_no_sense_are_refused(content: dict[str, Any], named: str) -> None:
    with pytest.raises(InputError, match=named):
        CountingRules.from_dict(content)


@pytest.mark.parametrize("content", [b"strict_weeks = ", b"\xff\xfe"])
def test_a_file_that_is_no_toml_is_refused(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "rules.toml"
    path.write_bytes(content)
    with pytest.raises(InputError, match="not TOML"):
        CountingRules.from_toml(path)


def test_a_missing_file_is_refused(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="give a TOML file"):
        CountingRules.from_toml(tmp_path / "none.toml")
