"""One training with stock Keras: what may be trained, on what, from where, with which optimizer and callbacks."""
