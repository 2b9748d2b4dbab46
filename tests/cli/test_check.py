"""`metashot check`: what is printed, what is built, and the exit status."""

import json
import re
import shlex
from pathlib import Path

import pytest

from metashot.cli import main
from metashot.testing import CHECKS

_FILE = '''
import torch
import metashot


class NearestMean(metashot.Learner):
    """Classify by distance to each class's mean image; nothing is trained."""

    def tags(self):
        return metashot.LearnerTags(trainable=False)

    def adapt(self, support, ways):
        means = torch.stack([support.x[support.y == c].flatten(1).mean(0) for c in range(ways)])  # (ways, d)
        return lambda x: -torch.cdist(x.flatten(1), means)  # (q, ways)


class Biased(NearestMean):
    def __init__(self, ways, *, bias=0.0, needed):
        super().__init__()
        assert ways == 5
        self.bias = bias

    def adapt(self, support, ways):
        print("adapting")
        inner = super().adapt(support, ways)
        return lambda x: inner(x) + self.bias * torch.arange(ways)


class Normalised(NearestMean):
    def __init__(self, backbone, *, batch_norm="running"):
        super().__init__()
        self.batch_norm = batch_norm
        if batch_norm == "support":
            raise ValueError("no support statistics")


class Raises(NearestMean):
    def adapt(self, support, ways):
        raise KeyError("means")


class Stochastic(NearestMean):
    def tags(self):
        return metashot.LearnerTags(trainable=False, stochastic=True)

    def adapt(self, support, ways):
        means = torch.stack([support.x[support.y == c].flatten(1).mean(0) for c in range(ways)])  # (ways, d)
        basis = torch.randn(64, 24).to(means)
        return lambda x: -torch.cdist(x.flatten(1) @ basis, means @ basis)


class WritesQueries(NearestMean):
    def adapt(self, support, ways):
        inner = super().adapt(support, ways)
        return lambda x: inner(x.mul_(0.5))


class Amplifies(NearestMean):
    def adapt(self, support, ways):
        inner = super().adapt(support, ways)
        pixels = support.x.flatten(1)[:, 0].tolist()
        noise = 10000 * (sum(map(support.x.new_tensor, pixels)) - sum(map(support.x.new_tensor, sorted(pixels))))  # but for rounding, 0
        return lambda q: inner(q) + noise


class MadeFor28(metashot.Learner):
    def __init__(self, backbone):
        super().__init__()
        self.backbone = backbone
        self.pixels = torch.nn.Linear(784, 4)

    def adapt(self, support, ways):
        z = self.features(support.x)
        means = torch.stack([z[support.y == c].mean(0) for c in range(ways)])
        return lambda x: -(self.features(x)[:, None] - means).square().sum(-1)

    def features(self, x):
        return torch.cat([self.backbone(x), self.pixels(x.flatten(1))], 1)


class FailsAnyway(NearestMean):
    def __init__(self, *, batch_norm="running"):
        super().__init__()
        self.batch_norm = batch_norm

    def tags(self):
        return metashot.LearnerTags(trainable=False, transductive=True)

    def adapt(self, support, ways):
        raise KeyError("means")


class Unfinished(metashot.Learner):
    pass


class ForgetsSuper(NearestMean):
    def __init__(self):
        self.x = 1


class Other:
    pass
'''


