"""`metashot eval`."""

from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, Any, Literal

from cyclopts import Parameter

_Flag = Parameter(negative="")


def evaluation(
    checkpoint: Path,
    *,
    ways: int,
    shots: int,
    queries: int = 15,
    episodes: int = 1000,
    seed: int = 0,
    split: Literal["train", "val", "test"] = "test",
    data: str | None = None,
    set_: Annotated[Sequence[str], Parameter(name="--set", negative="")] = (),
    data_root: Path | None = None,
    download: Annotated[bool, _Flag] = False,
    calibration: Annotated[bool, _Flag] = False,
    device: str = "cpu",
    json: Annotated[bool, _Flag] = False,
) -> None:
    """Evaluate a checkpoint on any data set, ways and shots; the result goes to RUN/eval/CELL.

    Parameters
    ----------
    checkpoint
        A run's folder (its selected weights), or one of its checkpoints.
    ways
        Classes in an episode.
    shots
        Support images of each class.
    queries
        Query images of each class.
    episodes
        How many; more than last time are added to those.
    seed
        Of the episode stream.
    split
        Which classes.
    data
        Another data set than the one it was trained on, then with that set's default preprocessing.
    set_
        Another value of one of the learner's or the data set's arguments, with the same weights: learner.test_steps=10,
        data.rotations.test=none. May be given several times.
    data_root
        Folder of raw data sets; METASHOT_DATA if not given.
    download
        Fetch raw data that is not at hand, where a public source exists.
    calibration
        Record the probabilities (softmax of the logits), and print calibration error and negative log-likelihood.
    device
        Where to compute, for example cuda.
    json
        Print JSON instead of a table.
    """
    from ..harness.recipe import Cell
    from ..harness.recipe_faults import error_of, section_faults

    asked: dict[str, Any] = {"ways": ways, "shots": shots, "queries": queries, "episodes": episodes, "seed": seed, "split": split}
    faults = section_faults("eval", "", "evaluate", asked)
    if faults:
        raise error_of(faults)
    from ..harness.allocator import keep_freed_memory
    from ..harness.build import check_device
    from ..harness.evaluate_checkpoint import evaluate_checkpoint
    from ..harness.measuring import Measuring
    from ..harness.progress import ConsoleProgress
    from ..harness.report import rows
    from ..harness.run import Place
    from .bench import print_rows

    check_device(device)
    keep_freed_memory()
    place = Place(data_root=data_root, download=download, device=device)
    with ConsoleProgress() as progress:
        measuring = Measuring(probabilities=calibration)
        result, folder = evaluate_checkpoint(
            checkpoint, Cell(**asked), data=data, overrides=set_, place=place, progress=progress, measuring=measuring
        )
        progress.told(f"Result folder: {folder}")
    if json:
        print(result.model_dump_json(indent=1, by_alias=True))
    else:
        print_rows(rows(result))
