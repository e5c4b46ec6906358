"""One branch a modality: functions (inputs, config) -> BranchOutput, in pure Keras, and the layers that they share."""
