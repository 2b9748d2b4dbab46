"""`metashot learners`: the list imports nothing; a card tells paper, departures, tags and arguments of one learner."""

import json
import subprocess
import sys
from importlib.metadata import EntryPoint
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from metashot import registry
from metashot.cli import main

MINE = '''\
from typing import Literal

import torch

from metashot import Learner, LearnerTags


class Mine(Learner):
    """Answers by e.g. Euclidean distance, as Doe et al. Did
    in two lines. A second sentence is not shown.

    Another paragraph.

    Args:
        ways: how many classes.
        inner_lr: step size of the inner loop,
            which may be 0.
        shape: as text.

    Raises:
        ValueError: never.

    Reference: Doe 2020, "A Title: With a Colon",
    equation 3.

    Departure: the head is drawn anew
    for each episode.
    Departure: no dropout.

    The end.
    """

    def __init__(self, ways: int, *, inner_lr: float = 0.4, shape: list[int] | None = None, engine: Literal["loop", "vmap"] = "loop",
                 kind=object, **more: int) -> None:
        super().__init__()
        self.ways = ways
        torch.rand(1)

    def adapt(self, support, ways):
        return lambda x: x.new_zeros(len(x), ways)

    def tags(self) -> LearnerTags:
        return LearnerTags(ways=self.ways, trainable=False)


class Plain(Mine):
    def __init__(self):
        super().__init__(3)


class Wide(Plain):
    """Has an argument of a long type.

    Args:
        order: one of six, of which there is more to say than goes into a line beside it.
    """

    def __init__(self, *, order: Literal["the first", "the second", "the third", "the fourth", "the fifth", "the sixth"] = "the first"):
        super().__init__()


class Demanding(Plain):
    """Cannot do without. Reference: Roe 2021. Departure: none of note."""

    def __init__(self, backbone, *, width, depth: int, height=1):
        super().__init__()


class Refusing(Plain):
    """Refuses.

    Parameters
    ----------
    width : int
        Never right.
    """

    def __init__(self, *, width: int = 0):
        raise ValueError("width must be at least 1")


class Mistaken(Plain):
    def tags(self):
        return 1 / 0


def fitting(*, width: int = 2) -> Mine:
    """A factory."""
    return Mine(width)


def nothing() -> None:
    """Makes nothing."""
'''


