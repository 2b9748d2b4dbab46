"""Published figures: read exactly, marked where they must be, and equal to the reference material."""

import csv
import re
from pathlib import Path

import pytest

from metashot.errors import DataError, UnknownNameError
from metashot.harness.published import for_row, lookup, parse, published

HEADER = "key,accuracy,half_width,half_width_is,episodes,protocol,kind,source,verified,note\n"
LINE = "omniglot-5w1s-maml/finn2017,98.7,0.4,95 % over test episodes,600,second order,published,a paper,yes,\n"


def test_accuracy_is_the_proportion_nearest_to_the_printed_points() -> None:
    figure = lookup("omniglot-5w1s-protonet/snell2017")
    assert figure.accuracy == 0.988
    assert (figure.half_width, figure.episodes, figure.kind, figure.verified) == (None, 1000, "published", True)
    assert (str(figure), figure.marks, figure.half_width_is) == ("98.8", "", "none printed")
    assert lookup("omniglot-20w1s-protonet/snell2017").printed == "96.0"


def test_row_gives_the_papers_figure_before_reproductions() -> None:
    assert [figure.key for figure in for_row("omniglot-20w1s", "protonet")] == [
        "omniglot-20w1s-protonet/snell2017",
        "omniglot-20w1s-protonet/official-code",
    ]
    assert for_row("omniglot-20w1s", "proto") == []
    assert for_row("omniglot-20w1s", "protonet+12345678") == []


def test_reproductions_and_unverified_figures_are_marked() -> None:
    assert str(lookup("omniglot-5w1s-protonet/official-code")) == "98.4 (reproduction)"
    unverified = parse(HEADER + LINE.replace(",yes,", ",no,"))["omniglot-5w1s-maml/finn2017"]
    assert str(unverified) == "98.7 ± 0.4 (unverified)"
    assert (unverified.accuracy, unverified.half_width) == (0.987, 0.004)


def test_figure_says_what_its_half_width_is() -> None:
    assert lookup("mini-imagenet-5w1s-protonet/snell2017").half_width_is == "95 % over test episodes"
    assert lookup("mini-imagenet-5w1s-baseline/libfewshot").half_width_is == "not known"
    assert parse(HEADER + LINE)["omniglot-5w1s-maml/finn2017"].half_width_is == "95 % over test episodes"


def test_misspelt_key_is_answered_with_the_right_one() -> None:
    with pytest.raises(UnknownNameError, match=r"Did you mean omniglot-5w1s-protonet/snell2017\?"):
        lookup("omniglot-5w1s-protonet/snel2017")


@pytest.mark.parametrize(
    ("old", "new", "fault"),
    [
        ("98.7", "98,7", "line 2"),
        ("98.7", "ninety", "line 2 .omniglot-5w1s-maml/finn2017."),
        ("98.7", "987", "between 0 and 100 points"),
        ("98.7", "NaN", "line 2"),
        ("published", "rumour", "'rumour'"),
        (",yes,", ",maybe,", "'maybe'"),
        ("/finn2017", "", "<benchmark>-<row>/<source>"),
        (",yes,\n", "\n", "line 2"),
        ("0.4,95 % over test episodes", ",95 % over test episodes", "'none printed' where half_width is empty, and only there"),
        ("95 % over test episodes", "none printed", "'none printed' where half_width is empty, and only there"),
        ("95 % over test episodes", "", "what the printed ± means"),
        (LINE, LINE + LINE, "line 3: the key omniglot-5w1s-maml/finn2017 stands there twice"),
    ],
)
def test_faulty_line_is_named(old: str, new: str, fault: str) -> None:
    assert list(parse(HEADER + LINE)) == ["omniglot-5w1s-maml/finn2017"]
    with pytest.raises(DataError, match=fault):
        parse((HEADER + LINE).replace(old, new, 1 if old != "published" else 2))


def test_figures_equal_the_reference(reference_root: Path) -> None:
    with (reference_root / "published.csv").open(encoding="utf-8", newline="") as stream:
        reference = list(csv.DictReader(stream))
    papers = {
        "snell2017": "Snell et al. 2017",
        "finn2017": "Finn et al. 2017",
        "chen2019": "Chen et al. 2019",
        "wang2019": "Wang et al. 2019",
        "nichol2018": "Nichol et al. 2018",
        "nichol2018-transductive": "Nichol et al. 2018",
        "raghu2020": "Raghu et al. 2020",
        "tian2020": "Tian et al. 2020",
        "learn2learn": "learnables/learn2learn",
        "third-party": "third-party Reptile reproduction",
    }
    methods = {"chen2019": {"fomaml": "maml(approx)"}, "tian2020": {"logistic": "rfs (simple)"}}  # what the reference calls a row
    papers |= {"libfewshot": "RL-VIG/LibFewShot"} | dict.fromkeys(("official-code", "user-report"), "jakesnell/prototypical-networks")
    for key, figure in published().items():
        data, ways, shots, row, source = re.fullmatch(r"([a-z-]+)-(\d+)w(\d+)s-([a-z-]+)/([a-z0-9-]+)", key).groups()  # type: ignore[union-attr]  # every key matches
        found = [
            line
            for line in reference
            if (line["dataset"], line["way"], line["shot"]) == (data.replace("mini-i", "minii"), ways, shots)
            and line["method"].lower() == methods.get(source, {}).get(row, row).replace("-pp", "++")
            and line["source"].startswith(papers[source])
            and figure.printed == line["accuracy"] + (f" ± {line['ci95']}" if line["ci95"] else "")  # a source may vary its settings
        ]
        assert len(found) == 1, key
        [line] = found
        assert str(figure.episodes or "") == line["episodes"]
        assert figure.verified is (line["verified"] == "yes")
        by_others = line["variant"].startswith(("reproduction", "re-run")) or (source, row) == ("chen2019", "fomaml")
        assert (figure.kind == "reproduction") is by_others, key
    assert len(published()) == 81
