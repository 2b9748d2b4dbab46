"""The tutorial on a learner of one's own, worked through as a reader would: its files in an empty folder, its commands in order."""

import io
import re
from collections.abc import Iterator
from contextlib import redirect_stderr, redirect_stdout
from pathlib import Path
from typing import NamedTuple

import pytest

from metashot.cli import main
from metashot.testing import CHECKS

PAGE = (Path(__file__).resolve().parents[1] / "docs" / "tutorials" / "your-learner.md").read_text(encoding="utf-8")
# A block is a file, if the line above it holds nothing but a path; or commands (sh); or refused commands and what they say (console).
_BLOCK = re.compile(r"^(?:`([\w./-]+)`:\n\n)?```(\w+)\n(.*?)^```", re.DOTALL | re.MULTILINE)
FILES = {path: content for path, _, content in _BLOCK.findall(PAGE) if path}

ROW = "bench glyphs-5w1s --learner ./mine.py:NearestMean"
COMPARED = f"{ROW} --budget smoke --compare protonet"
COMPARED_WITH_RUN = f"{ROW} --budget smoke --compare runs/glyphs-5w1s-protonet/smoke/seed0"
KNOB = "bench glyphs-5w1s --learner ./pooled.py:PooledMean"
TRAINED = "bench glyphs-5w1s --learner ./cosine.py:Cosine --budget smoke --compare protonet"
REAL = "bench omniglot-5w1s --learner ./mine.py:NearestMean"


class Said(NamedTuple):
    """What a command line said, and the message that the page shows for it, if any."""

    status: int
    out: str
    err: str
    shown: str

    def rows(self) -> dict[str, str]:
        """Learner -> accuracy with its interval, for each row of the table."""
        return dict(re.findall(r"^\S+-5w1s +(\S+) +(\d+\.\d\d ± \d+\.\d\d) ", self.out, re.MULTILINE))


def commands() -> Iterator[tuple[str, str]]:
    """The page's command lines in order, each with the message that the page shows for it."""
    for path, language, content in _BLOCK.findall(PAGE):
        if language == "sh":
            yield from ((line.removeprefix("metashot "), "") for line in content.splitlines())
        elif language == "console":
            shown = re.findall(r"^\$ metashot (.*)\n(.*\n)", content, re.MULTILINE)
            assert "".join(f"$ metashot {command}\n{message}" for command, message in shown) == content
            yield from shown
        else:
            assert path, f"a block of {language} that is no file: {content}"


def _work_through(folder: Path, asked: list[tuple[str, str]]) -> dict[str, Said]:
    """What commands say in a folder that holds the page's files."""
    for path, content in FILES.items():
        (folder / path).write_text(content)
    said = {}
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)
        patch.setenv("COLUMNS", "200")
        for command, shown in asked:
            out, err, status = io.StringIO(), io.StringIO(), 0
            with redirect_stdout(out), redirect_stderr(err):
                try:
                    main(command.split())
                except SystemExit as stopped:
                    status = int(str(stopped.code))
            said[command] = Said(status, out.getvalue(), err.getvalue(), shown)
    return said


@pytest.fixture(scope="module")
def said(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Said]:
    """What the page's commands say, but for those that need real data."""
    return _work_through(tmp_path_factory.mktemp("reader"), [each for each in commands() if each[0] != REAL])


def test_every_command_works_or_is_refused_as_the_page_shows(said: dict[str, Said]) -> None:
    for command, each in said.items():
        if each.shown:
            assert each.status != 0, command
            assert each.err.splitlines()[-1] == each.shown.rstrip("\n"), command
            assert each.out == "", command
        else:
            assert each.status == 0, f"metashot {command}: {each.err}"
    assert {ROW, COMPARED, COMPARED_WITH_RUN, KNOB, TRAINED} < set(said)


def test_first_learner_is_as_short_as_the_title_says() -> None:
    assert "fifteen lines" in PAGE.splitlines()[0]
    assert len([line for line in FILES["mine.py"].splitlines() if line.strip()]) <= 15


def _promises(said: Said) -> dict[str, str]:
    """Check -> kept, broken or not asked."""
    return {name: word for word, name in re.findall(r"^  (kept|broken|not asked) +(check_\w+)", said.out, re.MULTILINE)}


@pytest.mark.parametrize("learner", ["./mine.py:NearestMean", "./cosine.py:Cosine", "./projected.py:ProjectedMean"])
def test_check_tells_of_every_promise(learner: str, said: dict[str, Said]) -> None:
    promises = _promises(said[f"check {learner}"])
    assert set(promises) == set(CHECKS)
    assert "broken" not in promises.values()


def test_check_finds_what_the_run_finds(tmp_path: Path) -> None:
    (shown,) = (shown for command, shown in commands() if "forgetful.py" in command)
    check = "check ./forgetful.py:Forgetful"
    said = _work_through(tmp_path, [(check, "")])[check]
    assert said.status == 1
    assert _promises(said)["check_logits"] == "broken"
    assert all("is a `return` missing?" in told for told in (shown, said.out))


def test_a_learner_has_its_row(said: dict[str, Said]) -> None:
    (learner,) = said[ROW].rows()
    assert learner.startswith("./mine.py:NearestMean")


@pytest.mark.parametrize("command", [COMPARED, COMPARED_WITH_RUN])
def test_comparison_has_both_rows_and_their_paired_difference(command: str, said: dict[str, Said]) -> None:
    (mine, one), (published, other) = said[command].rows().items()
    assert mine.startswith("./mine.py:NearestMean")
    assert published == "protonet"
    line = re.search(
        rf"^glyphs-5w1s, {re.escape(mine)} - protonet: (\S+) ± \d+\.\d\d points \(.*paired.*\)$", said[command].out, re.MULTILINE
    )
    assert line is not None, said[command].out
    assert float(line[1]) == pytest.approx(float(one.split()[0]) - float(other.split()[0]), abs=0.011)  # all three are rounded


def test_comparison_with_a_finished_run_trains_nothing_and_says_the_same(said: dict[str, Said]) -> None:
    assert "training glyphs-5w1s-protonet: 100 to go" in said[COMPARED].err
    again = said[COMPARED_WITH_RUN]
    assert "training" not in again.err
    assert "are reused" in again.err
    assert again.out == said[COMPARED].out


def test_knob_changes_the_row(said: dict[str, Said]) -> None:
    ((_, one),) = said[KNOB].rows().items()
    ((_, other),) = said[f"{KNOB} --set learner.pool=2"].rows().items()
    assert one != other


def test_learner_with_a_backbone_is_trained(said: dict[str, Said]) -> None:
    assert re.search(r"training glyphs-5w1s-Cosine\S*: 100 to go", said[TRAINED].err)
    assert "training glyphs-5w1s-protonet" not in said[TRAINED].err, "that run is finished"
    cosine, published = said[TRAINED].rows()
    assert cosine.startswith("./cosine.py:Cosine")
    assert published == "protonet"


def test_same_command_gives_a_row_on_real_data(data_root: Path, tmp_path: Path) -> None:
    asked = [each for each in commands() if each[0] == REAL]
    said = _work_through(tmp_path, asked)[REAL]
    assert said.status == 0, said.err
    (learner,) = said.rows()
    assert learner.startswith("./mine.py:NearestMean")
