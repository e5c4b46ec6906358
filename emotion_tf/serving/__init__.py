"""An exported model in use. Knows `pipelines` and `probabilities` only, never how a model was built or trained."""
