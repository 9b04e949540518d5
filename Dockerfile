# posert serve, for a CPU or (EXTRA=gpu, docker run --gpus all) an NVIDIA GPU: docs/serve.md.
# The tests run these steps in a fresh environment; they have no Docker and have never built the image.
FROM python:3.12-slim AS build
WORKDIR /posert
COPY . .
RUN pip wheel --no-cache-dir --no-deps --wheel-dir /wheels .

FROM python:3.12-slim
ARG EXTRA=cpu
COPY --from=build /wheels /wheels
RUN pip install --no-cache-dir "$(ls /wheels/*.whl)[$EXTRA,serve]" && rm -r /wheels
RUN useradd --create-home --uid 10001 posert
USER posert
WORKDIR /home/posert
# Whoever reaches it needs the token: docker run -e POSERT_TOKEN=...
EXPOSE 8080
HEALTHCHECK --interval=30s --timeout=5s --start-period=60s \
    CMD ["python", "-c", "import urllib.request; urllib.request.urlopen('http://127.0.0.1:8080/healthz', timeout=4)"]
ENTRYPOINT ["posert", "serve", "--host", "0.0.0.0", "--port", "8080"]
CMD ["nano"]
