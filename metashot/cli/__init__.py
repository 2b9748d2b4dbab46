"""The command line: results on stdout, everything else on stderr; one line and a status for what goes wrong."""

import os
import sys
from collections.abc import Sequence

from cyclopts import App, CycloptsError

from ..errors import MetashotError, RecipeError, UnknownNameError


def _version() -> str:
    from .. import __version__

    return __version__


app = App(
    name="metashot",
    help="Few-shot learning: train, evaluate, and print accuracy with its interval.",
    help_epilogue="Add --debug to any command to see the traceback of an error.",
    version_flags=["--version"],
    version=_version,
    result_action="return_value",
    suppress_keyboard_interrupt=False,  # told in `main`
)
# Named as text: a command's module is imported when the command is called.
app.command("metashot.cli.bench:bench", name="bench", help="Train or reuse, evaluate, and print the table.")
app.command("metashot.cli.evaluation:evaluation", name="eval", help="Evaluate a checkpoint on any data set, ways and shots.")
app.command("metashot.cli.comparison:compare", name="compare", help="Paired differences of finished runs on the same episodes.")
app.command("metashot.cli.verify:verify", name="verify", help="Recompute and check saved results.")
app.command("metashot.cli.cite:cite", name="cite", help="BibTeX for the library, data set, method and protocol.")
app.command("metashot.cli.table:table", name="table", help="A table of saved results, for people, papers and programs.")
app.command("metashot.cli.classify:classify", name="classify", help="Classify pictures by a few labelled ones.")
app.command("metashot.cli.check:check", name="check", help="Run the conformance suite on a learner.")
app.command("metashot.cli.learners:learners", name="learners", help="List the registered learners, or show one.")
app.command("metashot.cli.show:show", name="show", help="Draw an episode of a data set.")
data_sets = App(name="data", help="List the data sets, prepare one, or say what it holds.")
data_sets.command("metashot.cli.data:list_data", name="list", help="List the registered data sets, and whether they are at hand.")
data_sets.command("metashot.cli.data:prepare", name="prepare", help="Build the stores of a data set.")
data_sets.command("metashot.cli.data:info", name="info", help="Say what a prepared data set holds, and what its splits share.")
app.command(data_sets)

_USAGE, _FAILURE, _INTERRUPTED = 2, 1, 130


def main(arguments: Sequence[str] | None = None) -> None:
    """Run the command line and exit: 0 done, 1 failed, 2 a wrong name or option, 130 interrupted."""
    words = list(sys.argv[1:] if arguments is None else arguments)
    debug = "--debug" in words
    try:
        app([word for word in words if word != "--debug"], exit_on_error=False, print_error=False)
        sys.stdout.flush()
    except BrokenPipeError:  # the reader of our output has gone; nothing is left to say
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
    except KeyboardInterrupt:
        _leave("Interrupted. The same command reuses what is finished; training goes on from its newest checkpoint.", _INTERRUPTED)
    except CycloptsError as error:
        if debug:
            raise
        command = " ".join(["metashot", *(error.command_chain or ())])
        _leave(f"{' '.join(str(error).split())} See {command} --help.", _USAGE)
    except MetashotError as error:
        if debug:
            raise
        _leave(str(error), _USAGE if isinstance(error, UnknownNameError | RecipeError) else _FAILURE)


def _leave(line: str, status: int) -> None:
    print(f"metashot: {line}", file=sys.stderr)
    sys.exit(status)
