"""The benchmark harness: recipes, runs, evaluation, results and their tables.

Nothing is re-exported here: listing recipes must not load torch. Import from the modules: `recipe`, `run`, `evaluate`, `result`, `report`.
"""
