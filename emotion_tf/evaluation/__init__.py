"""From a model and a split of a fold to predictions and scores that can be believed. Nothing here draws."""
