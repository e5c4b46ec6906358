"""Keras graphs from inputs to logits: branches, early and late fusion. No TensorFlow and no files: any backend.

After `import emotion_tf.models` every layer is registered, and `keras.saving.load_model("RUN/model.keras")` loads.
"""

import emotion_tf.models.build
import emotion_tf.models.late_fusion  # noqa: F401
