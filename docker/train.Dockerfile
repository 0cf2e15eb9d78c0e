# All commands, with TensorFlow for GPUs. docs/training.md shows how to build and run it.
FROM python:3.11-slim AS build
RUN apt-get update && apt-get install -y --no-install-recommends g++ && rm -rf /var/lib/apt/lists/*
WORKDIR /source
COPY . .
RUN python -m venv /environment && /environment/bin/pip install --no-cache-dir '.[gpu]'

FROM python:3.11-slim
COPY --from=build /environment /environment
ENV PATH=/environment/bin:$PATH
RUN useradd --create-home cmpc
USER cmpc
WORKDIR /work
ENTRYPOINT ["cmpc"]
CMD ["--help"]
