"""One branch a modality: functions (inputs, config) -> embedding, in pure Keras, and the layers that they share."""
