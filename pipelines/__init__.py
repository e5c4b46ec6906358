"""Raw corpora to ``tf.data``: recordings and sentences, records on disk, datasets of batches."""
