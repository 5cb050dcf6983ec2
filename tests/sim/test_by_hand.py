"""What is typed wrong at the simulation, or at the judge of real faults, is named, and nothing is said to be well."""

from pathlib import Path

import pytest

from tests.sim import __main__ as sim
from tests.system.chaos import __main__ as chaos


@pytest.mark.parametrize(
    ("given", "fault"),
    [
        (["--seeds", "foo"], "argument --seeds: 'foo' is not FIRST:LAST, such as 0:500"),
        (["--seeds", "7:7"], "argument --seeds: '7:7' is not FIRST:LAST, such as 0:500"),
        (["--plan", "/nowhere"], "argument --plan: /nowhere: No such file or directory"),
        (["--plan", __file__], f"argument --plan: {__file__} holds no plan as --keep writes it: "),
    ],
)
def test_a_wrong_option_of_the_simulation_is_named(
    given: list[str], fault: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr("sys.argv", ["sim", *given])
    with pytest.raises(SystemExit) as ended:
        sim.main()
    assert ended.value.code == 2
    assert fault in capsys.readouterr().err


@pytest.mark.parametrize("content", [None, "", '{"at":1.0,"what":"kill","target":"s1"}\n'])
def test_what_is_no_history_is_not_judged_well(
    content: str | None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    if content is not None:
        (tmp_path / "faults.jsonl").write_text(content)
    monkeypatch.setattr("sys.argv", ["chaos", "--judge", str(tmp_path)])
    assert chaos.main() == 2
    said = capsys.readouterr()
    assert said.err.startswith(f"{tmp_path} holds no history")
    assert not said.out
