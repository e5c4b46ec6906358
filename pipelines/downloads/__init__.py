"""Corpora from their makers' places: where they lie, fetched whole or continued, unpacked without harm."""
