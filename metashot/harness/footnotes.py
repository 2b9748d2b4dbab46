"""What must be said beside the numbers of a result, in words: shared by the terminal's report and by tables."""

from collections.abc import Iterable

from .published import Published, for_row
from .recipe import Cell
from .result import CellResult, Result, size_name

LENGTHS = ("pretrain.epochs", "pretrain.steps", "train.steps")
_OF_IMAGENET = ("mini-imagenet", "tiered-imagenet")
_TRAINED_ELSEWHERE = ("efficientnet-lite0", "timm", "torchvision")


def points(proportion: float) -> str:
    """A proportion in points with two decimals, half away from zero never hidden: 0.98765 as `98.77`."""
    return f"{100 * proportion:.2f}"


def learner_label(result: Result) -> str:
    """The row's name; for a run with another learner in a recipe's place, that learner and the identifier of the changes."""
    row = str(result.recipe["name"]).removeprefix(f"{result.recipe['benchmark']}-")
    changes = row.partition("+")[1:]
    return result.overrides["learner.name"] + "".join(changes) if "learner.name" in result.overrides else row


def unusual_protocol(cell: CellResult | Cell) -> list[str]:
    """What sets a cell's episodes apart from the usual ones of its benchmark."""
    marks = [
        cell.split if cell.split != "test" else "",
        f"{size_name(cell.queries)} queries" if cell.queries != 15 else "",
        f"episode seed {cell.seed}" if cell.seed else "",
    ]
    return [mark for mark in marks if mark]


def unusual_weights(result: Result, cell: CellResult) -> list[str]:
    """What sets the weights behind a cell apart from the final ones of a training on its data set."""
    trained_on = result.recipe["data"]["name"]
    marks = [
        "untrained" if _could_be_trained(result) and not backbone_trained(result) else "",
        f"step {result.checkpoint}" if result.checkpoint != "final" else "",
        f"trained on {trained_on}" if trained_on != cell.data else "",
    ]
    return [mark for mark in marks if mark]


def column_title(data: str, cell: CellResult | Cell) -> str:
    """The column that a cell belongs to: `<data set>-<ways>w<shots>s`, and what is unusual about its episodes."""
    return " ".join([f"{data}-{size_name(cell.ways)}w{size_name(cell.shots)}s", *in_parentheses(unusual_protocol(cell))])


def in_parentheses(marks: Iterable[str]) -> list[str]:
    """Marks as the last word of a text, if there are any."""
    told = ", ".join(marks)
    return [f"({told})"] if told else []


def backbone_trained(result: Result) -> bool:
    """Whether the backbone was trained by itself, in this run or in another."""
    return result.pretraining is not None or result.shared is not None


def _could_be_trained(result: Result) -> bool:
    """Whether a trainable learner was not trained on episodes; weights from the middle of a training were, but tell nothing of it."""
    return result.tags["trainable"] and result.training is None and result.recipe["train"] is None


def about_backbone(result: Result) -> list[str]:
    """Whose backbone it is, where another run trained it."""
    return [f"The backbone is that of {result.shared.recipe}, of the same budget and seed."] if result.shared else []


def about_training(result: Result) -> list[str]:
    """How the weights came about, where that is not the ordinary case."""
    told = []
    if result.training is None and not result.tags["trainable"] and not backbone_trained(result):
        told.append("Nothing was trained: the backbone, if there is one, has the weights that it was made with.")
    if _could_be_trained(result) and not result.shared:
        told.append(
            "The backbone is trained on all training classes at once; the learner, which could be, is not trained on episodes."
            if result.pretraining
            else "Untrained: the learner could be trained, the recipe has no [train], and the weights are as they were made."
        )
    return told + ([_seen(result)] if _came_trained(result) else [])


def about_queries(result: Result) -> list[str]:
    """Whether the queries of an episode inform each other."""
    if result.batch_norm == "transductive":
        return ["Transductive: the queries of an episode are normalised together, so they inform each other."]
    if result.tags["transductive"]:
        return ["Transductive: the queries of an episode are answered together and inform each other."]
    return []


def about_shots(result: Result, cell: CellResult) -> list[str]:
    """Whether the learner was trained for other shots than those of a cell that has a published figure."""
    trained = result.recipe["train"]
    if not cell.published or not trained or trained["shots"] == cell.shots:
        return []
    return [
        f"Trained with {size_name(trained['shots'])}-shot episodes throughout; published figures are of training with the tested shots."
    ]


def about_budget(result: Result, cell: CellResult) -> list[str]:
    """Whether a published figure stands beside a shorter training."""
    if result.budget == "full" or not cell.published:
        return []
    return ["A short budget is not comparable with the published figure; the difference is shown for orientation."]


def doubts(cell: CellResult) -> list[str]:
    """What speaks against intervals, or must be known of them, that there are."""
    return [
        f"{'' if found.reliable else '? '}Over {name}: {found.reason}."
        for name, found in cell.intervals.items()
        if found.reason and found.half_width is not None
    ]


def figures(cell: CellResult, figure: Published) -> tuple[Published, ...]:
    """The published figure of a cell, and what others got with the method."""
    row = figure.key.partition("/")[0].removeprefix(f"{cell.benchmark}-")
    return (figure, *(other for other in for_row(cell.benchmark, row) if other.kind == "reproduction" and other.key != figure.key))


def sources(shown: Iterable[Published]) -> list[str]:
    """One line about each source of the figures shown."""
    found: dict[tuple[str, str, str], list[Published]] = {}
    for figure in dict.fromkeys(shown):
        found.setdefault((figure.kind, figure.source, figure.protocol), []).append(figure)
    return [_source(figures) for figures in found.values()]


def _source(figures: list[Published]) -> str:
    """One line about figures of one source."""
    head = "Published" if figures[0].kind == "published" else "Reproduced by others"
    values = ", ".join(
        f"{figure.printed} ({figure.key.partition('/')[0]}{'' if figure.verified else ', unverified'})" for figure in figures
    )
    remarks = [remark for figure in figures if figure.note for remark in figure.note.split("; ")]
    about = "; ".join(dict.fromkeys([figures[0].source, figures[0].protocol, *remarks]))
    return f"{head}: {values}. {about}."


def _came_trained(result: Result) -> bool:
    """Whether the backbone came with weights that were trained elsewhere."""
    backbone = result.recipe.get("backbone", {})
    return backbone.get("name") in _TRAINED_ELSEWHERE and not backbone.get("arguments", {}).get("fresh", False)


def _seen(result: Result) -> str:
    """What a backbone that came trained may have seen of the test classes."""
    name, data = result.recipe["backbone"]["name"], result.recipe["data"]["name"]
    if data in _OF_IMAGENET and not result.recipe["backbone"].get("arguments", {}).get("file"):
        return f"The backbone {name} came trained on ImageNet, and has seen the test classes of {data}."
    return f"The backbone {name} came trained on other data, and may have seen classes like those of the test."
