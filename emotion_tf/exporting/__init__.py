"""A run as a SavedModel, and the comparison of both."""
