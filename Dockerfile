# didgen with all that it needs, for a CPU or for NVIDIA GPUs.
#   docker build -t didgen .
#   docker build -t didgen:cuda --build-arg DEVICE=cuda .
#   docker run --rm -v "$PWD:/data" didgen augment --out runs/demo
#   docker run --rm --gpus all -v "$PWD:/data" didgen:cuda augment --out runs/demo
ARG PYTHON=3.12
FROM python:${PYTHON}-slim

ARG DEVICE=cpu
ENV PIP_DISABLE_PIP_VERSION_CHECK=1 \
    PYTHONUNBUFFERED=1 \
    NVIDIA_VISIBLE_DEVICES=all \
    NVIDIA_DRIVER_CAPABILITIES=compute,utility

WORKDIR /opt/didgen
RUN pip install --no-cache-dir uv

COPY LICENSE README.md pyproject.toml requirements.lock cli.py ./
COPY augment augment
COPY downstream downstream
COPY manifests manifests
COPY didgen didgen

# The versions are those of the lock. Without another backend, torch is built for CUDA.
RUN case "$DEVICE" in \
        cpu) set -- --torch-backend=cpu ;; \
        cuda) set -- ;; \
        *) echo "DEVICE is cpu or cuda, not $DEVICE" >&2; exit 1 ;; \
    esac; \
    uv pip install --system --no-cache --constraint requirements.lock "$@" ".[review]"

# What is written into /data belongs to a user, not to root.
RUN useradd --create-home --uid 1000 didgen
USER didgen
WORKDIR /data
RUN didgen --version

ENTRYPOINT ["didgen"]
CMD ["--help"]
