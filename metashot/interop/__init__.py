"""Other libraries, both ways; one module a library, none of which need be installed to import it."""

from .task_set import EpisodeTasks as EpisodeTasks
