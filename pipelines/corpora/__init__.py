"""One reader a corpus. Each module's ``read(source, ...)`` returns a `pipelines.utterance.Corpus`."""
