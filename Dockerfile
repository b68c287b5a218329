# CPU by default:   docker build -t throughline .
# NVIDIA GPU:       docker build -t throughline-gpu --build-arg KIND=gpu .   and run it with --gpus all
# Chat:             docker run -p 8000:8000 -v throughline:/data throughline
FROM python:3.11-slim-bookworm

ARG KIND=cpu

# redis-server: the one this node starts for itself where REDIS_URL is empty. The compiler is for Triton's kernels.
RUN apt-get update \
    && apt-get install -y --no-install-recommends redis-server libnuma1 libgomp1 \
    && if [ "$KIND" = gpu ]; then apt-get install -y --no-install-recommends gcc g++; fi \
    && rm -rf /var/lib/apt/lists/*

RUN useradd --create-home --uid 10001 throughline && install -d -o throughline /app /data
WORKDIR /app
USER throughline

COPY --chown=throughline requirements requirements
RUN requirements/install python3 "requirements/$KIND.txt"

COPY --chown=throughline LICENSE README.md pyproject.toml ./
COPY --chown=throughline static/dist static/dist
COPY --chown=throughline engine engine
COPY --chown=throughline server server
RUN .venv/bin/python -m compileall -q engine server

ENV HOST=0.0.0.0 PORT=8000 DATA_DIR=/data LOG_FORMAT=json
VOLUME /data
EXPOSE 8000
STOPSIGNAL SIGTERM

# Alive is enough here: a model may take long to load, and /readyz says when it has.
HEALTHCHECK --interval=10s --timeout=3s --start-period=20s \
    CMD [".venv/bin/python", "-c", "import os, urllib.request as u; u.urlopen(f'http://127.0.0.1:{os.environ[\"PORT\"]}/healthz', timeout=2)"]

ENTRYPOINT [".venv/bin/python", "-m", "server"]
