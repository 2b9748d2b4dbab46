"""What runs are to be compared with: learners on the same benchmark, or finished runs. Found without torch."""

from collections.abc import Sequence
from pathlib import Path

from .. import registry
from ..errors import RecipeError, UnknownNameError, unknown_name
from .recipe import Resolved, benchmark_of, resolve


def rivals(
    recipes: Sequence[str], compared: Sequence[str], *, asked: Sequence[str], budget: str, overrides: Sequence[str]
) -> list[Resolved | Path]:
    """What to set beside `recipes`: for each learner in `compared` its recipe on each of their benchmarks; for each run its folder.

    Args:
        recipes: names or paths of what is run.
        compared: learners (a name, module:Class, file.py:Class), which come first, or folders of finished runs.
        asked: names of the resolved recipes; none is compared with itself.
        budget: of the learners' recipes.
        overrides: `--set` texts; those of the learner do not concern another learner.

    Raises:
        UnknownNameError: for what is neither a learner nor a run.
        RecipeError: if a recipe does not resolve, or would be compared with itself.
    """
    shared = [text for text in overrides if not text.lstrip().startswith("learner.")]
    found: dict[str, Resolved | Path] = {}
    for name in compared:
        if name in registry.names("learners") or ":" in name:
            for benchmark in dict.fromkeys(map(benchmark_of, recipes)):
                resolved = resolve(benchmark, budget=budget, learner=name, overrides=shared)
                if resolved.recipe.name in asked:
                    raise RecipeError(f"{resolved.recipe.name} would be compared with itself; name another learner, or a finished run.")
                found[resolved.recipe.name] = resolved
        elif (Path(name) / "result.json").exists():
            found.setdefault(str(Path(name).resolve()), Path(name))
        else:
            raise UnknownNameError(f"--compare expects a learner or the folder of a finished run; {name!r} is neither. {_advice(name)}")
    return list(found.values())


def run_folder(name: str) -> Path:
    """The folder of a finished run.

    Raises:
        UnknownNameError: if it is none.
    """
    if not (Path(name) / "result.json").exists():
        advice = _advice(name) if Path(name).exists() or len(Path(name).parts) > 1 else "There is no such folder."
        raise UnknownNameError(f"Expected the folder of a finished run; {name!r} is none. {advice}")
    return Path(name)


def _advice(name: str) -> str:
    """What may have been meant by something that is neither a learner nor a run."""
    folder = Path(name)
    if folder.is_dir():
        below = sorted(folder.glob("**/result.json"), key=lambda path: (len(path.parts), path))
        return f"There is no result.json in it.{f' Did you mean {below[0].parent}?' if below else ''}"
    if folder.is_file():
        return f"It is a file.{f' Did you mean {folder.parent}?' if folder.name == 'result.json' else ''}"
    if len(folder.parts) > 1:
        return "There is no such folder."
    return str(unknown_name("learner", name, registry.names("learners")))
