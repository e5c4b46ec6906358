"""Scripts that measure, a module each: `python -m benchmarks.NAME`. What they find is kept in results/."""
