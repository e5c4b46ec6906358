"""Keras graphs from inputs to logits: branches, early and late fusion. No TensorFlow and no files: any backend."""
