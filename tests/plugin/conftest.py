"""Not collected with metashot's own tests, and no part of the package: tests/test_plugin.py installs a copy and runs its tests there."""

collect_ignore = ["tests"]
