# docker build -t fastgan_jax .                         for a CPU
# docker build -t fastgan_jax --build-arg EXTRA=cuda .  for an NVIDIA GPU (cuda12 for cards before Turing); or tpu
# docker run --rm --gpus all --user "$(id -u):$(id -g)" -v "$PWD:/mnt" fastgan_jax train images
FROM python:3.11-slim
ARG EXTRA=
COPY . /fastgan_jax
RUN cd /fastgan_jax && pip install --no-cache-dir -c requirements.lock ".${EXTRA:+[$EXTRA]}"
WORKDIR /mnt
ENV XDG_CACHE_HOME=/mnt/.cache
ENTRYPOINT ["fastgan"]
CMD ["--help"]
