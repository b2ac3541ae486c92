# The two images of KerasJob. A plain `docker build --target operator .` or `--target trainer .` works from PyPI;
# `make cluster-up` builds the same file with buildah, from wheels on its disk. The requirements come before the sources:
# a change of the sources leaves the large layers as they are.
ARG BASE=python:3.11-slim
# `--build-arg REQUIREMENTS=trainer-gpu.txt` makes a trainer with CUDA's libraries, for nodes with NVIDIA GPUs.
ARG REQUIREMENTS=trainer-tensorflow.txt

FROM ${BASE} AS python
ENV PATH=/opt/venv/bin:/usr/local/bin:/usr/bin:/bin PYTHONUNBUFFERED=1 PIP_NO_CACHE_DIR=1 PIP_DISABLE_PIP_VERSION_CHECK=1
RUN python3 -m venv /opt/venv

# Our packages, as plain folders on the path of the virtual environment.
FROM python AS sources
COPY api/kerasjob_api /sources/api/kerasjob_api
COPY core/kerasjob_core /sources/core/kerasjob_core
COPY operator/kerasjob_operator /sources/operator/kerasjob_operator
COPY trainer/kerasjob_trainer /sources/trainer/kerasjob_trainer
RUN python3 -m compileall -q /sources

FROM python AS operator
ARG VERSION=0.1.0
LABEL org.opencontainers.image.title="KerasJob operator" \
      org.opencontainers.image.description="Runs KerasJobs: distributed training for Keras on Kubernetes" \
      org.opencontainers.image.version="${VERSION}"
# Where the wheels come from when it is not PyPI: a folder that the builder mounts.
ARG PIP_NO_INDEX
ARG PIP_FIND_LINKS
COPY requirements/operator.txt /requirements.txt
# Of Kubernetes's client only the connections are used; its models and methods, 110 MB, are loaded where one is asked for.
RUN pip install --quiet --require-hashes -r /requirements.txt \
 && python3 -c 'import pathlib, sysconfig; pathlib.Path(sysconfig.get_path("purelib"), "kerasjob.pth").write_text("/opt/kerasjob\n")' \
 && find /opt/venv/lib/*/site-packages/kubernetes \( -path '*/client/models/*' -o -path '*/client/api/*' \) \
      -type f ! -name '__init__.*' -delete
COPY --from=sources /sources/api /sources/core /sources/operator /opt/kerasjob/
USER 1000:1000
ENTRYPOINT ["python", "-m", "kerasjob_operator"]

FROM python AS trainer
ARG VERSION=0.1.0
LABEL org.opencontainers.image.title="KerasJob trainer" \
      org.opencontainers.image.description="TensorFlow, Keras and the agent that a KerasJob's workers are" \
      org.opencontainers.image.version="${VERSION}"
ARG PIP_NO_INDEX
ARG PIP_FIND_LINKS
ARG REQUIREMENTS
COPY requirements/${REQUIREMENTS} /requirements.txt
RUN pip install --quiet --require-hashes -r /requirements.txt \
 && python3 -c 'import pathlib, sysconfig; pathlib.Path(sysconfig.get_path("purelib"), "kerasjob.pth").write_text("/opt/kerasjob\n")'
COPY --from=sources /sources/api /sources/trainer /opt/kerasjob/
ENV TF_CPP_MIN_LOG_LEVEL=1
USER 1000:1000
ENTRYPOINT ["python", "-m", "kerasjob_trainer.agent"]
