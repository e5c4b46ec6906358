"""The files of a run, and whether runs, records and folds belong together."""
