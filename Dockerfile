# The server of an exported model: docker build -t emotion-tf .
# docker run --rm -p 127.0.0.1:8501:8501 -v "$PWD/saved_models/my-run/export:/model:ro" emotion-tf
FROM python:3.11-slim-bookworm

WORKDIR /app
COPY setup.cfg pyproject.toml requirements.txt README.md LICENSE ./
COPY pipelines pipelines
COPY emotion_tf emotion_tf
RUN python -m pip install --no-cache-dir -c requirements.txt ".[serve,video]" && useradd --create-home --uid 1000 server

# Uploads lie here until they are decoded: --read-only and --tmpfs /tmp leave nothing else to write to.
ENV TMPDIR=/tmp PYTHONUNBUFFERED=1
USER 1000
EXPOSE 8501
STOPSIGNAL SIGTERM
HEALTHCHECK --interval=10s --start-period=60s CMD ["python", "-c", \
    "import urllib.request; urllib.request.urlopen('http://127.0.0.1:8501/readyz', timeout=5)"]

# Further flags go behind the name of the image: --tokens /run/secrets/tokens
ENTRYPOINT ["python", "-m", "emotion_tf.serve", "--model", "/model", "--host", "0.0.0.0"]
