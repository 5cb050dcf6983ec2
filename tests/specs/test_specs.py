"""The specifications hold in every order of events, and each mistake that they name is found."""

import re
from pathlib import Path

import pytest

from tests.specs.checker import SPECS, TIMEOUT_S, check
from tests.specs.large import LARGE, STATES_MIN, checked, text_of

pytestmark = pytest.mark.timeout(TIMEOUT_S + 60)

RIGHT = sorted(set(SPECS.glob("*.cfg")) - set(LARGE))
WRONG = sorted((SPECS / "wrong").glob("*.cfg"))


@pytest.mark.parametrize("config", RIGHT, ids=lambda config: config.stem)
def test_what_is_promised_holds_in_every_state(config: Path, tmp_path: Path) -> None:
    verdict = check(SPECS / f"{config.stem.partition('.')[0]}MC.tla", config, tmp_path)
    assert verdict.is_complete and not verdict.violated, verdict.text
    print(f"{config.stem}: {verdict.distinct:,} distinct states in {verdict.seconds} s")


@pytest.mark.parametrize("config", LARGE, ids=lambda config: config.stem)
def test_what_takes_minutes_was_checked_as_it_is(config: Path) -> None:
    known = checked()[config.stem]
    assert known["text"] == text_of(config), f"{config.stem} has been changed since it was checked: run make specs"
    assert known["distinct_states"] >= STATES_MIN


@pytest.mark.parametrize("config", WRONG, ids=lambda config: config.stem)
def test_a_mistake_is_refuted_by_the_promise_it_breaks(config: Path, tmp_path: Path) -> None:
    promised = re.search(r"Must be refuted by (\w+)\.", config.read_text())
    assert promised is not None, f"{config.name} does not say what it must be refuted by"
    verdict = check(SPECS / f"{config.stem.partition('.')[0]}MC.tla", config, tmp_path)
    assert verdict.violated == promised[1], verdict.text


@pytest.mark.parametrize("name", ["Claims", "Ownership", "SlotMove"])
def test_each_mistake_is_tried_and_told(name: str) -> None:
    known = set(re.findall(r'"([a-z_]{3,})"', " ".join(_mentions((SPECS / f"{name}.tla").read_text()))))
    assert known == {config.stem.partition(".")[2] for config in WRONG if config.stem.startswith(name)}
    readme = (SPECS / "README.md").read_text()
    assert not [one for one in known if f"`{one}`" not in readme]


def _mentions(text: str) -> list[str]:
    return re.findall(r"Wrong (?:=|#|\\in) (\"\w+\"|\{[^}]*\})", text)
