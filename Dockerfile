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
# Bytecode by the source's hash, here and below: the same sources give the same files, whenever they are built.
RUN PYTHONHASHSEED=0 python3 -m compileall -q --invalidation-mode checked-hash /sources

FROM python AS operator
# Where the wheels come from when it is not PyPI: a folder that the builder mounts.
ARG PIP_NO_INDEX
ARG PIP_FIND_LINKS
COPY requirements/operator.txt /requirements.txt
# Of Kubernetes's client only the connections are used; its models and methods, 110 MB, are loaded where one is asked for.
# A package may hold a file of another Python's: like pip we do not mind what does not compile.
RUN pip install --quiet --no-compile --require-hashes -r /requirements.txt \
 && python3 -c 'import pathlib, sysconfig; pathlib.Path(sysconfig.get_path("purelib"), "kerasjob.pth").write_text("/opt/kerasjob\n")' \
 && find /opt/venv/lib/*/site-packages/kubernetes \( -path '*/client/models/*' -o -path '*/client/api/*' \) \
      -type f ! -name '__init__.*' -delete \
 && { PYTHONHASHSEED=0 python3 -m compileall -q -f --invalidation-mode checked-hash /opt/venv || true; }
COPY --from=sources /sources/api /sources/core /sources/operator /opt/kerasjob/
# With thousands of jobs a fifth of the memory would be free, and scattered over the heaps that glibc has for each thread.
ENV MALLOC_ARENA_MAX=1 MALLOC_TRIM_THRESHOLD_=65536
USER 1000:1000
ENTRYPOINT ["python", "-m", "kerasjob_operator"]
# At the end: another revision leaves all layers as they are.
ARG VERSION=0.1.0
ARG REVISION=""
ARG SOURCE=""
LABEL org.opencontainers.image.title="KerasJob operator" \
      org.opencontainers.image.description="Runs KerasJobs: distributed training for Keras on Kubernetes" \
      org.opencontainers.image.licenses="Apache-2.0" \
      org.opencontainers.image.version="${VERSION}" \
      org.opencontainers.image.revision="${REVISION}" \
      org.opencontainers.image.source="${SOURCE}"

FROM python AS trainer
ARG PIP_NO_INDEX
ARG PIP_FIND_LINKS
ARG REQUIREMENTS
COPY requirements/${REQUIREMENTS} /requirements.txt
RUN pip install --quiet --no-compile --require-hashes -r /requirements.txt \
 && python3 -c 'import pathlib, sysconfig; pathlib.Path(sysconfig.get_path("purelib"), "kerasjob.pth").write_text("/opt/kerasjob\n")' \
 && { PYTHONHASHSEED=0 python3 -m compileall -q -f --invalidation-mode checked-hash /opt/venv || true; }
COPY --from=sources /sources/api /sources/trainer /opt/kerasjob/
ENV TF_CPP_MIN_LOG_LEVEL=1
USER 1000:1000
ENTRYPOINT ["python", "-m", "kerasjob_trainer.agent"]
ARG VERSION=0.1.0
ARG REVISION=""
ARG SOURCE=""
LABEL org.opencontainers.image.title="KerasJob trainer" \
      org.opencontainers.image.description="TensorFlow, Keras and the agent that a KerasJob's workers are" \
      org.opencontainers.image.licenses="Apache-2.0" \
      org.opencontainers.image.version="${VERSION}" \
      org.opencontainers.image.revision="${REVISION}" \
      org.opencontainers.image.source="${SOURCE}"
