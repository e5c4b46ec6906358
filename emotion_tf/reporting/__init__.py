"""Scores, models and samples as text and as pictures."""