@pytest.fixture(autouse=True)
def _mine(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """`mine.py` in the current folder, which is a temporary one."""
    (tmp_path / "mine.py").write_text(_FILE)
    monkeypatch.chdir(tmp_path)


def _status(*arguments: str) -> int:
    with pytest.raises(SystemExit) as stopped:
        main(["check", *arguments])
    assert isinstance(stopped.value.code, int)
    return stopped.value.code


def test_a_learner_that_keeps_its_promises_gets_a_line_a_check(capsys: pytest.CaptureFixture[str]) -> None:
    main(["check", "./mine.py:NearestMean"])
    out, err = capsys.readouterr()
    lines = out.splitlines()
    assert lines[0] == "./mine.py:NearestMean"
    assert [line.split("check_")[1].split()[0] for line in lines if "check_" in line] == [name.removeprefix("check_") for name in CHECKS]
    assert "  not asked check_meta_loss (tagged trainable=False)" in lines
    assert lines[-1] == "15 kept, 0 broken, 0 expected, 2 not asked."
    assert err == ""


def test_a_registered_learner_is_checked_with_each_batch_norm(capsys: pytest.CaptureFixture[str]) -> None:
    main(["check", "protonet"])
    out = capsys.readouterr().out
    assert [line for line in out.splitlines() if line.startswith("protonet")] == [
        "protonet with batch_norm=running",
        "protonet with batch_norm=transductive",
    ]


def test_a_batch_norm_that_is_set_is_the_only_one(capsys: pytest.CaptureFixture[str]) -> None:
    main(["check", "protonet", "--set", "batch_norm=transductive", "--json"])
    (printed,) = json.loads(capsys.readouterr().out)
    assert printed["batch_norm"] == "transductive"


def test_a_broken_promise_is_told_below_its_line_and_gives_status_1(capsys: pytest.CaptureFixture[str]) -> None:
    assert _status("./mine.py:Biased", "--set", "needed=1", "--set", "learner.bias=0.25") == 1
    out, err = capsys.readouterr()
    lines = out.splitlines()
    place = lines.index("  broken    check_label_symmetry")
    message = " ".join(line.strip() for line in lines[place + 1 : place + 6])
    assert message.startswith("Biased breaks check_label_symmetry (renaming the classes")
    assert "LearnerTags(label_symmetric=False)" in message
    assert lines[-1] == "14 kept, 1 broken, 0 expected, 2 not asked."
    assert err.splitlines()[-1] == "metashot: 1 of 15 promises broken: check_label_symmetry."
    assert "adapting" not in out


def test_an_expected_failure_is_no_broken_promise(capsys: pytest.CaptureFixture[str]) -> None:
    main(["check", "./mine.py:Biased", "--set", "needed=1", "--set", "bias=0.25", "--expect", "check_label_symmetry=a prior = by design"])
    out = capsys.readouterr().out
    assert "  expected  check_label_symmetry (a prior = by design)" in out.splitlines()


def test_an_expected_failure_that_does_not_fail_is_broken(capsys: pytest.CaptureFixture[str]) -> None:
    assert _status("./mine.py:NearestMean", "--expect", "check_support_order=reads it in order") == 1
    assert "Drop the exemption." in capsys.readouterr().out


def test_json_is_one_list_even_if_the_learner_prints(capsys: pytest.CaptureFixture[str]) -> None:
    assert _status("./mine.py:Biased", "--set", "needed=1", "--set", "bias=0.25", "--json") == 1
    out, err = capsys.readouterr()
    (printed,) = json.loads(out)
    assert (printed["learner"], printed["batch_norm"]) == ("./mine.py:Biased", "running")
    assert [result["name"] for result in printed["results"]] == list(CHECKS)
    assert {result["status"] for result in printed["results"]} == {"passed", "failed", "skipped"}
    assert "1 of 15 promises broken" in err


def test_a_batch_norm_refused_by_the_constructor_is_left_out(capsys: pytest.CaptureFixture[str]) -> None:
    assert _status("./mine.py:Normalised", "--json") == 1  # it does not tag what it says
    printed = json.loads(capsys.readouterr().out)
    assert [each["batch_norm"] for each in printed] == ["running", "transductive"]
    failed = [[result["name"] for result in each["results"] if result["status"] == "failed"] for each in printed]
    assert failed == [[], ["check_tags"]]


def test_what_a_learner_raises_is_told_with_its_own_line(capsys: pytest.CaptureFixture[str]) -> None:
    assert _status("./mine.py:Raises") == 1
    line = _FILE.splitlines().index('        raise KeyError("means")') + 1
    assert f"KeyError: 'means' at mine.py:{line}." in " ".join(capsys.readouterr().out.split())


def test_what_several_checks_find_is_told_once_and_the_last_line_says_where_to_begin(capsys: pytest.CaptureFixture[str]) -> None:
    assert _status("./mine.py:Raises") == 1
    out, err = capsys.readouterr()
    lines = out.splitlines()
    assert "  broken    check_logits" in lines
    assert "  broken    check_no_grad (as in check_logits)" in lines
    assert out.count("KeyError") == 1
    assert err.splitlines()[-1].endswith(" and 9 more. Begin with check_logits: the others may follow from it.")


def test_one_begins_with_what_the_others_follow_from(capsys: pytest.CaptureFixture[str]) -> None:
    assert _status("./mine.py:WritesQueries") == 1
    out, err = capsys.readouterr()
    assert err.splitlines()[-1].endswith("Begin with check_inputs_untouched: the others may follow from it.")
    assert "enable_grad" not in out
    assert "  broken    check_support_order (as in check_no_grad)" in out.splitlines()


def test_what_was_told_of_one_batch_norm_is_not_told_again_of_the_next(capsys: pytest.CaptureFixture[str]) -> None:
    assert _status("./mine.py:FailsAnyway") == 1
    out = capsys.readouterr().out
    assert out.count("KeyError") == 1
    assert out.splitlines().count("  broken    check_logits (as with batch_norm=running)") == 2


def test_json_has_every_message_in_full(capsys: pytest.CaptureFixture[str]) -> None:
    assert _status("./mine.py:Raises", "--json") == 1
    (printed,) = json.loads(capsys.readouterr().out)
    failed = [result for result in printed["results"] if result["status"] == "failed"]
    assert len(failed) == 14
    assert all(f"Raises breaks {result['name']} (" in result["message"] and "KeyError" in result["message"] for result in failed)


def test_what_a_stochastic_learner_is_told_to_give_is_what_expect_takes(capsys: pytest.CaptureFixture[str]) -> None:
    assert _status("./mine.py:Stochastic") == 1
    out, err = capsys.readouterr()
    given = re.search('--expect ([^"]*"[^"]*")', " ".join(out.split()))
    assert given is not None
    assert "Begin with" not in err
    main(["check", "./mine.py:Stochastic", "--expect", *shlex.split(given[1])])
    assert "  expected  check_batched_equals_loop (its draws cannot line up)" in capsys.readouterr().out.splitlines()


def test_double_checks_in_float64(capsys: pytest.CaptureFixture[str]) -> None:
    assert _status("./mine.py:Amplifies") == 1
    assert "--double on the command line" in " ".join(capsys.readouterr().out.split())
    main(["check", "./mine.py:Amplifies", "--double"])
    assert ", 0 broken," in capsys.readouterr().out


def test_items_and_tiny_backbone_have_the_shape_that_is_asked_for(capsys: pytest.CaptureFixture[str]) -> None:
    assert _status("./mine.py:MadeFor28") == 1
    assert "--item-shape 1,28,28 on the command line" in " ".join(capsys.readouterr().out.split())
    main(["check", "./mine.py:MadeFor28", "--item-shape", "1,28,28"])
    assert ", 0 broken," in capsys.readouterr().out


@pytest.mark.parametrize(
    ("arguments", "status", "told"),
    [
        (["protonett"], 2, "Unknown learner 'protonett'. Did you mean protonet?"),
        (["./mine.py:NearestMen"], 2, "Did you mean NearestMean?"),
        (["./yours.py:NearestMean"], 2, "There is no file yours.py"),
        (["./mine.py:Biased"], 2, "learner needs a value for needed: give it in the recipe, or with --set learner.needed=VALUE."),
        (["./mine.py:Biased", "--set", "needed=1", "--set", "bia=1"], 2, "unknown key learner.bia. Did you mean bias?"),
        (["./mine.py:NearestMean", "--set", "train.steps=1"], 2, "--set train: only the learner is built; write --set learner.KEY=VALUE."),
        (["./mine.py:NearestMean", "--set", "steps"], 2, "is not of the form"),
        (["protonet", "--set", "batch_norm=support"], 2, "batch_norm of ProtoNet must be 'running' or 'transductive'; got 'support'."),
        (["protonet", "--expect", "check_lerns=x"], 2, "Unknown check 'check_lerns'. Did you mean check_learns?"),
        (["protonet", "--expect", "check_learns"], 2, "--expect: 'check_learns' is not of the form CHECK=REASON"),
        (
            ["protonet", "--item-shape", "1,28,x"],
            2,
            "--item-shape must be positive integers, such as 1,28,28 for channels, height and width",
        ),
        (["protonet", "--item-shape", "1,0,8"], 2, "got '1,0,8'."),
        (["protonet", "--item-shape", "784"], 1, "The tiny backbone needs items of shape (channels, height, width); got (784,)."),
        (["./mine.py:Unfinished"], 1, "leaves adapt to be written"),
        (["./mine.py:ForgetsSuper"], 1, "ForgetsSuper.__init__ must begin with super().__init__()."),
        (["./mine.py:Other"], 1, "is not a metashot.Learner; subclass it."),
        ([], 2, "metashot check --help"),
    ],
)
def test_what_is_wrong_is_one_line_that_says_what_to_do(
    arguments: list[str], status: int, told: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert _status(*arguments) == status
    out, err = capsys.readouterr()
    assert out == ""
    (line,) = err.splitlines()
    assert told in line
