# One image for every role: `docker run IMAGE server web`, `… worker`, `… recorder`, `… watcher`, `… beat`, and
# `db upgrade`. It runs on a read-only root file system: only /var/lib/celesta and /tmp are written.
# The base image is an argument, so that a mirror or a hardened image can take its place.
ARG BASE_IMAGE=python:3.11-slim-bookworm

FROM ${BASE_IMAGE} AS build
ENV PIP_DISABLE_PIP_VERSION_CHECK=1 PIP_NO_CACHE_DIR=1 PIP_NO_INPUT=1
ARG EXTRAS=postgres,tables,examples,kubernetes
WORKDIR /srv/celesta
RUN python -m venv /opt/venv
# The dependencies, in a layer that only a change of the pins makes anew.
COPY setup.cfg pyproject.toml constraints.txt README.md ./
RUN mkdir celesta app workers && touch celesta/__init__.py app/__init__.py workers/__init__.py \
    && /opt/venv/bin/pip install -q -c constraints.txt setuptools \
    && /opt/venv/bin/pip install -q -c constraints.txt --no-build-isolation -e ".[${EXTRAS}]"
COPY . .
RUN /opt/venv/bin/python -m compileall -q celesta app workers

FROM ${BASE_IMAGE}
RUN groupadd --system --gid 10001 celesta \
    && useradd --system --uid 10001 --gid 10001 --home-dir /var/lib/celesta --create-home celesta
COPY --from=build /opt/venv /opt/venv
COPY --from=build /srv/celesta /srv/celesta
ENV PATH=/opt/venv/bin:$PATH \
    PYTHONUNBUFFERED=1 \
    PYTHONSAFEPATH=1 \
    CELESTA_HOME=/var/lib/celesta
USER celesta
WORKDIR /var/lib/celesta
VOLUME /var/lib/celesta
EXPOSE 8420
ENTRYPOINT ["celesta"]
CMD ["server", "web", "--bind", "0.0.0.0:8420"]