@pytest.fixture
def mine(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A file of somebody's own learners in the current folder."""
    path = tmp_path / "mine.py"
    path.write_text(MINE)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("COLUMNS", "200")
    return path


def _printed(capfd: pytest.CaptureFixture[str], *arguments: str) -> str:
    main(["learners", *arguments])
    out, err = capfd.readouterr()
    assert err == ""
    return out


def _json(capfd: pytest.CaptureFixture[str], *arguments: str) -> Any:
    return json.loads(_printed(capfd, *arguments, "--json"))


def _refused(capfd: pytest.CaptureFixture[str], *arguments: str) -> str:
    with pytest.raises(SystemExit) as stopped:
        main(["learners", *arguments])
    out, err = capfd.readouterr()
    assert (stopped.value.code, out) == (2, "")
    assert err.startswith("metashot: ")
    assert len(err.splitlines()) == 1
    return err


# --- the list


def test_the_list_has_name_target_and_package_of_each(capfd: pytest.CaptureFixture[str]) -> None:
    header, *rows = _printed(capfd).splitlines()
    assert header.split() == ["name", "target", "distribution"]
    listed = registry.listing("learners")
    assert [row.split() for row in rows] == [[each.name, each.target, *each.distribution.split()] for each in listed]
    (own,) = [row.split() for row in rows if row.startswith("protonet ")]
    assert own[1:3] == ["metashot.learners.protonet:ProtoNet", "metashot"]


def test_the_list_as_json_is_the_same(capfd: pytest.CaptureFixture[str]) -> None:
    listed = registry.listing("learners")
    assert _json(capfd) == [{"name": each.name, "target": each.target, "distribution": each.distribution} for each in listed]


def test_long_names_are_not_cut_in_a_narrow_terminal(capfd: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    point = EntryPoint("n" * 50, f"{'m' * 60}:[C]", "metashot.learners")
    vars(point)["dist"] = SimpleNamespace(name="acme", version="1.0")
    monkeypatch.setattr(registry, "_points", lambda group: {point.name: point})
    monkeypatch.setenv("COLUMNS", "40")
    assert _printed(capfd).splitlines()[1].split() == ["n" * 50, f"{'m' * 60}:", "acme", "1.0"]


@pytest.mark.parametrize("arguments", [["learners"], ["learners", "--json"], ["learners", "--help"], ["learners", "protonett"]])
def test_it_answers_without_torch(arguments: list[str]) -> None:
    code = (
        "import sys\n"
        "from metashot.cli import main\n"
        "try:\n"
        f"    main({arguments!r})\n"
        "except SystemExit:\n"
        "    pass\n"
        "heavy = {'torch', 'numpy', 'scipy', 'PIL', 'pydantic', 'metashot.learners', 'metashot.harness.build', 'metashot.testing'}\n"
        "sys.exit(sorted(heavy & set(sys.modules)) or None)\n"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert ("protonet" in done.stdout) == (arguments[-1] in ("learners", "--json"))


# --- one learner


def test_a_registered_learner_tells_paper_tags_and_arguments(capfd: pytest.CaptureFixture[str]) -> None:
    card = _json(capfd, "protonet")
    (listed,) = [each for each in registry.listing("learners") if each.name == "protonet"]
    assert (card["name"], card["target"], card["distribution"]) == ("protonet", listed.target, listed.distribution)
    assert card["summary"].startswith("Classifies a query by its distance")
    assert card["summary"].endswith(".")
    assert card["paper"].startswith("Snell, Swersky and Zemel 2017,")
    assert card["tags"] == {"ways": None, "trainable": True, "transductive": False, "stochastic": False, "label_symmetric": True}
    arguments = {each["name"]: each for each in card["arguments"]}
    assert arguments["backbone"]["supplied_by_harness"] is True
    assert (arguments["batch_norm"]["type"], arguments["batch_norm"]["default"]) == ("str", "running")
    assert arguments["batch_norm"]["description"] == "`running` (as published) or `transductive`."


def test_every_registered_learner_can_be_shown_and_names_its_paper(capfd: pytest.CaptureFixture[str]) -> None:
    own = [each.name for each in registry.listing("learners") if each.target.startswith("metashot.")]
    cards = {name: _json(capfd, name) for name in own}
    assert [name for name, card in cards.items() if not (card["summary"] and card["paper"] and card["tags"])] == []
    assert [name for name, card in cards.items() if not all(each["description"] for each in card["arguments"])] == []


def test_a_docstring_is_taken_apart(mine: Path, capfd: pytest.CaptureFixture[str]) -> None:
    card = _json(capfd, "mine.py:Mine")
    assert (card["name"], card["target"], card["distribution"]) == ("mine.py:Mine", "mine.py:Mine", "")
    assert card["summary"] == "Answers by e.g. Euclidean distance, as Doe et al. Did in two lines."
    assert card["paper"] == 'Doe 2020, "A Title: With a Colon", equation 3.'
    assert card["departures"] == ["the head is drawn anew for each episode.", "no dropout."]
    assert card["tags"] == {"ways": 5, "trainable": False, "transductive": False, "stochastic": False, "label_symmetric": True}
    assert card["tags_missing"] == ""
    keys = ("name", "type", "required", "default", "supplied_by_harness", "description")
    assert [tuple(each[key] for key in keys) for each in card["arguments"]] == [
        ("ways", "int", True, None, True, "how many classes."),
        ("inner_lr", "float", False, 0.4, False, "step size of the inner loop, which may be 0."),
        ("shape", "list[int] | None", False, None, False, "as text."),
        ("engine", "Literal['loop', 'vmap']", False, "loop", False, ""),
        ("kind", "", False, "<class 'object'>", False, ""),
        ("**more", "int", False, None, False, ""),
    ]


def test_a_card_is_printed_with_nothing_lost(mine: Path, capfd: pytest.CaptureFixture[str]) -> None:
    lines = [line.rstrip() for line in _printed(capfd, "mine.py:Mine").splitlines()]
    assert lines[0].split() == ["name", "mine.py:Mine"]
    assert not any(line.startswith(("target", "distribution")) for line in lines)
    assert [line.split(maxsplit=1)[1] for line in lines if line.startswith("departure")] == [
        "the head is drawn anew for each episode.",
        "no dropout.",
    ]
    start = next(number for number, line in enumerate(lines) if line.startswith("tags"))
    assert " ".join(lines[start : lines.index("")]).split()[:5] == ["tags", "ways", "5", "trainable", "no"]
    rows = {line.split()[0]: " ".join(line.split()[1:]) for line in lines[lines.index("") + 2 :]}
    assert rows["ways"] == "int supplied by the harness how many classes."
    assert rows["inner_lr"] == "float 0.4 step size of the inner loop, which may be 0."
    assert rows["shape"] == "list[int] | None null as text."
    assert rows["engine"] == "Literal['loop', 'vmap'] \"loop\""
    assert rows["**more"] == "int"


def test_only_descriptions_are_folded_in_a_narrow_terminal(
    mine: Path, capfd: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("COLUMNS", "30")
    out = _printed(capfd, "mine.py:Wide")
    assert "Literal['the first', 'the second', 'the third', 'the fourth', 'the fifth', 'the sixth']  \"the first\"" in out
    assert "one of six, of which there is more to say than goes into a line beside it." not in out
    assert out.split()[-1] == "it."


def test_what_is_not_told_is_said_to_be_missing(mine: Path, capfd: pytest.CaptureFixture[str]) -> None:
    out = " ".join(_printed(capfd, "mine.py:Plain").split())  # without the base class's docstring
    assert "what it is not described paper none given tags ways 3" in out
    assert out.endswith("It takes no arguments.")


def test_arguments_that_are_needed_are_named_instead_of_failing(mine: Path, capfd: pytest.CaptureFixture[str]) -> None:
    card = _json(capfd, "mine.py:Demanding")
    assert card["tags"] is None
    assert card["tags_missing"] == "not known without a value for width, depth"
    assert (card["paper"], card["departures"]) == ("Roe 2021.", ["none of note."])
    assert [each["name"] for each in card["arguments"] if each["required"]] == ["backbone", "width", "depth"]
    out = " ".join(_printed(capfd, "mine.py:Demanding").split())
    assert "tags not known without a value for width, depth" in out
    assert "width required depth int required height 1" in out


@pytest.mark.parametrize(
    ("name", "reason"),
    [
        ("Refusing", "not known: learner: Refusing refuses its arguments: width must be at least 1"),
        ("Mistaken", "not known: Mistaken failed in tags: ZeroDivisionError: division by zero at mine.py:"),
        ("nothing", "not known: mine.py:nothing makes a NoneType, which is not a metashot.Learner"),
    ],
)
def test_a_learner_that_cannot_be_built_is_shown_with_the_reason(
    name: str, reason: str, mine: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    card = _json(capfd, f"mine.py:{name}")
    assert card["tags"] is None
    assert card["tags_missing"].startswith(reason)
    assert reason in " ".join(_printed(capfd, f"mine.py:{name}").split())


def test_other_styles_of_docstrings_are_read(mine: Path, capfd: pytest.CaptureFixture[str]) -> None:
    (width,) = _json(capfd, "mine.py:Refusing")["arguments"]
    assert width["description"] == "Never right."


def test_a_factory_is_shown_as_a_class_is(mine: Path, capfd: pytest.CaptureFixture[str]) -> None:
    card = _json(capfd, "mine.py:fitting")
    assert (card["summary"], card["tags"]["ways"], card["arguments"][0]["default"]) == ("A factory.", 2, 2)


def test_showing_a_learner_draws_nothing_from_the_global_generator(mine: Path, capfd: pytest.CaptureFixture[str]) -> None:
    import torch

    before = torch.get_rng_state()
    _printed(capfd, "mine.py:Mine")
    assert torch.equal(torch.get_rng_state(), before)


# --- what is wrong


def test_a_wrong_name_is_told_with_the_nearest(capfd: pytest.CaptureFixture[str]) -> None:
    assert _refused(capfd, "protonett") == "metashot: Unknown learner 'protonett'. Did you mean protonet?\n"


def test_a_class_or_file_that_is_not_there_is_told(mine: Path, capfd: pytest.CaptureFixture[str]) -> None:
    assert "Did you mean Mine?" in _refused(capfd, "mine.py:Min")
    assert "There is no file yours.py" in _refused(capfd, "yours.py:Mine")
    assert "No module named 'no_such_package'" in _refused(capfd, "no_such_package:Mine")


def test_a_file_that_fails_is_told_with_its_line(mine: Path, capfd: pytest.CaptureFixture[str]) -> None:
    mine.write_text("import sys\n\nsys.exit('usage:\\n  mine.py FILE')\n")
    assert "SystemExit: usage: mine.py FILE at mine.py:3" in _refused(capfd, "mine.py:Mine")
