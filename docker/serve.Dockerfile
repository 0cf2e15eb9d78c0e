# The server and its page. docs/serving.md shows how to build and run it.
FROM python:3.11-slim AS build
RUN apt-get update && apt-get install -y --no-install-recommends g++ && rm -rf /var/lib/apt/lists/*
WORKDIR /source
COPY . .
RUN python -m venv /environment && /environment/bin/pip install --no-cache-dir '.[serve]'

FROM python:3.11-slim
COPY --from=build /environment /environment
ENV PATH=/environment/bin:$PATH
RUN useradd --create-home cmpc
USER cmpc
WORKDIR /home/cmpc
EXPOSE 8000
HEALTHCHECK --interval=30s --timeout=5s --start-period=2m \
  CMD ["python", "-c", "import urllib.request as r; r.urlopen('http://127.0.0.1:8000/healthz', timeout=4)"]
ENTRYPOINT ["cmpc", "serve", "--host", "0.0.0.0", "--port", "8000"]
CMD ["--model", "/model.keras"]
