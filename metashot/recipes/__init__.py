"""Benchmarks, recipes, tables (one TOML file each) and published figures: data, read by `metashot.harness`."""
