"""An exported model in use. Knows `pipelines` and `probabilities` only, never how a model was built or trained."""

from emotion_tf.serving.client import Client, ServerError
from emotion_tf.serving.prediction import BatchPrediction, Prediction
from emotion_tf.serving.predictor import Predictor

__all__ = ["BatchPrediction", "Client", "Prediction", "Predictor", "ServerError"]
