"""``keras.Input`` to a served model: branches, fusion, training, scores, export."""
